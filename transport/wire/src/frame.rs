//! A whole frame: held as reference-counted slices, or looked at where it was received.

use std::fmt;

use bytes::Bytes;

use crate::{Command, FrameTooLarge, HEADER_LEN, Header, HeaderView};

/// A frame: its header and its body.
///
/// `header.size` is always 256 plus the body's length. A clone shares the bytes and costs a reference
/// count for each slice that they lie in.
///
/// A frame that was [received](FrameView::to_frame) is one slice of the buffer it was read into, which
/// stays alive as long as any frame from it does. Whoever keeps a small frame for long should keep
/// [`FrameView::detach`] of it. A frame that was [put together](Frame::new) is two slices, so that its body
/// stays where it is.
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
#[derive(Clone)]
pub struct Frame {
    /// The header, and the body too if that lies right behind it.
    front: Bytes,
    /// The body if it lies elsewhere; never empty.
    back: Option<Bytes>,
}

impl Frame {
    /// Joins a header and a body, with the header's `size` set to fit. The body is not copied.
    ///
    /// # Errors
    ///
    /// [`FrameTooLarge`] if header and body together exceed `u32::MAX` bytes.
    pub fn new(mut header: Header, body: Bytes) -> Result<Self, FrameTooLarge> {
        header.set_size(frame_size(body.len())?);
        let front = Bytes::copy_from_slice(header.as_bytes());
        let back = (!body.is_empty()).then_some(body);
        Ok(Self { front, back })
    }

    /// The frame that these bytes are, as is known already.
    #[inline]
    pub(crate) fn from_wire(bytes: Bytes) -> Self {
        let frame = Self { front: bytes, back: None };
        debug_assert_eq!(frame.header().size() as usize, frame.wire_len());
        frame
    }

    /// The header, read in place.
    #[inline]
    #[must_use]
    pub fn header(&self) -> HeaderView<'_> {
        HeaderView::from_slice(&self.front).expect("a frame begins with 256 bytes of header")
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
    pub fn body(&self) -> &[u8] {
        match &self.back {
            Some(body) => body,
            None => &self.front[HEADER_LEN..],
        }
    }

    /// The body, with the header let go. It is not copied: that of a received frame is still a slice of
    /// the receive buffer.
    #[inline]
    #[must_use]
    pub fn into_body(mut self) -> Bytes {
        self.back.unwrap_or_else(|| self.front.split_off(HEADER_LEN))
    }

    /// The frame's bytes in the order of the wire, for a writer to send: the slices that they lie in, of
    /// which the second is empty if there is but one.
    #[inline]
    #[must_use]
    pub fn slices(&self) -> [&[u8]; 2] {
        [&self.front, self.back.as_deref().unwrap_or_default()]
    }

    /// Bytes that the frame takes on the wire: 256 plus the body.
    #[inline]
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.front.len() + self.back.as_ref().map_or(0, Bytes::len)
    }

    /// A copy in one allocation of exactly [`wire_len`](Self::wire_len) bytes, which keeps nothing else
    /// alive.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::from_wire(self.to_bytes().into())
    }

    /// The frame as it appears on the wire, copied into one vector. A writer sends
    /// [`slices`](Self::slices) without copying them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.slices().concat()
    }
}

/// A received frame, where it lies in the receive buffer. Looking at it costs nothing.
///
/// It is lent for a moment. [`to_frame`](Self::to_frame) keeps it without a copy and
/// [`detach`](Self::detach) with one.
///
/// ```
/// use bytes::Bytes;
/// use ringseal_wire::{Command, Deframer, Frame, Header};
///
/// let sent = Frame::new(Header::new(Command::COMMIT), Bytes::from_static(b"up to 9"))?;
/// let mut deframer = Deframer::new(4096);
/// deframer.feed(&sent.to_bytes());
///
/// let received = deframer.next_frame()?.expect("a whole frame was fed");
/// assert_eq!(received.command(), Command::COMMIT);
/// assert_eq!(received.body(), b"up to 9");
/// assert_eq!(received.to_frame(), sent);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    /// The whole frame.
    bytes: &'a [u8],
    /// What it is a part of: whole frames.
    received: &'a Bytes,
}

