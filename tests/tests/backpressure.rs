//! A full outbox refuses, and tells once when there is room again.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use ringseal::{Flow, FrameView, Limits, Link, SendErrorKind};
use ringseal_tests::cluster::{Net, Node, PATIENCE, peer_status, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::raw;
use ringseal_tests::script::{Echo, Listen, Script};

fn narrow(limits: &mut Limits) {
    limits.outbox_frames = 8;
}

#[test]
fn one_refusal_is_answered_by_one_call() {
    let net = Net::new(&[0, 1]).without_auth().with_limits(narrow);
    let one = net.start(1, || Listen);
    let mut slow = raw::dial(net.address(1), 0);
    one.wait_for_link(0);
    let mut accepted = 0;
    let refused = loop {
        match one.send(0.into(), frames::numbered(0, accepted, 200_000)) {
            Ok(()) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.kind, SendErrorKind::Backpressure);
    for number in 0..accepted {
        let frame = raw::read_frame(&mut slow).expect("an accepted frame arrives");
        assert_eq!(number_of(frame.header()), (0, number));
    }
    wait_until("room is told", || one.journal.writables(0) == 1);
    one.wait_for_empty_outbox(0);
    // Without another refusal nothing more is told, however much is sent.
    for number in 0..100 {
        one.send(0.into(), frames::numbered(1, number, 256)).expect("there is room");
        assert!(raw::read_frame(&mut slow).is_some());
    }
    one.wait_for_empty_outbox(0);
    assert_eq!(one.journal.writables(0), 1);
    one.shutdown();
}

/// Wakes a thread that waits for room.
#[derive(Clone, Default)]
struct Room(Arc<(Mutex<u64>, Condvar)>);

impl Room {
    fn told(&self) -> u64 {
        *self.0.0.lock().expect("no panic")
    }

    fn tell(&self) {
        *self.0.0.lock().expect("no panic") += 1;
        self.0.1.notify_all();
    }

    /// Waits until room has been told more than `seen` times; nothing else lets the caller go on.
    fn wait_beyond(&self, seen: u64) {
        let told = self.0.0.lock().expect("no panic");
        let still = |told: &mut u64| *told <= seen;
        let waited = self.0.1.wait_timeout_while(told, PATIENCE, still).expect("no panic");
        assert!(!waited.1.timed_out(), "on_writable did not come: a lost wake-up");
    }
}

struct TellRoom(Room);

impl Script for TellRoom {
    fn frame(&mut self, _link: &mut Link<'_>, _frame: FrameView<'_>) -> Flow {
        Flow::Continue
    }

    fn writable(&mut self, _link: &mut Link<'_>) {
        self.0.tell();
    }
}

/// Threads that wait for `on_writable` alone: if one call were lost, they would wait for ever.
#[test]
fn no_wake_up_is_lost_between_threads() {
    const EACH: u64 = 4_000;
    const THREADS: u64 = 2;
    let net = Net::new(&[0, 1]).with_limits(narrow).quiet();
    let room = Room::default();
    let told = room.clone();
    let zero = net.start(0, move || TellRoom(told.clone()));
    let one = net.start(1, || Listen);
    zero.wait_for_link(1);
    thread::scope(|scope| {
        for sender in 0..THREADS {
            let (zero, room) = (&zero, &room);
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut frame = frames::numbered(sender as u32, number, 256);
                    loop {
                        let seen = room.told();
                        match zero.send(1.into(), frame) {
                            Ok(()) => break,
                            Err(refused) => frame = refused.frame,
                        }
                        room.wait_beyond(seen);
                    }
                }
            });
        }
    });
    one.journal.wait_count(0, EACH * THREADS);
    zero.wait_for_empty_outbox(1);
    let refusals = zero.metrics().backpressure;
    assert!(room.told() <= refusals, "told {} times after {refusals} refusals", room.told());
    assert!(refusals > 0, "the test has to meet a full outbox");
    [zero, one].into_iter().for_each(Node::shutdown);
}

/// Sends as much as there is room for, whenever there is room.
struct Flood {
    next: u64,
    until: u64,
}

impl Flood {
    fn pour(&mut self, link: &mut Link<'_>) {
        while self.next < self.until {
            match link.send(frames::numbered(0, self.next, 300)) {
                Ok(()) => self.next += 1,
                Err(refused) => {
                    let full = refused.kind == SendErrorKind::Backpressure;
                    assert!(full || refused.kind == SendErrorKind::ShuttingDown, "{refused}");
                    return;
                }
            }
        }
    }
}

impl Script for Flood {
    fn up(&mut self, link: &mut Link<'_>) {
        self.pour(link);
    }

    fn frame(&mut self, _link: &mut Link<'_>, _frame: FrameView<'_>) -> Flow {
        Flow::Continue
    }

    fn writable(&mut self, link: &mut Link<'_>) {
        self.pour(link);
    }
}

#[test]
fn a_handler_goes_on_whenever_it_is_told_of_room() {
    const ALL: u64 = 20_000;
    let net = Net::new(&[0, 1]).with_limits(narrow).quiet();
    let one = net.start(1, || Listen);
    let zero = net.start(0, || Flood { next: 0, until: ALL });
    one.journal.wait_count(0, ALL);
    zero.wait_for_empty_outbox(1);
    [zero, one].into_iter().for_each(Node::shutdown);
}

/// A handler that refills its outbox at every `on_writable`, towards a peer that reads as fast as it
/// can, must leave the shard's other links their turn.
#[test]
fn an_endless_refill_leaves_other_links_their_turn() {
    let net = Net::new(&[0, 1, 2]).without_auth().quiet().with_limits(|limits| {
        limits.outbox_frames = 4;
    });
    let two = net.start(2, || Flood { next: 0, until: u64::MAX });
    let mut greedy = raw::dial(net.address(2), 0);
    let drained = Arc::new(AtomicU64::new(0));
    let counter = drained.clone();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read) = greedy.read(&mut buffer)
            && read > 0
        {
            counter.fetch_add(read as u64, SeqCst);
        }
    });
    two.wait_for_link(0);
    wait_until("the flood flows", || drained.load(SeqCst) > 1 << 20);
    let mut other = raw::dial(net.address(2), 1);
    two.wait_for_link(1);
    let before = drained.load(SeqCst);
    assert!(raw::read_frame(&mut other).is_some(), "the other link is served");
    wait_until("the flood goes on", || drained.load(SeqCst) > before);
    drop(other);
    two.shutdown();
    reader.join().expect("the reader sees the end");
}

/// A peer that reads nothing costs the shard's other links nothing.
#[test]
fn a_peer_that_does_not_read_slows_nobody_else() {
    const ALL: u64 = 2_000;
    let net = Net::new(&[0, 1, 2]).without_auth().quiet();
    let two = net.start(2, Echo::default);
    let silent = raw::dial(net.address(2), 0);
    two.wait_for_link(0);
    while two.send(0.into(), frames::numbered(0, 0, 100_000)).is_ok() {}
    let one = net.start(1, || Listen);
    one.wait_for_link(2);
    for number in 0..ALL {
        let mut frame = frames::numbered(0, number, 1_000);
        while let Err(refused) = one.send(2.into(), frame) {
            assert_eq!(refused.kind, SendErrorKind::Backpressure);
            frame = refused.frame;
            thread::yield_now();
        }
    }
    one.journal.wait_count(2, ALL);
    assert!(peer_status(&two, 0).outbox > 0, "the silent peer has still not read");
    drop(silent);
    [one, two].into_iter().for_each(Node::shutdown);
}
