//! Shutting down writes what has been accepted, or counts it, and takes no longer than it may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use ringseal::{Reason, SendErrorKind};
use ringseal_tests::cluster::{DRAIN, Net, Node, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::raw;
use ringseal_tests::script::{Echo, Listen};

#[test]
fn without_links_it_is_over_at_once() {
    let zero = Net::new(&[0, 1]).with_shards(2).start(0, || Listen);
    wait_until("it listens", || zero.metrics().shards_listening == 2);
    let began = Instant::now();
    zero.bus.shutdown(Duration::from_secs(60)).expect("a clean shutdown");
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
}

#[test]
fn a_deadline_may_be_for_ever() {
    let nodes = Net::new(&[0, 1]).start_all(|| Listen);
    for node in nodes {
        node.bus.shutdown(Duration::MAX).expect("a clean shutdown");
    }
}

#[test]
fn what_was_accepted_reaches_a_peer_that_reads() {
    for round in 0..5 {
        let nodes = Net::new(&[0, 1]).start_all(|| Listen);
        let [zero, one] = <[Node; 2]>::try_from(nodes).expect("two replicas");
        let link = one.wait_for_link(0);
        let size = [256, 5_000, 90_000][round % 3];
        for number in 0..300 {
            zero.send(1.into(), frames::numbered(0, number, size)).expect("there is room");
        }
        let mesh = zero.bus.mesh().clone();
        zero.shutdown();
        let received = one.journal.frames_from(0, 300);
        let numbers: Vec<_> = received.iter().map(|frame| number_of(frame.header()).1).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
        assert_eq!(one.journal.wait_down(0, link.incarnation), (Reason::Eof, 0));
        assert_eq!(mesh.metrics().frames_dropped.iter().map(|(_, lost)| lost).sum::<u64>(), 0);
        one.shutdown();
    }
}

/// The same with traffic in both directions: the peer has frames on the way to us when we leave.
#[test]
fn what_was_accepted_reaches_a_peer_that_reads_and_writes() {
    for round in 0..5 {
        let net = Net::new(&[0, 1]).quiet();
        let (zero, one) = (net.start(0, || Listen), net.start(1, || Listen));
        zero.wait_for_link(1);
        one.wait_for_link(0);
        let (accepted, over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    match zero.send(1.into(), frames::numbered(0, 0, 1_000)) {
                        Ok(()) => drop(accepted.fetch_add(1, SeqCst)),
                        Err(refused) if refused.kind == SendErrorKind::Backpressure => {}
                        Err(_) => return,
                    }
                }
            });
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    let _ = one.send(0.into(), frames::numbered(0, 0, 10_000));
                }
            });
            one.journal.wait_count(0, 500);
            let mesh = zero.bus.mesh();
            mesh.stop(DRAIN);
            wait_until("the link is over", || mesh.metrics().links_up == 0);
            over.store(true, SeqCst);
        });
        let lost: u64 = zero.metrics().frames_dropped.iter().map(|(_, lost)| lost).sum();
        wait_until("the peer knows", || !one.journal.downs(0).is_empty());
        let (accepted, delivered) = (accepted.load(SeqCst), one.journal.count_from(0));
        assert_eq!(accepted, delivered + lost, "round {round}: {lost} lost");
        [zero, one].into_iter().for_each(Node::shutdown);
    }
}

#[test]
fn a_peer_that_does_not_read_is_waited_for_until_the_deadline() {
    const WAIT: Duration = Duration::from_millis(300);
    let net = Net::new(&[0, 1]).without_auth();
    let one = net.start(1, || Listen);
    let mut silent = raw::dial(net.address(1), 0);
    one.wait_for_link(0);
    let accepted = (0..)
        .take_while(|number| one.send(0.into(), frames::numbered(0, *number, 100_000)).is_ok());
    let accepted = accepted.count() as u64;
    let (mesh, journal) = (one.bus.mesh().clone(), one.journal.clone());
    let began = Instant::now();
    one.bus.shutdown(WAIT).expect("a shutdown that ends by its deadline");
    let took = began.elapsed();
    assert!((WAIT..WAIT + DRAIN).contains(&took), "took {took:?}");

    let [(_, Reason::Shutdown, lost)] = journal.downs(0)[..] else {
        panic!("one end, for the shutdown: {:?}", journal.downs(0))
    };
    assert!(lost > 0, "the outbox was full");
    assert_eq!(accepted, mesh.peers()[0].frames_out + lost);
    assert_eq!(mesh.metrics().frames_dropped(Reason::Shutdown), lost);
    assert_eq!(mesh.peers()[0].outbox, 0);
    let read = std::iter::from_fn(|| raw::read_frame(&mut silent)).count() as u64;
    assert!(read <= accepted - lost, "{read} of {accepted} arrived, {lost} were lost");
}

#[test]
fn dropping_a_bus_ends_it() {
    let nodes = Net::new(&[0, 1]).with_shards(2).start_all(|| Listen);
    let [zero, one] = <[Node; 2]>::try_from(nodes).expect("two replicas");
    let link = one.wait_for_link(0);
    drop(zero);
    let (reason, lost) = one.journal.wait_down(0, link.incarnation);
    assert!(matches!(reason, Reason::Eof | Reason::Reset), "{reason:?}");
    assert_eq!(lost, 0);
    one.shutdown();
}

#[test]
fn a_peer_may_come_and_go_many_times() {
    let net = Net::new(&[0, 1]).with_shards(2);
    let one = net.start(1, Echo::default);
    for round in 1..=10 {
        let zero = net.start(0, || Listen);
        let link = zero.wait_for_link(1);
        for number in 0..20 {
            zero.send(1.into(), frames::numbered(0, number, 500)).expect("there is room");
        }
        zero.journal.wait_count(1, 20);
        zero.shutdown();
        wait_until("the end is told", || one.journal.downs(0).len() == round);
        assert!(link.authenticated);
    }
    assert!(one.journal.downs(0).iter().all(|(_, _, lost)| *lost == 0));
    one.shutdown();
}
