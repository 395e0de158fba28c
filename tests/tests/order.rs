//! Frames of one sender reach a peer in the order of sending, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::thread;

use ringseal::{Flow, Frame, FrameView, Link, Mesh, ReplicaId, SendError, SendErrorKind};
use ringseal_tests::cluster::{Net, Node};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::script::{Listen, Script};

/// How many frames each sender sends.
const EACH: u64 = 3_000;

/// The senders' numbers: threads come first, then the handler.
const THREADS: u32 = 3;
const HANDLER: u32 = 100;

/// Mostly small frames, and now and then one that is packed differently or larger than a buffer.
fn size(number: u64) -> usize {
    match number % 97 {
        0 => 70_000,
        1..5 => 3_000,
        _ => 256 + (number % 40) as usize,
    }
}

/// Sends one frame and waits for room as long as it takes.
fn send_surely(mesh: &Mesh, peer: u8, mut frame: Frame) {
    while let Err(SendError { kind, frame: refused }) = mesh.send(peer.into(), frame) {
        assert_eq!(kind, SendErrorKind::Backpressure);
        frame = refused;
        thread::yield_now();
    }
}

fn send_from_threads(mesh: &Mesh, peer: u8) {
    thread::scope(|scope| {
        for sender in 0..THREADS {
            scope.spawn(move || {
                for number in 0..EACH {
                    send_surely(mesh, peer, frames::numbered(sender, number, size(number)));
                }
            });
        }
    });
}

/// Checks that `senders` arrived complete and in order.
fn expect_in_order(received: &[Frame], senders: &BTreeSet<u32>) {
    let mut next: BTreeMap<u32, u64> = senders.iter().map(|sender| (*sender, 0)).collect();
    for frame in received {
        let (sender, number) = number_of(frame.header());
        let next = next.get_mut(&sender).expect("a sender of this test");
        assert_eq!(number, *next, "sender {sender}");
        assert_eq!(frame.wire_len(), size(number), "sender {sender}, frame {number}");
        *next += 1;
    }
    assert!(next.values().all(|count| *count == EACH), "{next:?}");
}

/// Sends its own numbered frames to `to`, a few for each frame that it is given, by every way that
/// the owning thread has.
struct Talkative {
    to: ReplicaId,
    next: u64,
    mesh: Arc<OnceLock<Mesh>>,
}

impl Script for Talkative {
    fn frame(&mut self, link: &mut Link<'_>, _frame: FrameView<'_>) -> Flow {
        for _ in 0..3.min(EACH - self.next) {
            let frame = frames::numbered(HANDLER + link.shard() as u32, self.next, size(self.next));
            let sent = match (self.next % 3, self.mesh.get()) {
                (0, Some(mesh)) => mesh.send(self.to, frame),
                (1, _) if link.peer() == self.to => link.send(frame),
                _ => link.send_to(self.to, frame),
            };
            match sent {
                Ok(()) => self.next += 1,
                Err(error) => {
                    assert_eq!(error.kind, SendErrorKind::Backpressure);
                    break;
                }
            }
        }
        Flow::Continue
    }
}

/// Replicas 1 and 2 make the handlers of replica 0 talk to replica 1, while threads of replica 0 do
/// the same.
fn handlers_and_threads_talk(shards: usize) {
    let net = Net::new(&[0, 1, 2]).with_shards(shards);
    let mesh = Arc::new(OnceLock::new());
    let handlers_mesh = mesh.clone();
    let zero = net.start(0, move || Talkative {
        to: ReplicaId::new(1),
        next: 0,
        mesh: handlers_mesh.clone(),
    });
    mesh.set(zero.bus.mesh().clone()).expect("set once");
    let others = [1, 2].map(|id| net.start(id, || Listen));
    let handlers = [1, 2].map(|id| HANDLER + zero.wait_for_link(id).shard as u32);
    let senders: BTreeSet<u32> = (0..THREADS).chain(handlers).collect();
    let all = EACH * senders.len() as u64;
    thread::scope(|scope| {
        scope.spawn(|| send_from_threads(&zero, 1));
        for other in &others {
            other.wait_for_link(0);
            let heard = &others[0].journal;
            scope.spawn(move || {
                while heard.count_from(0) < all {
                    send_surely(other, 0, frames::numbered(0, 0, 256));
                }
            });
        }
    });
    expect_in_order(&others[0].journal.frames_from(0, all), &senders);
    zero.wait_for_empty_outbox(1);
    zero.shutdown();
    others.into_iter().for_each(Node::shutdown);
}

#[test]
fn threads_and_a_handler_on_one_shard() {
    handlers_and_threads_talk(1);
}

#[test]
fn threads_and_handlers_on_three_shards() {
    handlers_and_threads_talk(3);
}

#[test]
fn both_directions_at_once() {
    let nodes = Net::new(&[4, 9]).with_shards(2).start_all(|| Listen);
    thread::scope(|scope| {
        scope.spawn(|| send_from_threads(&nodes[0], 9));
        scope.spawn(|| send_from_threads(&nodes[1], 4));
    });
    let all = EACH * u64::from(THREADS);
    expect_in_order(&nodes[1].journal.frames_from(4, all), &(0..THREADS).collect());
    expect_in_order(&nodes[0].journal.frames_from(9, all), &(0..THREADS).collect());
    nodes.into_iter().for_each(Node::shutdown);
}

/// Passes every frame on, by every way in turn, mostly as it lies.
struct PassOn {
    to: ReplicaId,
    mesh: Arc<OnceLock<Mesh>>,
}

impl Script for PassOn {
    fn frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let sent = match (number_of(frame.header()).1 % 11, self.mesh.get()) {
            (4, _) => link.send_to(self.to, frame.to_frame()).map_err(|error| error.kind),
            (5, Some(mesh)) => mesh.send(self.to, frame.to_frame()).map_err(|error| error.kind),
            _ => link.forward(self.to, frame),
        };
        sent.expect("what is under way fits the outbox");
        Flow::Continue
    }
}

/// Frames go from replica 1 through 0 to 2, whose links are on any of so many shards.
fn frames_are_passed_on(shards: usize) {
    const UNDER_WAY: u64 = 400;
    let net = Net::new(&[0, 1, 2]).with_shards(shards);
    let mesh = Arc::new(OnceLock::new());
    let handlers_mesh = mesh.clone();
    let to = ReplicaId::new(2);
    let zero = net.start(0, move || PassOn { to, mesh: handlers_mesh.clone() });
    mesh.set(zero.bus.mesh().clone()).expect("set once");
    let [one, two] = [1, 2].map(|id| net.start(id, || Listen));
    zero.wait_for_link(2);
    one.wait_for_link(0);
    for number in 0..EACH {
        if number >= UNDER_WAY {
            two.journal.wait_count(0, number - UNDER_WAY);
        }
        send_surely(&one, 0, frames::numbered(1, number, size(number)));
    }
    expect_in_order(&two.journal.frames_from(0, EACH), &[1].into());
    [zero, one, two].into_iter().for_each(Node::shutdown);
}

#[test]
fn frames_passed_on_stay_in_order_on_one_shard() {
    frames_are_passed_on(1);
}

#[test]
fn frames_passed_on_stay_in_order_between_shards() {
    frames_are_passed_on(3);
}
