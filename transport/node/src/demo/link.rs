//! What every replica of the demo does with its links: it sends frames, answers its peers' and checks
//! that everything comes in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hdrhistogram::Histogram;
use ringseal::{Command, Flow, Frame, FrameView, Handler, Header, Link, Reason, ReplicaId};

use crate::echo::Returns;

/// How many of our frames may be under way to one peer.
pub(super) const WINDOW: u64 = 16;
/// How long a frame is, header included.
pub(super) const FRAME_BYTES: usize = 4096;

/// A frame without a number that a peer sends back, so that the handler is called and can begin.
const STARTER: Command = Command::PING;
/// A frame that is numbered and timed.
const NUMBERED: Command = Command::REQUEST;

/// What the replicas and the demo's own thread share.
#[derive(Debug)]
pub(super) struct Shared {
    running: AtomicBool,
    epoch: Instant,
    replicas: usize,
    tallies: Vec<Tally>,
}

/// What one replica has counted about its own frames to one peer.
#[derive(Debug)]
pub(super) struct Tally {
    /// Frames that were sent.
    pub(super) sent: AtomicU64,
    /// Frames that came back.
    pub(super) returned: AtomicU64,
    /// Frames that arrived out of order, at either end.
    pub(super) disorder: AtomicU64,
    /// Round-trip times in nanoseconds.
    round_trips: Mutex<Histogram<u64>>,
}

impl Tally {
    fn new() -> Self {
        let histogram = Histogram::new(3).expect("three digits are a precision that it offers");
        Self {
            sent: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            disorder: AtomicU64::new(0),
            round_trips: Mutex::new(histogram),
        }
    }

    pub(super) fn round_trips(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.round_trips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(super) fn new(replicas: u8) -> Self {
        let replicas = usize::from(replicas);
        Self {
            running: AtomicBool::new(false),
            epoch: Instant::now(),
            replicas,
            tallies: (0..replicas * replicas).map(|_| Tally::new()).collect(),
        }
    }

    /// The count of the frames that `from` sends to `to` and gets back.
    pub(super) fn tally(&self, from: ReplicaId, to: ReplicaId) -> &Tally {
        &self.tallies[from.index() * self.replicas + to.index()]
    }

    /// Every count there is.
    pub(super) fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter()
    }

    /// Lets replicas send, or lets them send no more.
    pub(super) fn set_running(&self, running: bool) {
        self.running.store(running, Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The frame that sets a replica's traffic to one peer going.
pub(super) fn starter(from: ReplicaId) -> Option<Frame> {
    let mut header = Header::new(STARTER);
    header.set_replica(from);
    Frame::new(header, Bytes::new()).ok()
}

/// The handler of one replica.
#[derive(Debug)]
pub(super) struct Traffic {
    ours: ReplicaId,
    shared: Arc<Shared>,
    body: Bytes,
    returns: Returns,
    links: HashMap<ReplicaId, Numbers>,
}

/// Where the numbers of one link stand. They begin anew with every link.
#[derive(Debug, Default)]
struct Numbers {
    /// The number of our next frame.
    next: u64,
    /// The number that has to come back next.
    back: u64,
    /// The number that the peer's next frame has to carry.
    theirs: u64,
}

impl Traffic {
    pub(super) fn new(ours: ReplicaId, shared: Arc<Shared>) -> Self {
        let body = Bytes::from(vec![0x5e; FRAME_BYTES - ringseal::wire::HEADER_LEN]);
        Self { ours, shared, body, returns: Returns::default(), links: HashMap::new() }
    }

    /// Sends until the window is full or the link will take no more.
    fn fill(&mut self, link: &mut Link<'_>) {
        let Some(numbers) = self.links.get_mut(&link.peer()) else { return };
        let tally = self.shared.tally(self.ours, link.peer());
        while self.shared.running.load(Relaxed) && numbers.next - numbers.back < WINDOW {
            let mut header = Header::new(NUMBERED);
            header.set_replica(self.ours);
            let fields = header.reserved_command_mut();
            fields[..8].copy_from_slice(&numbers.next.to_le_bytes());
            fields[8..16].copy_from_slice(&self.shared.now().to_le_bytes());
            let Ok(frame) = Frame::new(header, self.body.clone()) else { return };
            if link.send(frame).is_err() {
                return;
            }
            numbers.next += 1;
            tally.sent.fetch_add(1, Relaxed);
        }
    }

    /// Takes one of our own frames back.
    fn take_back(&mut self, peer: ReplicaId, frame: FrameView<'_>) {
        let Some(numbers) = self.links.get_mut(&peer) else { return };
        let tally = self.shared.tally(self.ours, peer);
        let (number, sent_at) = read(frame);
        if number != numbers.back {
            tally.disorder.fetch_add(1, Relaxed);
        }
        numbers.back = numbers.back.max(number.saturating_add(1)).min(numbers.next);
        tally.returned.fetch_add(1, Relaxed);
        // An automatically growing histogram takes every value.
        let _ = tally.round_trips().record(self.shared.now().saturating_sub(sent_at));
    }

    /// Checks the number of a peer's frame.
    fn check(&mut self, peer: ReplicaId, frame: FrameView<'_>) {
        let Some(numbers) = self.links.get_mut(&peer) else { return };
        let (number, _) = read(frame);
        if number != numbers.theirs {
            self.shared.tally(peer, self.ours).disorder.fetch_add(1, Relaxed);
        }
        numbers.theirs = number.saturating_add(1);
    }
}

impl Handler for Traffic {
    fn on_link_up(&mut self, link: &mut Link<'_>, _: u64) {
        self.links.insert(link.peer(), Numbers::default());
        self.fill(link);
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let peer = link.peer();
        let is_ours = frame.header().replica() == self.ours;
        match frame.command() {
            STARTER if is_ours => self.fill(link),
            NUMBERED if is_ours => {
                self.take_back(peer, frame);
                self.fill(link);
            }
            command => {
                if command == NUMBERED {
                    self.check(peer, frame);
                }
                return self.returns.give(peer, frame, |frame| link.forward(peer, frame));
            }
        }
        Flow::Continue
    }

    fn on_writable(&mut self, link: &mut Link<'_>) {
        if self.returns.flush(link.peer(), |frame| link.send(frame)) {
            link.resume();
        }
        self.fill(link);
    }

    fn on_link_down(&mut self, peer: ReplicaId, _: Reason, _: u64) {
        self.returns.forget(peer);
        self.links.remove(&peer);
    }
}

/// A frame's number and the time at which it was sent.
fn read(frame: FrameView<'_>) -> (u64, u64) {
    let fields = frame.header().reserved_command();
    let word = |at: usize| {
        let bytes = fields.get(at..).and_then(|fields| fields.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    (word(0), word(8))
}
