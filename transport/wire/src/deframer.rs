//! Received bytes in, frames out.

use std::fmt;
use std::mem;

use bytes::{Bytes, BytesMut};

use crate::header::announced_size;
use crate::{FrameView, HEADER_LEN, SizeError};

/// The largest frame accepted unless configured otherwise, in bytes: 64 MiB, header included.
pub const DEFAULT_MAX_FRAME: u32 = 64 << 20;

// Sizes are 32 bits on the wire; as indices they must not lose any.
const _: () = assert!(usize::BITS >= u32::BITS);

/// Cuts a stream of received bytes into frames, without copying and within a bound.
///
/// A driver reads into [`buffer_mut`](Self::buffer_mut) and then takes frames until there are no more.
/// Frames are lent where they lie in that buffer: one that is only looked at costs nothing, and one that
/// is [kept](FrameView::to_frame) a reference count. The first frame of a buffer makes `BytesMut` allocate
/// that count, once per buffer.
///
/// The deframer itself never reserves memory, whatever a peer announces. The driver decides where the
/// rest of a frame goes: [`missing`](Self::missing) says how many bytes that is, and
/// [`swap_buffer`](Self::swap_buffer) continues the stream in another buffer, be it a fresh one from a
/// pool or one made for a single large frame.
///
/// ```
/// use bytes::Bytes;
/// use ringseal_wire::{Command, Deframer, Frame, FrameView, Header};
///
/// let frame = Frame::new(Header::new(Command::PING), Bytes::from_static(b"are you there"))?;
/// let stream = frame.to_bytes().repeat(2);
///
/// let mut deframer = Deframer::new(4096);
/// deframer.feed(&stream[..300]);
/// assert_eq!(deframer.next_frame()?.map(FrameView::to_frame).as_ref(), Some(&frame));
/// assert!(deframer.next_frame()?.is_none());
/// assert_eq!(deframer.buffered(), 31);
///
/// deframer.feed(&stream[300..]);
/// assert_eq!(deframer.next_frame()?.map(FrameView::to_frame), Some(frame));
/// assert!(deframer.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Deframer {
    /// Whole frames, found and frozen together, so that each can be lent without a count of its own.
    whole: Bytes,
    /// How many bytes of them have been taken.
    taken: usize,
    /// What has been received behind them.
    buf: BytesMut,
    max_frame: u32,
}

impl Deframer {
    /// A deframer that refuses frames of more than `max_frame` bytes, header included. It allocates
    /// nothing.
    ///
    /// Every frame has a header, so a maximum below [`HEADER_LEN`] refuses all of them.
    #[must_use]
    pub fn new(max_frame: u32) -> Self {
        Self { whole: Bytes::new(), taken: 0, buf: BytesMut::new(), max_frame }
    }

