//! Links that break are counted exactly and come back.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use ringseal::{Address, LinkStatus, ReplicaId, Roster, SendErrorKind};
use ringseal_tests::cluster::{Net, Node, peer_status, wait_until};
use ringseal_tests::frames::{self, HEADER, number_of};
use ringseal_tests::proxy::Proxy;
use ringseal_tests::script::Listen;

/// Replica 0 dials replica 1 through a proxy.
fn through_a_proxy(net: &Net) -> (Proxy, Node, Node) {
    let one = net.start(1, || Listen);
    let proxy = Proxy::new(net.address(1));
    let zero = net.clone().with_address(1, proxy.address()).start(0, || Listen);
    zero.wait_for_link(1);
    one.wait_for_link(0);
    (proxy, zero, one)
}

fn has_ended(node: &Node, link: LinkStatus) -> bool {
    node.journal.downs(1).iter().any(|(incarnation, _, _)| *incarnation == link.incarnation)
}

/// How many frames all links to replica 1 have lost so far.
fn lost_by(node: &Node) -> u64 {
    node.journal.downs(1).iter().map(|(_, _, lost)| lost).sum()
}

/// Waits until all that was accepted for replica 1 is known to be written or lost.
fn expect_balance(node: &Node, accepted: u64) {
    wait_until("what was accepted is written or lost", || {
        accepted == peer_status(node, 1).frames_out + lost_by(node)
    });
    assert_eq!(peer_status(node, 1).outbox, 0);
}

/// What a link lost and what was written to it are together what it had accepted, wherever it was cut.
#[test]
fn accepted_is_written_or_lost_wherever_the_stream_is_cut() {
    let net = Net::new(&[0, 1]).with_limits(|limits| {
        limits.outbox_frames = 200;
        limits.reconnect_period = Duration::from_millis(10);
    });
    let (proxy, zero, one) = through_a_proxy(&net.quiet());
    let mut accepted = 0;
    for round in 0..40 {
        let link = zero.wait_for_link(1);
        // Once in a while the proxy stops reading, so that much is still in the outbox at the cut.
        let stalls = round % 4 == 3;
        proxy.stall(stalls);
        proxy.cut_after(1 + round * 7_919);
        while !has_ended(&zero, link) {
            let size = 300 + 10_000 * (round as usize % 4);
            match zero.send(1.into(), frames::numbered(0, accepted, size)) {
                Ok(()) => accepted += 1,
                Err(refused) if refused.kind == SendErrorKind::Backpressure && stalls => {
                    proxy.reset();
                    proxy.stall(false);
                }
                Err(_) => thread::yield_now(),
            }
        }
        proxy.stall(false);
    }
    expect_balance(&zero, accepted);
    assert!(lost_by(&zero) > 0, "some of the cuts met a full outbox");
    assert!(one.journal.count_from(0) <= peer_status(&zero, 1).frames_out);
    let dropped: u64 = zero.metrics().frames_dropped.iter().map(|(_, lost)| lost).sum();
    assert_eq!(dropped, lost_by(&zero));
    zero.wait_for_link(1);
    zero.wait_for_empty_outbox(1);
    drop(proxy);
    [zero, one].into_iter().for_each(Node::shutdown);
}

/// The same while threads send as fast as they can, so that ends of links meet frames on every step of
/// their way.
#[test]
fn accepted_is_written_or_lost_while_threads_send() {
    let net = Net::new(&[0, 1]).with_shards(2).quiet().with_limits(|limits| {
        limits.outbox_frames = 50;
        limits.reconnect_period = Duration::from_millis(10);
    });
    let (proxy, zero, one) = through_a_proxy(&net);
    let over = AtomicBool::new(false);
    let accepted: u64 = thread::scope(|scope| {
        let send = |sender| {
            let (zero, over) = (&zero, &over);
            move || {
                let mut accepted = 0;
                while !over.load(SeqCst) {
                    match zero.send(1.into(), frames::numbered(sender, accepted, 2_000)) {
                        Ok(()) => accepted += 1,
                        Err(_) => thread::yield_now(),
                    }
                }
                accepted
            }
        };
        let senders: Vec<_> = (0..3).map(|sender| scope.spawn(send(sender))).collect();
        for round in 0..30 {
            let link = zero.wait_for_link(1);
            proxy.cut_after(1 + round * 30_011);
            let _ = zero.journal.wait_down(1, link.incarnation);
        }
        over.store(true, SeqCst);
        senders.into_iter().map(|sender| sender.join().expect("no panic")).sum()
    });
    expect_balance(&zero, accepted);
    drop(proxy);
    [zero, one].into_iter().for_each(Node::shutdown);
}

