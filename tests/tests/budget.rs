//! What handlers hold of received frames is bounded; a link that may not read more waits.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringseal::{Flow, Frame, FrameView, Limits, Link, SendErrorKind};
use ringseal_tests::cluster::{Net, Node, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::script::Listen;

/// The size of a link's receive buffer: every link may fill one beside the budget.
const BUFFER: usize = 64 << 10;
/// The same of a link that fills those.
const LARGE_BUFFER: usize = 256 << 10;
const BUDGET: usize = 1 << 20;

/// Frames that handlers keep, as a journal that is behind does.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<Frame>>>);

impl Held {
    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }

    /// A handler that keeps the frames of replica 0 and echoes all others.
    fn holding(
        &self,
        detach: bool,
    ) -> impl Fn(&mut Link<'_>, FrameView<'_>) -> Flow + Send + use<> {
        let held = self.0.clone();
        move |link: &mut Link<'_>, frame: FrameView<'_>| {
            if link.peer().get() == 0 {
                let frame = if detach { frame.detach() } else { frame.to_frame() };
                held.lock().expect("no panic").push(frame);
            } else {
                link.forward(link.peer(), frame).expect("the echo has room");
            }
            Flow::Continue
        }
    }
}

fn limits(limits: &mut Limits) {
    limits.max_message_size = 512 << 10;
    limits.receive_budget = BUDGET as u64;
    limits.outbox_frames = 32;
}

/// Sends until `enough` is held and nothing more goes through; how many frames were accepted.
fn send_until_stuck(node: &Node, peer: u8, size: usize, enough: impl Fn() -> bool) -> u64 {
    let (mut sent, mut refused) = (0, 0);
    while refused < 200 || !enough() {
        match node.send(peer.into(), frames::numbered(0, sent, size)) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(error) => {
                assert_eq!(error.kind, SendErrorKind::Backpressure);
                refused += 1;
                thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
    sent
}

fn held_frames_stop_the_link(size: usize) {
    let held = Held::default();
    let handlers = held.clone();
    let net = Net::new(&[0, 1, 2]).with_limits(limits).quiet();
    let two = net.start(2, move || handlers.holding(false));
    let [zero, one] = [0, 1].map(|id| net.start(id, || Listen));
    zero.wait_for_link(2);
    one.wait_for_link(2);
    let held_bytes = || held.len() * size;
    let sent = send_until_stuck(&zero, 2, size, || held_bytes() + 2 * BUFFER.max(size) >= BUDGET);
    let expect_bounded = || {
        let bytes = held_bytes();
        assert!(bytes <= BUDGET + BUFFER.max(size), "{bytes} bytes are held");
    };
    expect_bounded();

    // The shard's other link goes on: it has the one buffer that it may have beside the budget.
    for number in 1..=50 {
        one.send(2.into(), frames::numbered(0, number, 256)).expect("there is room");
        one.journal.wait_count(2, number);
    }
    expect_bounded();

    // Everything comes, in order, as what is held goes.
    let mut numbers: Vec<u64> = Vec::new();
    wait_until("everything arrives", || {
        numbers.extend(held.take().iter().map(|frame| number_of(frame.header()).1));
        numbers.len() as u64 == sent
    });
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
    [zero, one, two].into_iter().for_each(Node::shutdown);
}

#[test]
fn held_small_frames_stop_the_link() {
    held_frames_stop_the_link(1_000);
}

#[test]
fn held_frames_larger_than_a_buffer_stop_the_link() {
    held_frames_stop_the_link(150_000);
}

#[test]
fn detached_frames_count_nothing() {
    let held = Held::default();
    let handlers = held.clone();
    let net = Net::new(&[0, 2]).with_limits(limits).quiet();
    let two = net.start(2, move || handlers.holding(true));
    let zero = net.start(0, || Listen);
    zero.wait_for_link(2);
    // Three times the budget.
    let count = 3 * BUDGET / 4_000;
    for number in 0..count as u64 {
        let mut frame = frames::numbered(0, number, 4_000);
        while let Err(refused) = zero.send(2.into(), frame) {
            frame = refused.frame;
            thread::yield_now();
        }
    }
    wait_until("everything arrives", || held.len() == count);
    [zero, two].into_iter().for_each(Node::shutdown);
}

/// One small frame of each buffer is enough to pin it all.
#[test]
fn a_few_small_frames_pin_their_buffers() {
    let held: Held = Held::default();
    let keep = held.0.clone();
    let net = Net::new(&[0, 2]).with_limits(limits).quiet();
    let two = net.start(2, move || {
        let keep = keep.clone();
        move |_: &mut Link<'_>, frame: FrameView<'_>| {
            if number_of(frame.header()).1.is_multiple_of(200) {
                keep.lock().expect("no panic").push(frame.to_frame());
            }
            Flow::Continue
        }
    });
    let zero = net.start(0, || Listen);
    zero.wait_for_link(2);
    // The link's buffers grow when it is busy, and then there are fewer of them.
    let buffers = BUDGET / BUFFER + 1;
    let sent = send_until_stuck(&zero, 2, 1_000, || held.len() >= BUDGET / LARGE_BUFFER);
    assert!(held.len() <= 2 * buffers, "{} frames pin {buffers} buffers", held.len());
    wait_until("everything arrives", || {
        held.take();
        two.journal.count_from(0) == sent
    });
    [zero, two].into_iter().for_each(Node::shutdown);
}
