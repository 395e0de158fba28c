//! A handler that says Pause gets nothing more until it resumes, and loses nothing.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use ringseal::{Flow, Frame, FrameView, Limits, Link, Reason, SendErrorKind};
use ringseal_tests::cluster::{DRAIN, Net, Node, peer_status, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::raw;
use ringseal_tests::script::{Echo, Listen, Script};
use socket2::SockRef;

/// Pauses at each frame whose number is divisible by this.
const EVERY: u64 = 10;

#[derive(Clone, Copy)]
struct PauseNowAndThen;

impl Script for PauseNowAndThen {
    fn frame(&mut self, _link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let (_, number) = number_of(frame.header());
        if number % EVERY == EVERY - 1 { Flow::Pause } else { Flow::Continue }
    }
}

fn send_all(from: &Node, to: u8, count: u64) {
    for number in 0..count {
        from.send(to.into(), frames::numbered(0, number, 300)).expect("there is room");
    }
}

fn numbers(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| number_of(frame.header()).1).collect()
}

#[test]
fn frames_of_one_batch_wait_in_order() {
    const ALL: u64 = 100;
    let nodes = Net::new(&[0, 1]).start_all(|| PauseNowAndThen);
    let [zero, one] = &nodes[..] else { unreachable!("two replicas") };
    // Everything has been read in a few batches before the first resume.
    send_all(zero, 1, ALL);
    zero.wait_for_empty_outbox(1);
    for round in 1..=ALL / EVERY {
        let received = one.journal.frames_from(0, round * EVERY);
        assert_eq!(numbers(&received), (0..round * EVERY).collect::<Vec<_>>());
        wait_until("the pause shows", || one.metrics().paused_links == 1);
        one.resume(0.into());
    }
    wait_until("the pause is over", || one.metrics().paused_links == 0);
    // Resuming what is not paused, not linked or not known does nothing.
    [0, 1, 77].into_iter().for_each(|peer| one.resume(peer.into()));
    send_all(zero, 1, 1);
    assert_eq!(one.journal.frames_from(0, ALL + 1).len() as u64, ALL + 1);
    nodes.into_iter().for_each(Node::shutdown);
}

/// Pauses at every frame and resumes at once, from within the same call.
#[test]
fn resuming_within_the_call_that_pauses_does_not_count() {
    let resume_then_pause = || {
        |link: &mut Link<'_>, _frame: FrameView<'_>| {
            link.resume();
            Flow::Pause
        }
    };
    let nodes = Net::new(&[0, 1]).start_all(resume_then_pause);
    send_all(&nodes[0], 1, 5);
    for count in 1..=5 {
        nodes[1].journal.wait_count(0, count);
        wait_until("the pause shows", || nodes[1].metrics().paused_links == 1);
        assert_eq!(nodes[1].journal.count_from(0), count);
        nodes[1].resume(0.into());
    }
    nodes.into_iter().for_each(Node::shutdown);
}

/// Sends every frame back, with outboxes so small that it has to pause all the time and resumes from
/// `on_writable`.
#[test]
fn an_echo_that_pauses_for_room_loses_nothing() {
    const ALL: u64 = 5_000;
    let limits = |limits: &mut Limits| limits.outbox_frames = 4;
    let net = Net::new(&[0, 1]).with_limits(limits);
    let one = net.start(1, Echo::default);
    let zero = net.start(0, || Listen);
    zero.wait_for_link(1);
    for number in 0..ALL {
        let mut frame = frames::numbered(0, number, 256 + (number % 700) as usize);
        while let Err(refused) = zero.send(1.into(), frame) {
            frame = refused.frame;
            std::thread::yield_now();
        }
    }
    assert_eq!(numbers(&zero.journal.frames_from(1, ALL)), (0..ALL).collect::<Vec<_>>());
    [zero, one].into_iter().for_each(Node::shutdown);
}

fn pause_always() -> impl Fn(&mut Link<'_>, FrameView<'_>) -> Flow {
    |_: &mut Link<'_>, _: FrameView<'_>| Flow::Pause
}

