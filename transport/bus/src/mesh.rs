//! How shards and outside threads reach a shard: a mailbox each.

use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use std::task::{Poll, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ringseal_wire::{Frame, ReplicaId};

use crate::error::Reason;
use crate::handoff::Handoff;

/// A frame on its way to the outbox of one incarnation of a link. Credit bounds how many there are.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) peer: ReplicaId,
    pub(crate) incarnation: u64,
    pub(crate) frame: Frame,
}

/// What a shard is asked to do. Few of these are ever under way: each stands for a link, a peer or
/// the bus's end.
#[derive(Debug)]
pub(crate) enum Control {
    /// Own this link.
    Adopt(Box<Handoff<OwnedFd>>),
    /// Hand over frames of this peer again.
    Resume(ReplicaId),
    /// A newcomer claims the peer of this incarnation: end it unless it shows life.
    Contest { peer: ReplicaId, incarnation: u64 },
    /// End this incarnation.
    End { peer: ReplicaId, incarnation: u64, reason: Reason },
    /// End this incarnation gently, to make it anew.
    Renew { peer: ReplicaId, incarnation: u64 },
    /// The link that this shard's connector had made is over; `prompt` when it was ended to be made
    /// anew.
    Redial { peer: ReplicaId, incarnation: u64, prompt: bool },
    /// Other settings are in force.
    Reload,
    /// Shut down, and cut what is not done by then.
    Stop(Instant),
}

/// A shard's mailbox. Anyone puts in; the shard alone takes out.
#[derive(Debug)]
pub(crate) struct Mailbox {
    outgoing: (Sender<Outgoing>, Receiver<Outgoing>),
    control: (Sender<Control>, Receiver<Control>),
    /// Whether a frame may have come since the shard last looked: cheaper to ask than the channel.
    fresh: AtomicBool,
    asleep: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self {
            outgoing: unbounded(),
            control: unbounded(),
            fresh: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    pub(crate) fn send(&self, outgoing: Outgoing) {
        let _ = self.outgoing.0.send(outgoing);
        self.fresh.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn tell(&self, control: Control) {
        let _ = self.control.0.send(control);
        self.wake();
    }

    /// Whether [`next_outgoing`](Self::next_outgoing) may have a frame; asking makes it forget, so all
    /// have to be taken out then.
    #[inline]
    pub(crate) fn has_outgoing(&self) -> bool {
        self.fresh.load(Relaxed) && self.fresh.swap(false, SeqCst)
    }

    /// The next frame, in the order of sending.
    pub(crate) fn next_outgoing(&self) -> Option<Outgoing> {
        self.outgoing.1.try_recv().ok()
    }

    /// The next request.
    pub(crate) fn next_control(&self) -> Option<Control> {
        self.control.1.try_recv().ok()
    }

    fn is_empty(&self) -> bool {
        self.outgoing.1.is_empty() && self.control.1.is_empty()
    }

    /// Waits until there is something to take out.
    pub(crate) async fn ready(&self) {
        poll_fn(|cx| {
            {
                let mut waker = self.waker.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
            }
            // We look at the queues after we have said that we sleep, a sender at `asleep` after it
            // has put something in: one of us sees the other.
            self.asleep.store(true, SeqCst);
            fence(SeqCst);
            if self.is_empty() {
                return Poll::Pending;
            }
            self.asleep.store(false, SeqCst);
            Poll::Ready(())
        })
        .await;
    }

    /// Wakes the shard if there is mail that it sleeps over: the cure for a wake-up that got lost.
    pub(crate) fn nudge(&self) {
        if !self.is_empty() {
            self.asleep.store(true, SeqCst);
            self.wake();
        }
    }

    /// Wakes the shard if it has nothing to do; one that is awake looks by itself.
    fn wake(&self) {
        fence(SeqCst);
        if self.asleep.load(SeqCst) && self.asleep.swap(false, SeqCst) {
            let waker = self.waker.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(waker) = &*waker {
                waker.wake_by_ref();
            }
        }
    }
}
