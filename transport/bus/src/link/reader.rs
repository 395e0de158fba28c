//! From a link's socket to whole frames.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use ringseal_wire::{Deframer, FrameView, SizeError};

use crate::buffers::{BUFFER, Buffers, LARGE_BUFFER};
use crate::runtime::Stream;

/// A read with less room than this is not worth its system call.
const LEAST_READ: usize = 4 << 10;

/// Receives frames in large reads and cuts them out of their buffer without a copy.
#[derive(Debug)]
pub(super) struct Reader {
    deframer: Deframer,
    /// The full size of the deframer's present buffer.
    capacity: usize,
    /// The size that the next buffer should have.
    wanted: usize,
    /// Whether nothing has been read since [`rest`](Self::rest) was last called.
    idle: bool,
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer has closed.
    End,
    /// Nothing: handlers hold as much as the shard's budget allows.
    Starved,
}

impl Reader {
    pub(super) fn new(max_frame: u32, early: &[u8]) -> Self {
        let mut deframer = Deframer::new(max_frame);
        // Zeroed, like every buffer that is read into: what is behind `early` is spare.
        let mut buffer = BytesMut::zeroed(early.len());
        buffer.copy_from_slice(early);
        *deframer.buffer_mut() = buffer;
        // No buffer of a size that anybody could use again.
        Self { deframer, capacity: 0, wanted: BUFFER, idle: false }
    }

    /// The next frame that has arrived whole.
    #[inline]
    pub(super) fn next_frame(&mut self) -> Result<Option<FrameView<'_>>, SizeError> {
        self.deframer.next_frame()
    }

    /// Reads what has arrived. All whole frames must have been taken before.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        buffers: &mut Buffers,
    ) -> Poll<io::Result<Read>> {
        ready!(stream.poll_readable(cx));
        if !self.make_room(buffers) {
            return Poll::Ready(Ok(Read::Starved));
        }
        let room = self.room();
        let count = ready!(stream.poll_fill(cx, self.deframer.buffer_mut()))?;
        self.idle = false;
        // Whoever fills its buffer has more to say than fits; a larger one saves calls and the moving
        // of frames that are cut in two.
        if count == room {
            self.wanted = LARGE_BUFFER;
        } else if count < BUFFER / 4 {
            self.wanted = BUFFER;
        }
        Poll::Ready(Ok(if count == 0 { Read::End } else { Read::Bytes(count) }))
    }

    /// Gives the buffer back if nothing is under way and nothing has been read since the last call, or
    /// little of late for its size.
    pub(super) fn rest(&mut self, buffers: &mut Buffers) {
        if (self.idle || self.capacity > self.wanted) && self.deframer.is_empty() {
            self.close(buffers);
        }
        self.idle = true;
    }

    /// Gives the buffer back, and what is in it.
    pub(super) fn close(&mut self, buffers: &mut Buffers) {
        let old = self.deframer.swap_buffer(BytesMut::new());
        buffers.retire(old, self.capacity);
        self.capacity = 0;
    }

    /// Sees to it that the buffer has room for what is missing of the frame under way. False when
    /// the budget forbids it.
    fn make_room(&mut self, buffers: &mut Buffers) -> bool {
        let started = self.deframer.buffered();
        // A bad size ends the link before it gets here.
        let missing = self.deframer.missing().unwrap_or(0);
        let needed = (started + missing).max(BUFFER);
        // A huge frame's own buffer ends with the frame, so its last read may be a small one.
        let enough = if self.capacity > LARGE_BUFFER { missing } else { missing.max(LEAST_READ) };
        let suits = self.capacity == needed || (needed..=LARGE_BUFFER).contains(&self.capacity);
        // If nobody holds a frame of this buffer any more, it starts over where it is, in memory that the
        // caches still have. What has begun to arrive moves along, so that is to be little or to be due.
        if suits && (started <= LEAST_READ || self.room() < enough) {
            let _ = self.deframer.buffer_mut().try_reclaim(self.capacity - started);
        }
        let room = self.room() >= enough;
        // A large buffer is a comfort, for which the budget has to have room beside this one.
        let grows = self.wanted > needed.max(self.capacity)
            && buffers.has_room(self.capacity + self.wanted)
            && self.go_on_in(buffers.take(self.wanted), buffers);
        grows || room || self.go_on_in(buffers.take(needed), buffers)
    }

    fn room(&mut self) -> usize {
        let buffer = self.deframer.buffer_mut();
        buffer.capacity() - buffer.len()
    }

    /// Goes on in another buffer, if there is one.
    fn go_on_in(&mut self, fresh: Option<BytesMut>, buffers: &mut Buffers) -> bool {
        let Some(fresh) = fresh else { return false };
        let capacity = fresh.capacity();
        let old = self.deframer.swap_buffer(fresh);
        buffers.retire(old, self.capacity);
        self.capacity = capacity;
        true
    }
}

#[cfg(test)]
mod tests {
    use ringseal_wire::{Command, Frame, Header};

    use super::*;

    #[test]
    fn a_buffer_starts_over_where_it_is_once_its_frames_are_gone() {
        let frame = Frame::new(Header::new(Command::PREPARE), vec![1; 100].into()).expect("small");
        let mut buffers = Buffers::new(u64::MAX);
        let mut reader = Reader::new(1 << 20, &[]);
        assert!(reader.make_room(&mut buffers));
        let start = reader.deframer.buffer_mut().as_ptr();
        for started in [0, 300] {
            reader.deframer.feed(&frame.to_bytes());
            let kept = reader.next_frame().expect("a good size").expect("a whole frame").to_frame();
            reader.deframer.feed(&frame.to_bytes()[..started]);
            assert_eq!(reader.next_frame(), Ok(None));

            assert!(reader.make_room(&mut buffers));
            assert_eq!(reader.deframer.buffer_mut().as_ptr(), start.wrapping_add(356));
            drop(kept);
            assert!(reader.make_room(&mut buffers));
            assert_eq!(
                (reader.deframer.buffer_mut().as_ptr(), reader.room()),
                (start, BUFFER - started)
            );
        }
        reader.deframer.feed(&frame.to_bytes()[300..]);
        let whole = reader.next_frame().expect("a good size").expect("a whole frame");
        assert_eq!(whole.to_frame(), frame);
    }

    #[test]
    fn a_budget_too_small_for_a_large_buffer_still_gives_the_usual_one() {
        let mut buffers = Buffers::new((LARGE_BUFFER + BUFFER) as u64);
        let frame = Frame::new(Header::new(Command::PREPARE), vec![1; 100].into()).expect("small");
        let mut held = buffers.take(BUFFER).expect("within the budget");
        held.extend_from_slice(&frame.to_bytes());
        let _frame = held.split();
        buffers.retire(held, BUFFER + 1);

        let mut reader = Reader::new(1 << 20, &frame.to_bytes()[..300]);
        reader.wanted = LARGE_BUFFER;
        for _ in 0..3 {
            assert!(reader.make_room(&mut buffers));
            assert_eq!(reader.capacity, BUFFER);
            let room = reader.deframer.buffer_mut().capacity() - reader.deframer.buffered();
            assert!(room >= LEAST_READ);
            // As if it had been filled and its frames were gone.
            let _ = reader.deframer.buffer_mut().split();
            let tail = reader.deframer.buffer_mut().capacity();
            reader.deframer.buffer_mut().resize(tail, 0);
            let _ = reader.deframer.buffer_mut().split();
        }
    }
}
