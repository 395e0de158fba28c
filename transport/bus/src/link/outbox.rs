//! Frames that wait to be written to one peer.

use std::collections::VecDeque;

use ringseal_wire::Frame;

use crate::runtime::Batch;

/// How many bytes one write takes at most, so that a slow socket does not make us gather the same
/// frames over and over.
const MOST: usize = 512 << 10;

/// A first-in, first-out queue of frames and how far the first has been written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    /// How many bytes of the first frame the socket has taken.
    written: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Gathers from the front what fits one write. Nothing is taken out: [`advance`](Self::advance)
    /// does that.
    pub(crate) fn gather<'a>(&'a self, batch: &mut Batch<'a>) {
        let mut skip = self.written;
        for frame in &self.frames {
            for piece in pieces_of(frame) {
                let written = skip.min(piece.len());
                skip -= written;
                if !batch.push(&piece[written..]) {
                    return;
                }
            }
            if batch.len() >= MOST {
                return;
            }
        }
    }

    /// Takes out what the socket has taken; returns how many frames that completes and their bytes.
    pub(crate) fn advance(&mut self, written: usize) -> (u32, u64) {
        self.written += written;
        let (mut frames, mut bytes) = (0, 0);
        while let Some(first) = self.frames.front()
            && self.written >= first.wire_len()
        {
            self.written -= first.wire_len();
            bytes += first.wire_len() as u64;
            frames += 1;
            self.frames.pop_front();
        }
        debug_assert!(self.written == 0 || !self.frames.is_empty());
        (frames, bytes)
    }

    /// Takes out everything; returns how many frames that was and their bytes.
    pub(crate) fn clear(&mut self) -> (u32, u64) {
        let bytes = self.frames.iter().map(|frame| frame.wire_len() as u64).sum();
        let frames = self.frames.len() as u32;
        *self = Self::default();
        (frames, bytes)
    }
}

/// A frame's bytes in the order of the wire.
fn pieces_of(frame: &Frame) -> [&[u8]; 2] {
    [frame.header_bytes(), frame.body()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{PACKED, SCRATCH, Scratch};
    use ringseal_wire::{Command, Header};

    fn frame(number: u32, body: usize) -> Frame {
        let mut header = Header::new(Command::PREPARE);
        header.set_view(number);
        Frame::new(header, vec![number as u8; body].into()).expect("small")
    }

    /// Writes everything through a socket that takes at most `step` bytes at a time.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut scratch = Scratch::new();
        let mut stream = Vec::new();
        while !outbox.is_empty() {
            let mut batch = scratch.batch();
            outbox.gather(&mut batch);
            let taken = batch.len().min(step);
            assert!(taken > 0, "a write makes progress");
            stream.extend_from_slice(&batch.to_bytes()[..taken]);
            outbox.advance(taken);
        }
        stream
    }

    #[test]
    fn frames_of_every_size_leave_in_order_however_little_the_socket_takes() {
        let sizes = [0, 1, PACKED - 256, PACKED, PACKED + 1, 70_000, 0, 0, SCRATCH, 5];
        for step in [1009, 4096, SCRATCH - 1, usize::MAX] {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (number, body) in sizes.into_iter().cycle().take(60).enumerate() {
                let frame = frame(number as u32, body);
                expected.extend_from_slice(&frame.to_bytes());
                outbox.push(frame);
            }
            assert!(drain(&mut outbox, step) == expected, "step {step}");
            assert_eq!(outbox.written, 0);
        }
    }

    #[test]
    fn advance_counts_whole_frames_only() {
        let mut outbox = Outbox::default();
        (0..3).for_each(|number| outbox.push(frame(number, 44)));
        assert_eq!(outbox.advance(299), (0, 0));
        assert_eq!(outbox.advance(301), (2, 600));
        assert_eq!(outbox.clear(), (1, 300));
        assert!(outbox.is_empty());
    }
}
