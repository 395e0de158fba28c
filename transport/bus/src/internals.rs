//! Pieces of the bus, for its own benches.
//!
//! No part of the interface: these change with what is behind them.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringseal_auth::Outcome;
use ringseal_wire::{Frame, FrameView, ReplicaId};

use crate::handoff::{Early, Handoff};
use crate::metrics::Role;
use crate::owner::Owner;
use crate::runtime::{self, Scratch};
use crate::settings::KeyId;
use crate::{link, mesh};

/// A link's outbox, and the memory that its batches are made in.
#[derive(Debug)]
pub struct Outbox {
    frames: link::Outbox,
    scratch: Scratch,
}

impl Outbox {
    /// An empty outbox.
    #[expect(clippy::new_without_default, reason = "nobody wants a default one")]
    #[must_use]
    pub fn new() -> Self {
        Self { frames: link::Outbox::default(), scratch: Scratch::new() }
    }

    /// Adds a frame at the end.
    pub fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Adds a received frame at the end.
    pub fn pass_on(&mut self, frame: FrameView<'_>) {
        self.frames.pass_on(frame);
    }

    /// Gathers what fits one write, and returns how many bytes that is.
    pub fn gather(&mut self) -> usize {
        let mut batch = self.scratch.batch();
        self.frames.gather(&mut batch);
        batch.len()
    }

    /// Takes out what the socket has taken, and returns how many frames that completes.
    pub fn advance(&mut self, written: usize) -> u32 {
        self.frames.advance(written).0
    }
}

/// A shard's mailbox.
#[derive(Debug)]
pub struct Mailbox(mesh::Mailbox);

impl Mailbox {
    /// An empty mailbox, over which nobody sleeps.
    #[expect(clippy::new_without_default, reason = "nobody wants a default one")]
    #[must_use]
    pub fn new() -> Self {
        Self(mesh::Mailbox::new())
    }

    /// Sends a frame towards a peer's link.
    pub fn send(&self, peer: ReplicaId, frame: Frame) {
        self.0.send(mesh::Outgoing { peer, incarnation: 1, frame });
    }

    /// Takes out the frames, if there are any; how many there were.
    pub fn drain(&self) -> usize {
        if !self.0.has_outgoing() {
            return 0;
        }
        std::iter::from_fn(|| self.0.next_outgoing()).count()
    }
}

/// Lends and adopts a connection so many times on an executor of the calling thread; how long that
/// took.
///
/// # Errors
///
/// The kernel's, when there can be no ring or no other descriptor.
pub fn hand_off(socket: OwnedFd, outcome: Outcome, times: u64) -> io::Result<Duration> {
    let owner = Owner::claim(1, 0, Role::Acceptor, true);
    let (key, early) = (KeyId::NONE, Early::NONE);
    let link = Handoff { socket, owner, outcome, key, dialed_by: None, early };
    let took = Rc::new(Cell::new(None));
    let result = took.clone();
    runtime::run_here(Duration::ZERO, async move {
        let started = Instant::now();
        let there_and_back = |link: Handoff<OwnedFd>, _| link.adopt().lend();
        let done = (0..times).try_fold(link, there_and_back);
        result.set(Some(done.map(|_| started.elapsed())));
    })?;
    took.take().expect("the executor has run it")
}