    /// The buffer, for a driver to append what it has received, straight into its spare capacity.
    ///
    /// Bytes already in it are the beginning of the next frame and must stay.
    #[inline]
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buf
    }

    /// Appends received bytes by copying them, for those who do not read into
    /// [`buffer_mut`](Self::buffer_mut).
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Takes the next frame out of the buffer, or `None` if it is not all there yet.
    ///
    /// # Errors
    ///
    /// [`SizeError`] if the next frame's `size` is below 256 or above the maximum, as soon as the first
    /// 52 bytes of its header are there. There is no way to find the frame after it, so every further
    /// call returns the same error.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<FrameView<'_>>, SizeError> {
        if self.taken == self.whole.len() {
            self.freeze_whole()?;
        }
        let rest = &self.whole[self.taken..];
        let Some(len) = announced_size(rest) else { return Ok(None) };
        let frame = &rest[..len as usize];
        self.taken += frame.len();
        Ok(Some(FrameView::new(frame, &self.whole)))
    }

    /// How many bytes the frame under way still lacks: of its header while that is incomplete, then of
    /// its body, and zero once [`next_frame`](Self::next_frame) has a frame to give.
    ///
    /// A driver that reads no more than this never takes a byte that belongs to the frame after.
    ///
    /// # Errors
    ///
    /// [`SizeError`] under the same condition as for [`next_frame`](Self::next_frame).
    pub fn missing(&self) -> Result<usize, SizeError> {
        if self.taken < self.whole.len() {
            return Ok(0);
        }
        let wanted = match self.frame_len(&self.buf)? {
            Some(len) if self.buf.len() >= HEADER_LEN => len,
            _ => HEADER_LEN,
        };
        Ok(wanted.saturating_sub(self.buf.len()))
    }

    /// Continues the stream in `fresh`: copies the bytes of the unfinished frame there and returns the
    /// old buffer, emptied. Whole frames stay to be taken.
    ///
    /// Once the last frame cut from the old buffer is gone, [`BytesMut::try_reclaim`] gives back its full
    /// capacity. `fresh` should have room for [`buffered`](Self::buffered) bytes, or it has to grow.
    ///
    /// # Panics
    ///
    /// If `fresh` is not empty: its bytes would end up in the middle of the stream.
    #[must_use = "the old buffer can be used again"]
    pub fn swap_buffer(&mut self, mut fresh: BytesMut) -> BytesMut {
        assert!(fresh.is_empty(), "a fresh buffer holds no bytes");
        self.let_go();
        fresh.extend_from_slice(&self.buf);
        let mut old = mem::replace(&mut self.buf, fresh);
        old.clear();
        old
    }

    /// How many received bytes are not yet part of a frame that was taken.
    #[inline]
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.whole.len() - self.taken + self.buf.len()
    }

    /// Whether every received byte has been taken as part of a frame: the only moment at which a stream
    /// may end.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffered() == 0
    }

    /// The length of the frame that begins here, if its `size` field is there; always at least
    /// [`HEADER_LEN`].
    #[inline]
    fn frame_len(&self, received: &[u8]) -> Result<Option<usize>, SizeError> {
        match announced_size(received) {
            None => Ok(None),
            Some(size) if (HEADER_LEN as u32..=self.max_frame).contains(&size) => {
                Ok(Some(size as usize))
            }
            Some(size) => Err(SizeError { size, max: self.max_frame }),
        }
    }

    /// Moves all whole frames from the front of the buffer to `whole`, of which all have been taken. A bad
    /// size is an error once there are none before it.
    fn freeze_whole(&mut self) -> Result<(), SizeError> {
        self.let_go();
        let mut rest = &self.buf[..];
        loop {
            match self.frame_len(rest) {
                Ok(Some(len)) if len <= rest.len() => rest = &rest[len..],
                Err(error) if rest.len() == self.buf.len() => return Err(error),
                _ => break,
            }
        }
        let whole = self.buf.len() - rest.len();
        if whole > 0 {
            self.whole = self.buf.split_to(whole).freeze();
        }
        Ok(())
    }

    /// Lets go of the frames that were frozen last, if all have been taken.
    fn let_go(&mut self) {
        if self.taken == self.whole.len() {
            (self.whole, self.taken) = (Bytes::new(), 0);
        }
    }
}

