//! What an embedder implements: one handler per shard, called on the shard's own thread.

use ringseal_wire::{FrameView, ReplicaId};

use crate::error::Reason;
use crate::link::Link;

/// Whether a link goes on reading after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Hand over the next frame.
    Continue,
    /// Stop: no further frame of this link is handed over until [`Link::resume`] or
    /// [`Mesh::resume`](crate::Mesh::resume), and TCP holds the peer back. Frames that have
    /// arrived wait in order.
    Pause,
}

/// Receives a shard's frames and news of its links.
///
/// Every shard has a handler of its own and calls it on its own thread, so a handler needs no lock.
/// It must not block: a call that takes a millisecond delays every link of the shard by a
/// millisecond. For each link the calls come in this order: `on_link_up`, then any number of
/// `on_frame` and `on_writable`, then `on_link_down`.
pub trait Handler: 'static {
    /// A link is up; its first frame comes after this call. `incarnation` is unique in this bus.
    fn on_link_up(&mut self, link: &mut Link<'_>, incarnation: u64) {
        let _ = (link, incarnation);
    }

    /// A frame has arrived and is lent where it lies, for this call. [`to_frame`](FrameView::to_frame) keeps
    /// it, and with it the memory that it was received into; [`detach`](FrameView::detach) what is kept for
    /// long. [`Link::forward`] sends it on. The frame's own `replica` field names its author, who need not
    /// be `link.peer()`, its carrier.
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow;

    /// The link's outbox has room again. Called once after a send to this peer, from anywhere, was
    /// refused with `Backpressure`.
    fn on_writable(&mut self, link: &mut Link<'_>) {
        let _ = link;
    }

    /// The link has ended; `lost` accepted frames were not written to it. No call for this link
    /// follows.
    fn on_link_down(&mut self, peer: ReplicaId, reason: Reason, lost: u64) {
        let _ = (peer, reason, lost);
    }
}