impl<'a> FrameView<'a> {
    /// Looks at `bytes`, a whole frame that is a part of `received`.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], received: &'a Bytes) -> Self {
        debug_assert_eq!(
            HeaderView::from_slice(bytes).map(|it| it.size() as usize),
            Some(bytes.len())
        );
        Self { bytes, received }
    }

    /// The header, read in place.
    #[inline]
    #[must_use]
    pub fn header(self) -> HeaderView<'a> {
        HeaderView::from_slice(self.bytes).expect("a frame begins with 256 bytes of header")
    }

    /// What the frame asks for.
    #[inline]
    #[must_use]
    pub fn command(self) -> Command {
        self.header().command()
    }

    /// The body; empty for a header-only frame.
    #[inline]
    #[must_use]
    pub fn body(self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The whole frame as it appears on the wire.
    #[inline]
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes that the frame takes on the wire: 256 plus the body.
    #[inline]
    #[must_use]
    pub fn wire_len(self) -> usize {
        self.bytes.len()
    }

    /// Keeps the frame: a slice of the receive buffer, which stays alive as long as this does. It costs a
    /// reference count, no allocation and no copy.
    #[inline]
    #[must_use]
    pub fn to_frame(self) -> Frame {
        Frame::from_wire(self.received.slice_ref(self.bytes))
    }

    /// Keeps a copy of the frame, in one allocation of exactly [`wire_len`](Self::wire_len) bytes.
    #[must_use]
    pub fn detach(self) -> Frame {
        Frame::from_wire(Bytes::copy_from_slice(self.bytes))
    }

    /// The frame and all whole frames that were received behind it, as one slice of the receive buffer: for
    /// a writer that may pass on more of them than this one.
    #[must_use]
    pub fn onward(self) -> Bytes {
        let start = self.bytes.as_ptr().addr() - self.received.as_ptr().addr();
        self.received.slice(start..)
    }
}

/// Frames are equal if their bytes are, wherever those lie.
impl PartialEq for FrameView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for FrameView<'_> {}

/// Says what the frame is, never what it carries.
impl fmt::Debug for FrameView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("FrameView", self.header(), f)
    }
}

/// Frames are equal if their bytes are, wherever those lie.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.header() == other.header() && self.body() == other.body()
    }
}

impl Eq for Frame {}

/// Says what the frame is, never what it carries.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe("Frame", self.header(), f)
    }
}

fn describe(name: &str, header: HeaderView<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(name)
        .field("command", &header.command())
        .field("replica", &header.replica().get())
        .field("size", &header.size())
        .finish_non_exhaustive()
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
        assert_eq!(bytes[..HEADER_LEN], frame.header().as_bytes()[..]);
        assert_eq!(&bytes[HEADER_LEN..], b"body");
    }

    #[test]
    fn a_detached_frame_is_equal_and_elsewhere() {
        for frame in [prepare(b""), prepare(b"some body")] {
            let detached = frame.detach();
            assert_eq!(detached, frame);
            assert_eq!(detached.slices()[0].len(), frame.wire_len(), "in one piece");
            let ours = frame.slices().map(<[u8]>::as_ptr_range);
            assert!(ours.iter().all(|range| !range.contains(&detached.slices()[0].as_ptr())));
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
        let received = Bytes::from(prepare(b"a secret").to_bytes());
        assert_eq!(
            format!("{:?}", FrameView::new(&received, &received)),
            "FrameView { command: Prepare, replica: 2, size: 264, .. }"
        );
        assert_eq!(
            format!("{:?}", prepare(b"a secret")),
            "Frame { command: Prepare, replica: 2, size: 264, .. }"
        );
    }
}
