//! One connection to one peer, from its first frame to its last.

mod outbox;
mod reader;
mod task;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::task::Waker;
use std::time::Instant;

use ringseal_wire::{Frame, FrameView, ReplicaId};

use crate::error::{Reason, SendError, SendErrorKind};
use crate::owner::{Owner, State};
use crate::shard::Local;
use crate::slot::Slot;

pub(crate) use outbox::Outbox;
pub(crate) use task::run;

/// What a shard's tasks share of one link. The link's own task alone touches its socket.
#[derive(Debug)]
pub(crate) struct LinkState {
    pub(crate) peer: ReplicaId,
    pub(crate) owner: Owner,
    pub(crate) outbox: RefCell<Outbox>,
    /// Whether the handler wants no frames for now.
    paused: Cell<bool>,
    /// Why the link is to end, once somebody has said so, and until when it may write what it has
    /// accepted.
    ending: Cell<Option<(Reason, Option<Instant>)>>,
    /// Whether the owner slot says so too.
    draining: Cell<bool>,
    /// Whether the link's task is to look for signs of life when it runs next.
    check: Cell<bool>,
    /// When a newcomer began to contest this link, if one does.
    contested: Cell<Option<Instant>>,
    /// Whether the link cannot read because handlers hold too many frames.
    starved: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl LinkState {
    pub(crate) fn new(peer: ReplicaId, owner: Owner) -> Self {
        Self {
            peer,
            owner,
            outbox: RefCell::default(),
            paused: Cell::new(false),
            ending: Cell::new(None),
            draining: Cell::new(false),
            check: Cell::new(false),
            contested: Cell::new(None),
            starved: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Ends the link at once. A link that is ending already keeps its reason.
    pub(crate) fn end(&self, reason: Reason) {
        let reason = self.ending.get().map_or(reason, |(first, _)| first);
        self.ending.set(Some((reason, None)));
        self.wake();
    }

    /// Ends the link when it has written what it has accepted, or at `deadline`.
    pub(crate) fn drain(&self, reason: Reason, deadline: Instant) {
        if self.ending.get().is_none() {
            self.ending.set(Some((reason, Some(deadline))));
            self.wake();
        }
    }

    /// A newcomer claims the peer: the link ends unless it shows life soon.
    pub(crate) fn contest(&self) {
        if self.contested.get().is_none() {
            self.contested.set(Some(Instant::now()));
        }
        self.look_for_life();
    }

    /// Has the link's task look for signs of the peer's life.
    pub(crate) fn look_for_life(&self) {
        self.check.set(true);
        self.wake();
    }

    /// Does what a shard does for each of its links at every tick.
    pub(crate) fn tick(&self) {
        if self.contested.get().is_some() {
            self.look_for_life();
        }
        if self.starved.take() || self.ending.get().is_some() {
            self.wake();
        }
    }

    /// Hands over frames again.
    pub(crate) fn resume(&self, local: &Local) {
        self.set_paused(local, false);
    }

    /// Has the link's task look at what there is to do.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Turns senders away, who are told that no link is up.
    fn let_nobody_in(&self, slot: &Slot) {
        if !self.draining.replace(true) {
            slot.owner.advance(self.owner.with(State::Up), State::Draining);
        }
    }

    fn protocol_error(&self, local: &Local, error: fmt::Arguments<'_>) -> Reason {
        tracing::warn!(peer = self.peer.get(), shard = local.shard, "protocol error: {error}");
        Reason::ProtocolError
    }

    fn set_paused(&self, local: &Local, paused: bool) {
        if self.paused.replace(paused) != paused {
            let count = &local.metrics().paused;
            if paused {
                count.add(1)
            } else {
                count.sub(1)
            }
            self.wake();
        }
    }
}

/// A link as its handler sees it: borrowed for one call, on the link's own shard, so that answering
/// takes no lock.
pub struct Link<'a> {
    local: &'a Local,
    state: &'a LinkState,
}

impl<'a> Link<'a> {
    pub(crate) fn new(local: &'a Local, state: &'a LinkState) -> Self {
        Self { local, state }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> ReplicaId {
        self.state.peer
    }

    /// The link's number, unique in this bus.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.state.owner.incarnation()
    }

    /// Whether the peer has proven that it holds the cluster's secret.
    #[must_use]
    pub fn authenticated(&self) -> bool {
        self.state.owner.authenticated()
    }

    /// The shard that owns the link and makes this call.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.local.shard
    }

    /// Sends a frame to this link's peer: [`send_to`](Self::send_to) with [`peer`](Self::peer).
    ///
    /// # Errors
    ///
    /// As [`Mesh::send`](crate::Mesh::send); the frame is given back.
    #[inline]
    pub fn send(&mut self, frame: Frame) -> Result<(), SendError> {
        self.local.send(self.state.peer, frame)
    }

    /// Sends a frame to any peer, whichever shard owns its link. What this handler and this shard's
    /// thread send to one peer arrives in the order of sending, however it was sent.
    ///
    /// # Errors
    ///
    /// As [`Mesh::send`](crate::Mesh::send); the frame is given back.
    #[inline]
    pub fn send_to(&mut self, peer: ReplicaId, frame: Frame) -> Result<(), SendError> {
        self.local.send(peer, frame)
    }

    /// Sends a received frame to any peer as it is. Within a shard that costs no copy, and no reference
    /// count for frames that are forwarded in the order they came; otherwise it is [`send_to`](Self::send_to)
    /// of what [`to_frame`](FrameView::to_frame) keeps, with which it stays in order.
    ///
    /// # Errors
    ///
    /// As [`Mesh::send`](crate::Mesh::send). The frame is still there to be kept.
    #[inline]
    pub fn forward(&mut self, peer: ReplicaId, frame: FrameView<'_>) -> Result<(), SendErrorKind> {
        self.local.forward(peer, frame)
    }

    /// Hands over frames again after [`Flow::Pause`](crate::Flow::Pause), once this call returns.
    pub fn resume(&mut self) {
        self.state.resume(self.local);
    }
}

impl fmt::Debug for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.state.peer)
            .field("owner", &self.state.owner)
            .finish()
    }
}
