//! A handler that sends every frame back to where it came from, and loses none.

use std::collections::{HashMap, VecDeque};

use ringseal::{Flow, Frame, Handler, Link, Reason, ReplicaId, SendError, SendErrorKind};

/// Frames that could not be sent back at once, per peer, in the order they came.
///
/// A peer whose outbox is full is paused, so that no more than what was already parsed gathers here.
#[derive(Debug, Default)]
pub struct Returns(HashMap<ReplicaId, VecDeque<Frame>>);

impl Returns {
    /// Sends a frame back through `send`, behind whatever still waits for the same peer.
    pub fn give(
        &mut self,
        peer: ReplicaId,
        frame: Frame,
        send: impl FnOnce(Frame) -> Result<(), SendError>,
    ) -> Flow {
        if let Some(waiting) = self.0.get_mut(&peer) {
            waiting.push_back(frame);
            return Flow::Pause;
        }
        match send(frame) {
            Err(SendError { kind: SendErrorKind::Backpressure, frame }) => {
                self.0.insert(peer, VecDeque::from([frame]));
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
                sent => report(peer, sent),
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
fn report(peer: ReplicaId, sent: Result<(), SendError>) {
    if let Err(SendError { kind, .. }) = sent {
        tracing::debug!(peer = peer.get(), reason = %kind, "a frame could not be sent back");
    }
}

/// Sends every frame back unchanged, header included.
#[derive(Debug, Default)]
pub struct Echo(Returns);

impl Handler for Echo {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: Frame) -> Flow {
        self.0.give(link.peer(), frame, |frame| link.send(frame))
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
    fn on_frame(&mut self, _: &mut Link<'_>, _: Frame) -> Flow {
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ringseal::{Command, Header};

    use super::*;

    const PEER: ReplicaId = ReplicaId::new(3);

    fn frame(view: u32) -> Frame {
        let mut header = Header::new(Command::PREPARE);
        header.set_view(view);
        Frame::new(header, Bytes::from_static(b"body")).expect("small")
    }

    /// An outbox with room for `room` frames.
    struct Outbox {
        room: usize,
        sent: Vec<u32>,
    }

    impl Outbox {
        fn send(&mut self, frame: Frame) -> Result<(), SendError> {
            if self.room == 0 {
                return Err(SendError { kind: SendErrorKind::Backpressure, frame });
            }
            self.room -= 1;
            self.sent.push(frame.header().view());
            Ok(())
        }
    }

    #[test]
    fn every_frame_goes_back_once_and_in_order_however_often_the_outbox_is_full() {
        let mut returns = Returns::default();
        let mut outbox = Outbox { room: 2, sent: Vec::new() };
        let flows: Vec<_> =
            (0..5).map(|view| returns.give(PEER, frame(view), |f| outbox.send(f))).collect();
        assert_eq!(flows[..2], [Flow::Continue; 2]);
        assert_eq!(flows[2..], [Flow::Pause; 3], "what was parsed already waits in order");

        outbox.room = 1;
        assert!(!returns.flush(PEER, |f| outbox.send(f)), "two still wait");
        outbox.room = 9;
        assert!(returns.flush(PEER, |f| outbox.send(f)));
        assert_eq!(returns.give(PEER, frame(5), |f| outbox.send(f)), Flow::Continue);
        assert_eq!(outbox.sent, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn peers_do_not_wait_for_each_other_and_an_ended_link_leaves_nothing() {
        let mut returns = Returns::default();
        let mut outbox = Outbox { room: 0, sent: Vec::new() };
        assert_eq!(returns.give(PEER, frame(0), |f| outbox.send(f)), Flow::Pause);
        outbox.room = 2;
        let other = ReplicaId::new(4);
        assert_eq!(returns.give(other, frame(1), |f| outbox.send(f)), Flow::Continue);
        returns.forget(PEER);
        assert!(returns.flush(PEER, |f| outbox.send(f)));
        assert_eq!(outbox.sent, [1]);
    }

    #[test]
    fn a_link_that_is_going_takes_its_frames_along() {
        let mut returns = Returns::default();
        let gone = |frame| Err(SendError { kind: SendErrorKind::NotConnected, frame });
        assert_eq!(returns.give(PEER, frame(0), gone), Flow::Continue);
        assert!(returns.0.is_empty());
    }
}
