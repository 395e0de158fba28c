//! A whole frame, held as two reference-counted slices.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::{Command, FrameTooLarge, HEADER_LEN, Header, HeaderView};

/// A frame: its header and its body.
///
/// `header.size` is always 256 plus the body's length. A clone costs two reference counts and shares
/// the bytes.
///
/// A received frame is a pair of slices of the buffer it was read into, which stays alive as long as
/// any frame from it does. Whoever keeps a small frame for long should keep [`Frame::detach`] of it.
///
/// ```
/// use bytes::Bytes;
/// use ringseal_wire::{Command, Frame, Header};
///
/// let frame = Frame::new(Header::new(Command::COMMIT), Bytes::from_static(b"up to 9"))?;
/// assert_eq!(frame.wire_len(), 256 + 7);
/// assert_eq!(frame.header().size(), 256 + 7);
/// # Ok::<(), ringseal_wire::FrameTooLarge>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    header: Bytes,
    body: Bytes,
}

impl Frame {
    /// Joins a header and a body, with the header's `size` set to fit. The body is not copied.
    ///
    /// # Errors
    ///
    /// [`FrameTooLarge`] if header and body together exceed `u32::MAX` bytes.
    pub fn new(mut header: Header, body: Bytes) -> Result<Self, FrameTooLarge> {
        header.set_size(frame_size(body.len())?);
        Ok(Self::from_parts(Bytes::copy_from_slice(header.as_bytes()), body))
    }

    /// Joins the two slices of a frame that is already consistent.
    #[inline]
    pub(crate) fn from_parts(header: Bytes, body: Bytes) -> Self {
        let frame = Self { header, body };
        debug_assert_eq!(frame.header.len(), HEADER_LEN);
        debug_assert_eq!(frame.header().size() as usize, frame.wire_len());
        frame
    }

    /// The header, read in place.
    #[inline]
    #[must_use]
    pub fn header(&self) -> HeaderView<'_> {
        HeaderView::from_slice(&self.header).expect("a frame's header is 256 bytes")
    }

    /// What the frame asks for.
    #[inline]
    #[must_use]
    pub fn command(&self) -> Command {
        self.header().command()
    }

    /// The body; empty for a header-only frame.
    #[inline]
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body, with the header let go.
    #[inline]
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The header's 256 bytes, for a writer to send.
    #[inline]
    #[must_use]
    pub fn header_bytes(&self) -> &Bytes {
        &self.header
    }

    /// Bytes that the frame takes on the wire: 256 plus the body.
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// Copies the frame out of the buffer it was received in, which it then no longer keeps alive.
    ///
    /// Header and body move into one allocation of exactly [`wire_len`](Self::wire_len) bytes. With a
    /// body there is a second, tiny one: the count by which the two slices share the first.
    #[must_use]
    pub fn detach(&self) -> Self {
        if self.body.is_empty() {
            return Self::from_parts(Bytes::copy_from_slice(&self.header), Bytes::new());
        }
        let mut copy = BytesMut::with_capacity(self.wire_len());
        copy.extend_from_slice(&self.header);
        copy.extend_from_slice(&self.body);
        let header = copy.split_to(HEADER_LEN).freeze();
        Self::from_parts(header, copy.freeze())
    }

    /// The frame as it appears on the wire, copied into one vector. Meant for tests and tools: a writer
    /// sends [`header_bytes`](Self::header_bytes) and [`body`](Self::body) without copying them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.header.as_ref(), self.body.as_ref()].concat()
    }
}

/// Says what the frame is, never what it carries.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header();
        f.debug_struct("Frame")
            .field("command", &header.command())
            .field("replica", &header.replica().get())
            .field("size", &header.size())
            .finish_non_exhaustive()
    }
}

fn frame_size(body_len: usize) -> Result<u32, FrameTooLarge> {
    body_len
        .checked_add(HEADER_LEN)
        .and_then(|size| u32::try_from(size).ok())
        .ok_or(FrameTooLarge { body_len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicaId;

    fn prepare(body: &'static [u8]) -> Frame {
        let mut header = Header::new(Command::PREPARE);
        header.set_replica(ReplicaId::new(2));
        Frame::new(header, Bytes::from_static(body)).expect("a small body")
    }

    #[test]
    fn new_sets_the_size_and_keeps_the_body_where_it_is() {
        let body = Bytes::from(vec![7; 1000]);
        let mut header = Header::new(Command::REPLY);
        header.set_size(3);
        let frame = Frame::new(header, body.clone()).expect("a small body");
        assert_eq!(frame.header().size(), 1256);
        assert_eq!(frame.wire_len(), 1256);
        assert_eq!(frame.command(), Command::REPLY);
        assert_eq!(frame.body().as_ptr(), body.as_ptr());
        assert_eq!(frame.into_body(), body);
    }

    #[test]
    fn the_size_must_fit_32_bits() {
        let largest = u32::MAX as usize - HEADER_LEN;
        assert_eq!(frame_size(0), Ok(256));
        assert_eq!(frame_size(largest), Ok(u32::MAX));
        for body_len in [largest + 1, usize::MAX] {
            assert_eq!(frame_size(body_len), Err(FrameTooLarge { body_len }));
        }
    }

    #[test]
    fn to_bytes_is_header_then_body() {
        let frame = prepare(b"body");
        let bytes = frame.to_bytes();
        assert_eq!(bytes[..HEADER_LEN], frame.header_bytes()[..]);
        assert_eq!(&bytes[HEADER_LEN..], b"body");
    }

    #[test]
    fn a_detached_frame_is_equal_and_elsewhere() {
        for frame in [prepare(b""), prepare(b"some body")] {
            let detached = frame.detach();
            assert_eq!(detached, frame);
            assert_ne!(detached.header_bytes().as_ptr(), frame.header_bytes().as_ptr());
            if !frame.body().is_empty() {
                assert_ne!(detached.body().as_ptr(), frame.body().as_ptr());
            }
        }
    }

    #[test]
    fn frames_are_compared_by_content() {
        assert_eq!(prepare(b"a"), prepare(b"a"));
        assert_ne!(prepare(b"a"), prepare(b"b"));
        assert_ne!(prepare(b"a"), prepare(b""));
    }

    #[test]
    fn debug_shows_no_body() {
        assert_eq!(
            format!("{:?}", prepare(b"a secret")),
            "Frame { command: Prepare, replica: 2, size: 264, .. }"
        );
    }
}