/// Says how much is buffered, never what.
impl fmt::Debug for Deframer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deframer")
            .field("buffered", &self.buffered())
            .field("max_frame", &self.max_frame)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Frame, Header};

    fn frame(body_len: usize) -> Frame {
        Frame::new(Header::new(Command::PREPARE), vec![0xb0; body_len].into()).expect("small")
    }

    fn next(deframer: &mut Deframer) -> Result<Option<Frame>, SizeError> {
        Ok(deframer.next_frame()?.map(FrameView::to_frame))
    }

    fn header_of_size(size: u32) -> Header {
        let mut header = Header::new(Command::PREPARE);
        header.set_size(size);
        header
    }

    #[test]
    fn a_frame_comes_out_when_its_last_byte_is_in() {
        for frame in [frame(0), frame(1), frame(300)] {
            let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
            for byte in frame.to_bytes() {
                assert_eq!(next(&mut deframer), Ok(None));
                deframer.feed(&[byte]);
            }
            assert_eq!(next(&mut deframer), Ok(Some(frame)));
            assert_eq!(next(&mut deframer), Ok(None));
            assert!(deframer.is_empty());
        }
    }

    #[test]
    fn missing_counts_down_the_header_and_then_the_body() {
        let bytes = frame(300).to_bytes();
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        for (fed, byte) in bytes.iter().enumerate() {
            let end = if fed < HEADER_LEN { HEADER_LEN } else { bytes.len() };
            assert_eq!(deframer.missing(), Ok(end - fed));
            deframer.feed(&[*byte]);
        }
        assert_eq!(deframer.missing(), Ok(0));
        deframer.feed(&bytes);
        assert_eq!(deframer.missing(), Ok(0), "the frame after is no part of the count");
    }

    #[test]
    fn sizes_from_256_to_the_maximum_are_accepted() {
        let max = 1000;
        for size in [256, 257, 999, 1000] {
            let mut deframer = Deframer::new(max);
            deframer.feed(header_of_size(size).as_bytes());
            assert_eq!(deframer.missing(), Ok(size as usize - HEADER_LEN));
        }
        for size in [0, 1, 255, 1001, u32::MAX] {
            let mut deframer = Deframer::new(max);
            deframer.feed(&header_of_size(size).as_bytes()[..52]);
            assert_eq!(deframer.missing(), Err(SizeError { size, max }));
            assert_eq!(next(&mut deframer), Err(SizeError { size, max }));
        }
    }

    #[test]
    fn an_error_lasts() {
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        deframer.feed(&frame(0).to_bytes());
        deframer.feed(header_of_size(17).as_bytes());
        assert_eq!(next(&mut deframer), Ok(Some(frame(0))), "what came before is still good");

        let error = SizeError { size: 17, max: DEFAULT_MAX_FRAME };
        assert_eq!(next(&mut deframer), Err(error));
        deframer.feed(&frame(0).to_bytes());
        assert_eq!(next(&mut deframer), Err(error));
        let _old = deframer.swap_buffer(BytesMut::new());
        assert_eq!(next(&mut deframer), Err(error));
    }

    #[test]
    fn nothing_is_reserved_for_a_frame_that_is_only_announced() {
        let mut deframer = Deframer::new(u32::MAX);
        assert_eq!(deframer.buffer_mut().capacity(), 0);
        *deframer.buffer_mut() = BytesMut::with_capacity(HEADER_LEN);
        deframer.feed(header_of_size(u32::MAX).as_bytes());
        assert_eq!(next(&mut deframer), Ok(None));
        assert_eq!(deframer.missing(), Ok(u32::MAX as usize - HEADER_LEN));
        assert_eq!(deframer.buffer_mut().capacity(), HEADER_LEN);
    }

    #[test]
    fn frames_are_slices_of_the_receive_buffer() {
        let stream = [frame(0), frame(100), frame(0), frame(5000)].map(|f| f.to_bytes()).concat();
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        deframer.feed(&stream);
        let received = deframer.buffer_mut().as_ptr_range();

        let mut next = received.start;
        while let Some(frame) = deframer.next_frame().expect("sizes are right") {
            let lies = frame.as_bytes().as_ptr_range();
            assert_eq!(lies.start, next);
            assert_eq!(frame.body().as_ptr_range().end, lies.end);
            assert_eq!(frame.onward().as_ptr_range(), lies.start..received.end);
            let kept = frame.to_frame();
            assert_eq!(kept.slices().map(<[u8]>::as_ptr_range)[0], lies);
            assert_eq!(kept.body().as_ptr_range(), frame.body().as_ptr_range());
            next = lies.end;
        }
        assert_eq!(next, received.end);
    }

    #[test]
    fn a_swapped_out_buffer_can_be_reclaimed_once_its_frames_are_gone() {
        const CAPACITY: usize = 4096;
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        *deframer.buffer_mut() = BytesMut::with_capacity(CAPACITY);
        deframer.feed(&frame(1000).to_bytes());
        deframer.feed(&frame(1000).to_bytes()[..50]);
        let held = next(&mut deframer).expect("size is right").expect("a whole frame");

        let mut old = deframer.swap_buffer(BytesMut::with_capacity(CAPACITY));
        assert_eq!(deframer.buffered(), 50);
        assert!(old.is_empty());
        assert!(!old.try_reclaim(CAPACITY), "a frame still holds it");

        let detached = held.detach();
        drop(held);
        assert!(old.try_reclaim(CAPACITY));
        assert_eq!(detached, frame(1000));

        deframer.feed(&frame(1000).to_bytes()[50..]);
        assert_eq!(next(&mut deframer), Ok(Some(frame(1000))));
    }

    #[test]
    #[should_panic(expected = "a fresh buffer holds no bytes")]
    fn a_fresh_buffer_must_be_empty() {
        let _old = Deframer::new(DEFAULT_MAX_FRAME).swap_buffer(BytesMut::from(&b"x"[..]));
    }

    #[test]
    fn debug_shows_no_bytes() {
        let mut deframer = Deframer::new(1024);
        deframer.feed(b"a secret");
        assert_eq!(format!("{deframer:?}"), "Deframer { buffered: 8, max_frame: 1024 }");
    }
}