/// A stream that is cut at every byte of a frame: what came whole is delivered, the rest is not.
#[test]
fn a_cut_at_every_byte_delivers_whole_frames_alone() {
    const SIZE: usize = HEADER + 20;
    let net = Net::new(&[0, 1]).with_limits(|limits| {
        limits.reconnect_period = Duration::from_millis(10);
    });
    let (proxy, zero, one) = through_a_proxy(&net);
    let mut expected = Vec::new();
    for cut in 1..=SIZE as u64 + 1 {
        let link = zero.wait_for_link(1);
        let theirs = one.wait_for_link(0);
        proxy.cut_after(cut);
        for half in 0..2 {
            // The second may meet a link that is down already.
            let _ = zero.send(1.into(), frames::numbered(half, cut, SIZE));
        }
        let _ = zero.journal.wait_down(1, link.incarnation);
        let (_, lost) = one.journal.wait_down(0, theirs.incarnation);
        assert_eq!(lost, 0, "the receiver had sent nothing");
        if cut >= SIZE as u64 {
            expected.push((0, cut));
        }
        let received = one.journal.frames_from(0, expected.len() as u64);
        assert_eq!(
            received.iter().map(|frame| number_of(frame.header())).collect::<Vec<_>>(),
            expected,
            "cut at {cut}"
        );
    }
    drop(proxy);
    [zero, one].into_iter().for_each(Node::shutdown);
}

/// A replica that stops and comes back on the same address is linked again with everybody, whoever
/// dials.
#[test]
fn a_restarted_replica_is_linked_again_with_everybody() {
    let net = Net::new(&[0, 5, 9]).with_shards(2);
    let mut nodes = net.start_all(|| Listen);
    for round in 0..6 {
        let at = round % 3;
        let down = nodes.remove(at);
        let id = down.replica().get();
        let links = nodes.iter().map(|node| node.wait_for_link(id)).collect::<Vec<_>>();
        down.shutdown();
        for (node, link) in nodes.iter().zip(links) {
            let (_, lost) = node.journal.wait_down(id, link.incarnation);
            assert_eq!(lost, 0);
        }
        nodes.insert(at, net.start(id, || Listen));
        for (node, number) in nodes.iter().zip(0..) {
            for peer in node.peers() {
                node.wait_for_link(peer.id.get());
                let frame = frames::numbered(round as u32, number, 400);
                node.send(peer.id, frame).expect("a link that is up takes a frame");
            }
        }
        for node in &nodes {
            for peer in node.peers() {
                let this_round = |frames: &[ringseal::Frame]| {
                    frames.iter().any(|frame| number_of(frame.header()).0 == round as u32)
                };
                wait_until("the round's frame arrives", || {
                    this_round(&node.journal.frames_from(peer.id.get(), 0))
                });
            }
        }
    }
    nodes.into_iter().for_each(Node::shutdown);
}

/// The reason that a link ended with is shown until the next link is up and after.
#[test]
fn the_last_reason_is_shown() {
    let net = Net::new(&[0, 1]);
    let one = net.start(1, || Listen);
    let zero = net.start(0, || Listen);
    zero.wait_for_link(1);
    one.wait_for_link(0);
    assert_eq!(peer_status(&one, 0).last_reason, None);
    zero.shutdown();
    wait_until("the link is down", || peer_status(&one, 0).link.is_none());
    wait_until("the reason shows", || peer_status(&one, 0).last_reason == Some("eof"));
    one.shutdown();
}

fn linked_by(host: &str, listen: &str) {
    let replica = |id, at: &str| (ReplicaId::new(id), at.parse::<Address>().expect("an address"));
    let net = Net::new(&[0, 1]);
    let own = Roster::new([replica(0, listen), replica(1, listen)]).expect("two replicas");
    let one = net.start_as(net.config_with(1, own.clone()), || Listen);
    let dialled = format!("{host}:{}", one.local_addr().port());
    let theirs = Roster::new([replica(0, listen), replica(1, &dialled)]).expect("two replicas");
    let zero = net.start_as(net.config_with(0, theirs), || Listen);
    zero.wait_for_link(1);
    assert_eq!(peer_status(&zero, 1).address, dialled);
    zero.send(1.into(), frames::numbered(0, 1, 300)).expect("the link is up");
    one.journal.wait_count(0, 1);
    [zero, one].into_iter().for_each(Node::shutdown);
}

#[test]
fn a_name_is_resolved() {
    linked_by("localhost", "localhost:0");
}

#[test]
fn ipv6_works() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6 loopback");
        return;
    }
    linked_by("[::1]", "[::1]:0");
}
