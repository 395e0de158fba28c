//! Frames that wait to be written to one peer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use ringseal_wire::Frame;

/// How many bytes of small frames are packed for one write.
pub(crate) const SCRATCH: usize = 64 << 10;

/// Parts of a frame up to this many bytes are copied to their neighbours; larger ones are handed to
/// the kernel where they lie.
const PACKED: usize = 2 << 10;

/// How many slices one write takes.
const SLICES: usize = 128;

/// How many bytes one write takes at most, so that a slow socket does not make us gather the same
/// frames over and over.
const BATCH: usize = 512 << 10;

/// A first-in, first-out queue of frames and how far the first has been written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    /// How many bytes of the first frame the socket has taken.
    written: usize,
}

/// What a shard's writers share: where small frames are packed. It is filled and written within one
/// call, so one serves all links.
#[derive(Debug)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Packed(Range<usize>),
    /// A part of the frame at this place of the queue, left where it lies.
    InPlace {
        frame: usize,
        body: bool,
        from: usize,
    },
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(SCRATCH), parts: Vec::with_capacity(SLICES) }
    }

    /// Appends a copy of `bytes` if it has room for them.
    fn pack(&mut self, bytes: &[u8]) -> bool {
        let start = self.bytes.len();
        if start + bytes.len() > SCRATCH {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        match self.parts.last_mut() {
            Some(Part::Packed(range)) => range.end = self.bytes.len(),
            _ => self.parts.push(Part::Packed(start..self.bytes.len())),
        }
        true
    }
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

    /// Gathers from the front what fits one write and calls `write` with it; what `write` returns is
    /// returned. Nothing is taken out: [`advance`](Self::advance) does that.
    pub(crate) fn gather<T>(
        &self,
        scratch: &mut Scratch,
        write: impl FnOnce(&[IoSlice<'_>], usize) -> T,
    ) -> T {
        scratch.bytes.clear();
        scratch.parts.clear();
        let total = self.plan(scratch);
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, part) in slices.iter_mut().zip(&scratch.parts) {
            *slice = IoSlice::new(match part {
                Part::Packed(range) => &scratch.bytes[range.clone()],
                Part::InPlace { frame, body, from } => {
                    &parts_of(&self.frames[*frame])[usize::from(*body)][*from..]
                }
            });
        }
        write(&slices[..scratch.parts.len()], total)
    }

    /// Decides what goes into one write and how; returns how many bytes that is.
    fn plan(&self, scratch: &mut Scratch) -> usize {
        let mut total = 0;
        let mut skip = self.written;
        for (at, frame) in self.frames.iter().enumerate() {
            for (body, part) in parts_of(frame).into_iter().enumerate() {
                let from = skip.min(part.len());
                skip -= from;
                let rest = &part[from..];
                if rest.is_empty() || rest.len() <= PACKED && scratch.pack(rest) {
                    total += rest.len();
                    continue;
                }
                if scratch.parts.len() == SLICES || rest.len() <= PACKED {
                    return total;
                }
                scratch.parts.push(Part::InPlace { frame: at, body: body == 1, from });
                total += rest.len();
            }
            if total >= BATCH || scratch.parts.len() >= SLICES - 1 {
                return total;
            }
        }
        total
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
fn parts_of(frame: &Frame) -> [&[u8]; 2] {
    [frame.header_bytes(), frame.body()]
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let taken = outbox.gather(&mut scratch, |slices, total| {
                assert_eq!(slices.iter().map(|slice| slice.len()).sum::<usize>(), total);
                assert!(total > 0, "a write makes progress");
                let end = stream.len() + total.min(step);
                for slice in slices {
                    let room = slice.len().min(end - stream.len());
                    stream.extend_from_slice(&slice[..room]);
                }
                total.min(step)
            });
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
    fn many_small_frames_are_one_slice_and_large_bodies_are_not_copied() {
        let mut outbox = Outbox::default();
        (0..200).for_each(|number| outbox.push(frame(number, 0)));
        let large = frame(200, 100_000);
        let body = large.body().as_ptr();
        outbox.push(large);
        outbox.gather(&mut Scratch::new(), |slices, total| {
            assert_eq!(slices.len(), 2);
            assert_eq!(slices[0].len(), 201 * 256);
            assert_eq!(slices[1].as_ptr(), body);
            assert_eq!(total, 201 * 256 + 100_000);
        });
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