#[test]
fn a_paused_link_holds_its_peer_back_and_nobody_else() {
    let limits = |limits: &mut Limits| limits.outbox_frames = 64;
    let net = Net::new(&[0, 1, 2]).with_limits(limits).quiet();
    let two = net.start(2, || {
        |link: &mut Link<'_>, frame: FrameView<'_>| match link.peer().get() {
            0 => Flow::Pause,
            _ => {
                link.forward(link.peer(), frame).expect("the echo has room");
                Flow::Continue
            }
        }
    });
    let [zero, one] = [0, 1].map(|id| net.start(id, || Listen));
    for node in [&zero, &one] {
        node.wait_for_link(2);
    }
    let mut accepted = 0;
    wait_until("the paused link's peer is held back", || {
        match zero.send(2.into(), frames::numbered(0, accepted, 60_000)) {
            Ok(()) => accepted += 1,
            Err(refused) => assert_eq!(refused.kind, SendErrorKind::Backpressure),
        }
        // Held back for good: nothing moves between two looks.
        zero.metrics().backpressure > 3
    });
    for number in 1..=200 {
        one.send(2.into(), frames::numbered(0, number, 256)).expect("there is room");
        one.journal.wait_count(2, number);
    }
    assert_eq!(two.journal.count_from(0), 1);
    for count in 1..accepted {
        two.resume(0.into());
        two.journal.wait_count(0, count + 1);
    }
    zero.wait_for_empty_outbox(2);
    [zero, one, two].into_iter().for_each(Node::shutdown);
}

#[test]
fn a_reset_is_noticed_while_paused() {
    let net = Net::new(&[0, 1]).without_auth();
    let one = net.start(1, pause_always);
    let mut peer = raw::dial(net.address(1), 0);
    let link = one.wait_for_link(0);
    peer.write_all(&frames::numbered(0, 0, 300).to_bytes()).expect("the replica reads");
    wait_until("the pause shows", || one.metrics().paused_links == 1);
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a socket can linger");
    drop(peer);
    assert_eq!(one.journal.wait_down(0, link.incarnation), (Reason::Reset, 0));
    wait_until("an ended link is not paused", || one.metrics().paused_links == 0);
    one.shutdown();
}

/// What a peer said before it left is still heard, at the handler's own pace.
#[test]
fn an_end_is_told_after_the_frames_before_it() {
    let net = Net::new(&[0, 1]).without_auth();
    let one = net.start(1, pause_always);
    let mut peer = raw::dial(net.address(1), 0);
    let link = one.wait_for_link(0);
    for number in 0..3 {
        peer.write_all(&frames::numbered(0, number, 70_000).to_bytes()).expect("it reads");
    }
    peer.shutdown(Shutdown::Write).expect("it is open");
    for count in 1..=3 {
        one.journal.wait_count(0, count);
        assert!(one.journal.downs(0).is_empty());
        one.resume(0.into());
    }
    assert_eq!(one.journal.wait_down(0, link.incarnation), (Reason::Eof, 0));
    assert_eq!(numbers(&one.journal.frames_from(0, 3)), [0, 1, 2]);
    one.shutdown();
}

/// A peer that restarts while we have paused it is linked again.
#[test]
fn a_peer_that_restarts_is_linked_again_though_it_was_paused() {
    let net = Net::new(&[0, 1]);
    let one = net.start(1, pause_always);
    let zero = net.start(0, || Listen);
    let first = one.wait_for_link(0);
    zero.wait_for_link(1);
    send_all(&zero, 1, 3);
    wait_until("the pause shows", || one.metrics().paused_links == 1);
    zero.shutdown();
    let restarted = Instant::now();
    let zero = net.start(0, || Listen);
    wait_until("the newcomer is linked", || {
        let link = peer_status(&one, 0).link;
        link.is_some_and(|link| link.incarnation != first.incarnation)
    });
    let took = restarted.elapsed();
    // Four seconds on a machine that has time for us. The kernel of a peer that has closed goes on
    // answering probes for a minute, which is what must not count.
    assert!(took < Duration::from_secs(30), "linked again after {took:?}");
    send_all(&zero, 1, 1);
    one.journal.wait_count(0, 2);
    [zero, one].into_iter().for_each(Node::shutdown);
}

#[test]
fn a_paused_bus_shuts_down_and_delivers_what_it_has_accepted() {
    let net = Net::new(&[0, 1]);
    let one = net.start(1, pause_always);
    let zero = net.start(0, || Listen);
    let link = zero.wait_for_link(1);
    one.wait_for_link(0);
    send_all(&zero, 1, 10);
    wait_until("the pause shows", || one.metrics().paused_links == 1);
    send_all(&one, 0, 500);
    let began = Instant::now();
    one.bus.shutdown(DRAIN).expect("a clean shutdown");
    assert!(began.elapsed() < DRAIN, "a peer that reads does not keep us waiting");
    let (_, lost) = zero.journal.wait_down(1, link.incarnation);
    assert_eq!(lost, 0);
    assert_eq!(numbers(&zero.journal.frames_from(1, 500)), (0..500).collect::<Vec<_>>());
    zero.shutdown();
}
