//! Frames that wait to be written to one peer.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use ringseal_wire::{Frame, FrameView, HeaderView};

use crate::runtime::Batch;

/// How many bytes one write takes at most, so that a slow socket does not make us gather the same
/// frames over and over.
const MOST: usize = 512 << 10;

/// A first-in, first-out queue of frames and how far the first entry has been written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    entries: VecDeque<Entry>,
    /// How many frames all entries have.
    frames: usize,
    /// How many bytes of the first entry the socket has taken.
    written: usize,
}

#[derive(Debug)]
enum Entry {
    Frame(Frame),
    Run(Run),
}

/// Received frames that are passed on in the order they came: one slice, which they share.
#[derive(Debug)]
struct Run {
    /// The frames, and then others that were received with them.
    received: Bytes,
    /// How many bytes of that are to be written.
    len: usize,
    /// How many frames these are.
    frames: u32,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.entries.push_back(Entry::Frame(frame));
        self.frames += 1;
    }

    /// Puts in a received frame. The next one, if it is put in next, then only makes the run longer.
    pub(crate) fn pass_on(&mut self, frame: FrameView<'_>) {
        self.frames += 1;
        if let Some(Entry::Run(run)) = self.entries.back_mut()
            && run.append(frame)
        {
            return;
        }
        let (received, len) = (frame.onward(), frame.wire_len());
        self.entries.push_back(Entry::Run(Run { received, len, frames: 1 }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many frames there are.
    pub(crate) fn len(&self) -> usize {
        self.frames
    }

    /// Gathers from the front what fits one write. Nothing is taken out: [`advance`](Self::advance)
    /// does that.
    pub(crate) fn gather<'a>(&'a self, batch: &mut Batch<'a>) {
        let mut skip = self.written;
        for entry in &self.entries {
            for piece in entry.slices() {
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
        while let Some(first) = self.entries.front_mut() {
            let (count, len) = first.complete(self.written);
            if count == 0 {
                break;
            }
            frames += count;
            bytes += len as u64;
            self.written -= len;
            if !first.drop_front(count, len) {
                self.entries.pop_front();
            }
        }
        self.frames -= frames as usize;
        debug_assert!(self.written == 0 || !self.entries.is_empty());
        (frames, bytes)
    }

    /// Takes out everything; returns how many frames that was and their bytes.
    pub(crate) fn clear(&mut self) -> (u32, u64) {
        let len =
            |entry: &Entry| entry.slices().map(|slice| slice.len() as u64).iter().sum::<u64>();
        let bytes = self.entries.iter().map(len).sum();
        let frames = self.frames as u32;
        *self = Self::default();
        (frames, bytes)
    }
}

impl Entry {
    /// The bytes in the order of the wire.
    fn slices(&self) -> [&[u8]; 2] {
        match self {
            Self::Frame(frame) => frame.slices(),
            Self::Run(run) => [&run.received[..run.len], &[]],
        }
    }

    /// How many frames are complete once `written` bytes are written, and how many bytes they have.
    fn complete(&self, written: usize) -> (u32, usize) {
        match self {
            Self::Frame(frame) if frame.wire_len() <= written => (1, frame.wire_len()),
            Self::Frame(_) => (0, 0),
            Self::Run(run) => run.complete(written),
        }
    }

    /// Lets go of the first `frames` frames, which have `len` bytes; whether there are more.
    fn drop_front(&mut self, frames: u32, len: usize) -> bool {
        match self {
            Self::Frame(_) => false,
            Self::Run(run) => {
                run.received.advance(len);
                run.len -= len;
                run.frames -= frames;
                run.frames > 0
            }
        }
    }
}

impl Run {
    /// Takes in a frame that lies right behind the run; whether it does.
    fn append(&mut self, frame: FrameView<'_>) -> bool {
        let behind = &self.received[self.len..];
        let bytes = frame.as_bytes();
        let next = behind.len() >= bytes.len() && behind.as_ptr() == bytes.as_ptr();
        if next {
            self.len += bytes.len();
            self.frames += 1;
        }
        next
    }

    fn complete(&self, written: usize) -> (u32, usize) {
        if written >= self.len {
            return (self.frames, self.len);
        }
        let (mut frames, mut len) = (0, 0);
        loop {
            let rest = HeaderView::from_slice(&self.received[len..]);
            let next = rest.expect("a run is of whole frames").size() as usize;
            if len + next > written {
                return (frames, len);
            }
            frames += 1;
            len += next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{PACKED, SCRATCH, Scratch};
    use ringseal_wire::{Command, Deframer, Header};

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

    /// A deframer that has received these frames, and what it has received.
    fn received(frames: &[Frame]) -> (Deframer, Vec<u8>) {
        let stream: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        let mut deframer = Deframer::new(u32::MAX);
        deframer.feed(&stream);
        (deframer, stream)
    }

    /// Passes on the frames of `deframer` for which `which` says so.
    fn pass_on(outbox: &mut Outbox, deframer: &mut Deframer, which: impl Fn(u32) -> bool) {
        while let Some(frame) = deframer.next_frame().expect("good sizes") {
            if which(frame.header().view()) {
                outbox.pass_on(frame);
            }
        }
    }

    #[test]
    fn frames_passed_on_in_order_are_one_slice_where_they_lie() {
        let frames: Vec<_> = [0, 44, 0, 5000, 1].map(|body| frame(0, body)).into();
        let (mut deframer, stream) = received(&frames);
        let lies = deframer.buffer_mut().as_ptr_range();
        let mut outbox = Outbox::default();
        pass_on(&mut outbox, &mut deframer, |_| true);
        assert_eq!((outbox.entries.len(), outbox.len()), (1, 5));
        assert_eq!(outbox.entries[0].slices()[0].as_ptr_range(), lies);
        assert!(drain(&mut outbox, usize::MAX) == stream);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_gap_another_read_or_an_own_frame_ends_a_run() {
        let frames: Vec<_> = (0..6).map(|number| frame(number, 44)).collect();
        let (mut one, _) = received(&frames);
        let (mut other, _) = received(&frames);
        let mut outbox = Outbox::default();
        pass_on(&mut outbox, &mut one, |number| number != 2);
        pass_on(&mut outbox, &mut other, |number| number < 2);
        outbox.push(frames[5].clone());
        assert_eq!((outbox.entries.len(), outbox.len()), (4, 8));
        let order = [0, 1, 3, 4, 5, 0, 1, 5].map(|number: usize| frames[number].to_bytes());
        assert!(drain(&mut outbox, 1009) == order.concat());
    }

    #[test]
    fn a_run_is_counted_by_frames_however_little_the_socket_takes() {
        let sizes = [0, 1, 300, 0, 70_000, 5, 0];
        for step in [1, 255, 256, 257, 4096, usize::MAX] {
            let frames: Vec<_> = sizes.map(|body| frame(7, body)).into();
            let (mut deframer, stream) = received(&frames);
            let mut outbox = Outbox::default();
            pass_on(&mut outbox, &mut deframer, |_| true);
            let (mut written, mut counted) = (0, (0, 0));
            while !outbox.is_empty() {
                let more = step.min(stream.len() - written);
                written += more;
                let (frames, bytes) = outbox.advance(more);
                counted = (counted.0 + frames, counted.1 + bytes);
                let whole = |end: &usize| *end <= written;
                let ends = frames_end_at(&sizes);
                assert_eq!(counted.0 as usize, ends.iter().filter(|end| whole(end)).count());
                assert_eq!(counted.1 as usize, ends.into_iter().filter(whole).max().unwrap_or(0));
                assert_eq!(outbox.len(), sizes.len() - counted.0 as usize);
            }
            assert_eq!(written, stream.len());
        }
    }

    fn frames_end_at(bodies: &[usize]) -> Vec<usize> {
        let end = |end: &mut usize, body: &usize| {
            *end += 256 + body;
            Some(*end)
        };
        bodies.iter().scan(0, end).collect()
    }

    #[test]
    fn what_is_cleared_is_counted_by_frames() {
        let frames: Vec<_> = (0..3).map(|number| frame(number, 44)).collect();
        let (mut deframer, _) = received(&frames);
        let mut outbox = Outbox::default();
        pass_on(&mut outbox, &mut deframer, |_| true);
        outbox.push(frame(3, 0));
        assert_eq!(outbox.advance(301), (1, 300));
        assert_eq!(outbox.clear(), (3, 856));
        assert!(outbox.is_empty());
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
