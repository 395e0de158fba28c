//! A handler that sends every frame back to where it came from, and loses none.

use std::collections::{HashMap, VecDeque};

use ringseal::{
    Flow, Frame, FrameView, Handler, Link, Reason, ReplicaId, SendError, SendErrorKind,
};

/// Frames that could not be sent back at once, per peer, in the order they came.
///
/// A peer whose outbox is full is paused, so that no more than what was already parsed gathers here.
#[derive(Debug, Default)]
pub struct Returns(HashMap<ReplicaId, VecDeque<Frame>>);

impl Returns {
    /// Sends a frame back through `forward`, behind whatever still waits for the same peer.
    pub fn give(
        &mut self,
        peer: ReplicaId,
        frame: FrameView<'_>,
        forward: impl FnOnce(FrameView<'_>) -> Result<(), SendErrorKind>,
    ) -> Flow {
        if let Some(waiting) = self.0.get_mut(&peer) {
            waiting.push_back(frame.to_frame());
            return Flow::Pause;
        }
        match forward(frame) {
            Err(SendErrorKind::Backpressure) => {
                self.0.insert(peer, VecDeque::from([frame.to_frame()]));
                Flow::Pause
            }
            sent => {
                report(peer, sent);
                Flow::Continue
            }
        }
    }

    /// Sends what waits for a peer that has room again. True when nothing waits any more.
    pub fn flush(
        &mut self,
        peer: ReplicaId,
        mut send: impl FnMut(Frame) -> Result<(), SendError>,
    ) -> bool {
        let Some(waiting) = self.0.get_mut(&peer) else { return true };
        while let Some(frame) = waiting.pop_front() {
            match send(frame) {
                Err(SendError { kind: SendErrorKind::Backpressure, frame }) => {
                    waiting.push_front(frame);
                    return false;
                }
                sent => report(peer, sent.map_err(|error| error.kind)),
            }
        }
        self.0.remove(&peer);
        true
    }

    /// Lets go of what waits for a peer whose link has ended.
    pub fn forget(&mut self, peer: ReplicaId) {
        self.0.remove(&peer);
    }
}

/// Any other refusal than backpressure means that the link is going, and its frames with it.
fn report(peer: ReplicaId, sent: Result<(), SendErrorKind>) {
    if let Err(kind) = sent {
        tracing::debug!(peer = peer.get(), reason = %kind, "a frame could not be sent back");
    }
}

/// Sends every frame back unchanged, header included.
#[derive(Debug, Default)]
pub struct Echo(Returns);

impl Handler for Echo {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let peer = link.peer();
        self.0.give(peer, frame, |frame| link.forward(peer, frame))
    }

    fn on_writable(&mut self, link: &mut Link<'_>) {
        if self.0.flush(link.peer(), |frame| link.send(frame)) {
            link.resume();
        }
    }

    fn on_link_down(&mut self, peer: ReplicaId, _: Reason, _: u64) {
        self.0.forget(peer);
    }
}

/// Lets every frame go.
#[derive(Debug, Default)]
pub struct Sink;

impl Handler for Sink {
    fn on_frame(&mut self, _: &mut Link<'_>, _: FrameView<'_>) -> Flow {
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringseal::wire::Deframer;
    use ringseal::{Command, Header};

    use super::*;

    const PEER: ReplicaId = ReplicaId::new(3);

    fn frame(view: u32) -> Frame {
        let mut header = Header::new(Command::PREPARE);
        header.set_view(view);
        Frame::new(header, Bytes::from_static(b"body")).expect("small")
    }

    /// A deframer that has received `frame`.
    fn received(frame: &Frame) -> Deframer {
        let mut deframer = Deframer::new(u32::MAX);
        deframer.feed(&frame.to_bytes());
        deframer
    }

    /// Gives `returns` a frame of this view that `peer` has sent.
    fn give(returns: &mut Returns, outbox: &mut Outbox, peer: ReplicaId, view: u32) -> Flow {
        let mut deframer = received(&frame(view));
        let frame = deframer.next_frame().expect("a good size").expect("a whole frame");
        returns.give(peer, frame, |frame| outbox.forward(frame))
    }

    /// An outbox with room for `room` frames.
    struct Outbox {
        room: usize,
        sent: Vec<u32>,
    }

    impl Outbox {
        fn forward(&mut self, frame: FrameView<'_>) -> Result<(), SendErrorKind> {
            if self.room == 0 {
                return Err(SendErrorKind::Backpressure);
            }
            self.room -= 1;
            self.sent.push(frame.header().view());
            Ok(())
        }

        fn send(&mut self, frame: Frame) -> Result<(), SendError> {
            let mut deframer = received(&frame);
            let view = deframer.next_frame().expect("a good size").expect("a whole frame");
            self.forward(view).map_err(|kind| SendError { kind, frame })
        }
    }

    #[test]
    fn every_frame_goes_back_once_and_in_order_however_often_the_outbox_is_full() {
        let mut returns = Returns::default();
        let mut outbox = Outbox { room: 2, sent: Vec::new() };
        let flows: Vec<_> =
            (0..5).map(|view| give(&mut returns, &mut outbox, PEER, view)).collect();
        assert_eq!(flows[..2], [Flow::Continue; 2]);
        assert_eq!(flows[2..], [Flow::Pause; 3], "what was parsed already waits in order");

        outbox.room = 1;
        assert!(!returns.flush(PEER, |f| outbox.send(f)), "two still wait");
        outbox.room = 9;
        assert!(returns.flush(PEER, |f| outbox.send(f)));
        assert_eq!(give(&mut returns, &mut outbox, PEER, 5), Flow::Continue);
        assert_eq!(outbox.sent, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn peers_do_not_wait_for_each_other_and_an_ended_link_leaves_nothing() {
        let mut returns = Returns::default();
        let mut outbox = Outbox { room: 0, sent: Vec::new() };
        assert_eq!(give(&mut returns, &mut outbox, PEER, 0), Flow::Pause);
        outbox.room = 2;
        let other = ReplicaId::new(4);
        assert_eq!(give(&mut returns, &mut outbox, other, 1), Flow::Continue);
        returns.forget(PEER);
        assert!(returns.flush(PEER, |f| outbox.send(f)));
        assert_eq!(outbox.sent, [1]);
    }

    #[test]
    fn a_link_that_is_going_takes_its_frames_along() {
        let mut returns = Returns::default();
        let mut deframer = received(&frame(0));
        let frame = deframer.next_frame().expect("a good size").expect("a whole frame");
        let flow = returns.give(PEER, frame, |_| Err(SendErrorKind::NotConnected));
        assert_eq!(flow, Flow::Continue);
        assert!(returns.0.is_empty());
    }
}
