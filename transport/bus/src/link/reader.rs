//! From a link's socket to whole frames.

use std::io;
use std::task::{Context, Poll, ready};

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
        let mut buffer = bytes::BytesMut::zeroed(early.len());
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
        let buffer = self.deframer.buffer_mut();
        let room = buffer.capacity() - buffer.len();
        let count = ready!(stream.poll_fill(cx, buffer))?;
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

    /// Gives the buffer back if nothing has been read since the last call, nor is under way.
    pub(super) fn rest(&mut self, buffers: &mut Buffers) {
        if self.idle && self.deframer.is_empty() {
            self.close(buffers);
        }
        self.idle = true;
    }

    /// Gives the buffer back, and what is in it.
    pub(super) fn close(&mut self, buffers: &mut Buffers) {
        let old = self.deframer.swap_buffer(bytes::BytesMut::new());
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
        let wanted = needed.max(self.wanted);
        let buffer = self.deframer.buffer_mut();
        let room = buffer.capacity() - buffer.len();
        // A huge frame's own buffer ends with the frame, so its last read may be a small one.
        let enough = if self.capacity > LARGE_BUFFER { missing } else { missing.max(LEAST_READ) };
        if room >= enough {
            return true;
        }
        for size in [wanted, needed] {
            // If nobody holds a frame of this buffer any more, it starts over where it is.
            if self.capacity == size && self.deframer.buffer_mut().try_reclaim(size - started) {
                return true;
            }
            // A large buffer is a comfort, for which the budget has to have room beside this one.
            if size > needed && !buffers.has_room(self.capacity + size) {
                continue;
            }
            if let Some(fresh) = buffers.take(size) {
                let capacity = fresh.capacity();
                let old = self.deframer.swap_buffer(fresh);
                buffers.retire(old, self.capacity);
                self.capacity = capacity;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use ringseal_wire::{Command, Frame, Header};

    use super::*;

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
