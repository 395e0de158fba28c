//! The 256-byte header: read in place, or owned and changed.

use std::fmt;

use crate::{ClusterId, Command, ReplicaId};

/// Length of a frame's header in bytes.
pub const HEADER_LEN: usize = 256;

/// A header read in place: 256 borrowed bytes at any alignment.
///
/// Frames lie back to back in a receive buffer, so a header can start at any address; every getter
/// assembles its little-endian integer from bytes. The view is one pointer wide, and what it lends
/// lives as long as the bytes behind it. Any 256 bytes are a header: whether `size` is acceptable is for
/// the [`Deframer`](crate::Deframer) to say.
///
/// | bytes | field | meaning |
/// |---|---|---|
/// | 0..16 | `checksum` | the embedder's |
/// | 16..32 | `checksum_body` | the embedder's |
/// | 32..48 | `cluster` | must match ours in a handshake |
/// | 48..52 | `size` | whole frame: header and body |
/// | 52..56 | `view` | the embedder's |
/// | 56..60 | `release` | the embedder's |
/// | 60 | `command` | what the frame asks for |
/// | 61 | `replica` | its author |
/// | 62..128 | `reserved_frame` | carried unchanged |
/// | 128..256 | `reserved_command` | per command; the handshake lives here |
///
/// ```
/// use ringseal_wire::{Command, Header, HeaderView};
///
/// let received = [&[0xff], Header::new(Command::PING).as_bytes().as_slice()].concat();
/// let header = HeaderView::from_slice(&received[1..]).expect("256 bytes");
/// assert_eq!(header.command(), Command::PING);
/// assert_eq!(header.size(), 256);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderView<'a>(&'a [u8; HEADER_LEN]);

impl<'a> HeaderView<'a> {
    /// Views these bytes as a header.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8; HEADER_LEN]) -> Self {
        Self(bytes)
    }

    /// Views the first 256 bytes as a header, or returns `None` if there are fewer.
    #[inline]
    #[must_use]
    pub fn from_slice(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The embedder's checksum of the header.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u128 {
        u128::from_le_bytes(*layout::CHECKSUM.of(self.0))
    }

    /// The embedder's checksum of the body.
    #[inline]
    #[must_use]
    pub fn checksum_body(self) -> u128 {
        u128::from_le_bytes(*layout::CHECKSUM_BODY.of(self.0))
    }

    /// The cluster that the frame belongs to.
    #[inline]
    #[must_use]
    pub fn cluster(self) -> ClusterId {
        ClusterId::new(u128::from_le_bytes(*layout::CLUSTER.of(self.0)))
    }

    /// Bytes in the whole frame, header and body, as its sender announced it.
    #[inline]
    #[must_use]
    pub fn size(self) -> u32 {
        u32::from_le_bytes(*layout::SIZE.of(self.0))
    }

    /// The embedder's view number.
    #[inline]
    #[must_use]
    pub fn view(self) -> u32 {
        u32::from_le_bytes(*layout::VIEW.of(self.0))
    }

    /// The embedder's release number.
    #[inline]
    #[must_use]
    pub fn release(self) -> u32 {
        u32::from_le_bytes(*layout::RELEASE.of(self.0))
    }

    /// What the frame asks for.
    #[inline]
    #[must_use]
    pub fn command(self) -> Command {
        let [number] = *layout::COMMAND.of(self.0);
        Command::new(number)
    }

    /// The frame's author: in a handshake the sender, afterwards whoever the embedder says, who need
    /// not be the peer that carried it here.
    #[inline]
    #[must_use]
    pub fn replica(self) -> ReplicaId {
        let [id] = *layout::REPLICA.of(self.0);
        ReplicaId::new(id)
    }

    /// Bytes kept for the frame format: zero in a handshake, afterwards carried unchanged.
    #[inline]
    #[must_use]
    pub fn reserved_frame(self) -> &'a [u8; 66] {
        layout::RESERVED_FRAME.of(self.0)
    }

    /// Bytes whose meaning depends on the command.
    #[inline]
    #[must_use]
    pub fn reserved_command(self) -> &'a [u8; 128] {
        layout::RESERVED_COMMAND.of(self.0)
    }

    /// All 256 bytes.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8; HEADER_LEN] {
        self.0
    }

    /// Copies the header out of the buffer it lies in.
    #[inline]
    #[must_use]
    pub const fn to_owned(self) -> Header {
        Header(*self.0)
    }
}

/// Shows the fields the bus itself reads. The reserved regions stay out: a handshake's nonces and MACs
/// have no place in a log.
impl fmt::Debug for HeaderView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("command", &self.command())
            .field("replica", &self.replica().get())
            .field("cluster", &self.cluster())
            .field("size", &self.size())
            .field("view", &self.view())
            .field("release", &self.release())
            .finish_non_exhaustive()
    }
}

/// An owned header, to be filled in and sent.
///
/// It starts as zeros with `size` = 256 and a command. Setters can be chained. [`Frame::new`] sets
/// `size` to fit the body, so only code that writes header-only frames by itself sees that field.
///
/// ```
/// use ringseal_wire::{ClusterId, Command, Header, ReplicaId};
///
/// let mut hello = Header::new(Command::REPLICA_HELLO);
/// hello.set_cluster(ClusterId::new(42)).set_replica(ReplicaId::new(3));
/// hello.reserved_command_mut()[..32].copy_from_slice(&[0x11; 32]);
///
/// assert_eq!(hello.size(), 256);
/// assert_eq!(hello.as_bytes()[60..62], [14, 3]);
/// ```
///
/// [`Frame::new`]: crate::Frame::new
#[derive(Clone, PartialEq, Eq)]
pub struct Header([u8; HEADER_LEN]);

impl Header {
    /// A header of zeros but for its command and a `size` of 256, as a frame without a body has it.
    #[must_use]
    pub fn new(command: Command) -> Self {
        let mut header = Self([0; HEADER_LEN]);
        header.set_command(command).set_size(HEADER_LEN as u32);
        header
    }

    /// Takes these bytes as a header, whatever they say.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        Self(bytes)
    }

    /// The header as a view.
    #[inline]
    #[must_use]
    pub const fn as_view(&self) -> HeaderView<'_> {
        HeaderView(&self.0)
    }

    /// Sets the embedder's checksum of the header.
    pub fn set_checksum(&mut self, checksum: u128) -> &mut Self {
        *layout::CHECKSUM.of_mut(&mut self.0) = checksum.to_le_bytes();
        self
    }

    /// Sets the embedder's checksum of the body.
    pub fn set_checksum_body(&mut self, checksum: u128) -> &mut Self {
        *layout::CHECKSUM_BODY.of_mut(&mut self.0) = checksum.to_le_bytes();
        self
    }

    /// Sets the cluster that the frame belongs to.
    pub fn set_cluster(&mut self, cluster: ClusterId) -> &mut Self {
        *layout::CLUSTER.of_mut(&mut self.0) = cluster.get().to_le_bytes();
        self
    }

    /// Sets the number of bytes in the whole frame, header and body.
    pub fn set_size(&mut self, size: u32) -> &mut Self {
        *layout::SIZE.of_mut(&mut self.0) = size.to_le_bytes();
        self
    }

    /// Sets the embedder's view number.
    pub fn set_view(&mut self, view: u32) -> &mut Self {
        *layout::VIEW.of_mut(&mut self.0) = view.to_le_bytes();
        self
    }

    /// Sets the embedder's release number.
    pub fn set_release(&mut self, release: u32) -> &mut Self {
        *layout::RELEASE.of_mut(&mut self.0) = release.to_le_bytes();
        self
    }

    /// Sets what the frame asks for.
    pub fn set_command(&mut self, command: Command) -> &mut Self {
        *layout::COMMAND.of_mut(&mut self.0) = [command.get()];
        self
    }

    /// Sets the frame's author.
    pub fn set_replica(&mut self, replica: ReplicaId) -> &mut Self {
        *layout::REPLICA.of_mut(&mut self.0) = [replica.get()];
        self
    }

    /// The bytes kept for the frame format, to be changed.
    pub fn reserved_frame_mut(&mut self) -> &mut [u8; 66] {
        layout::RESERVED_FRAME.of_mut(&mut self.0)
    }

    /// The bytes whose meaning depends on the command, to be changed.
    pub fn reserved_command_mut(&mut self) -> &mut [u8; 128] {
        layout::RESERVED_COMMAND.of_mut(&mut self.0)
    }
}

/// Gives the owned header the view's getters.
macro_rules! getters_of_the_view {
    ($($getter:ident -> $value:ty,)*) => {
        impl Header {
            $(
                #[doc = concat!("See [`HeaderView::", stringify!($getter), "`].")]
                #[inline]
                #[must_use]
                pub fn $getter(&self) -> $value {
                    self.as_view().$getter()
                }
            )*
        }
    };
}

getters_of_the_view! {
    checksum -> u128,
    checksum_body -> u128,
    cluster -> ClusterId,
    size -> u32,
    view -> u32,
    release -> u32,
    command -> Command,
    replica -> ReplicaId,
    reserved_frame -> &[u8; 66],
    reserved_command -> &[u8; 128],
    as_bytes -> &[u8; HEADER_LEN],
}

impl Default for Header {
    fn default() -> Self {
        Self::new(Command::RESERVED)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_view().fmt(f)
    }
}

/// The `size` field of a header that has only begun to arrive, as soon as its four bytes are there.
#[inline]
pub(crate) fn announced_size(received: &[u8]) -> Option<u32> {
    layout::SIZE.of_prefix(received).map(|bytes| u32::from_le_bytes(*bytes))
}

/// Where each field lies. A field's length is part of its type, so that no getter can read an integer
/// of another width.
mod layout {
    use super::HEADER_LEN;

    pub(super) const CHECKSUM: Field<16> = Field { start: 0 };
    pub(super) const CHECKSUM_BODY: Field<16> = Field { start: 16 };
    pub(super) const CLUSTER: Field<16> = Field { start: 32 };
    pub(super) const SIZE: Field<4> = Field { start: 48 };
    pub(super) const VIEW: Field<4> = Field { start: 52 };
    pub(super) const RELEASE: Field<4> = Field { start: 56 };
    pub(super) const COMMAND: Field<1> = Field { start: 60 };
    pub(super) const REPLICA: Field<1> = Field { start: 61 };
    pub(super) const RESERVED_FRAME: Field<66> = Field { start: 62 };
    pub(super) const RESERVED_COMMAND: Field<128> = Field { start: 128 };

    /// The fields tile the header: no gap, no overlap, nothing beyond the end.
    const _: () = {
        assert!(CHECKSUM.start == 0);
        assert!(CHECKSUM.end() == CHECKSUM_BODY.start);
        assert!(CHECKSUM_BODY.end() == CLUSTER.start);
        assert!(CLUSTER.end() == SIZE.start);
        assert!(SIZE.end() == VIEW.start);
        assert!(VIEW.end() == RELEASE.start);
        assert!(RELEASE.end() == COMMAND.start);
        assert!(COMMAND.end() == REPLICA.start);
        assert!(REPLICA.end() == RESERVED_FRAME.start);
        assert!(RESERVED_FRAME.end() == RESERVED_COMMAND.start);
        assert!(RESERVED_COMMAND.end() == HEADER_LEN);
    };

    /// `N` bytes at a fixed place in the header.
    #[derive(Clone, Copy)]
    pub(super) struct Field<const N: usize> {
        start: usize,
    }

    impl<const N: usize> Field<N> {
        const fn end(self) -> usize {
            self.start + N
        }

        #[inline]
        pub(super) fn of(self, header: &[u8; HEADER_LEN]) -> &[u8; N] {
            header[self.start..].first_chunk().expect("fields tile the header")
        }

        #[inline]
        pub(super) fn of_mut(self, header: &mut [u8; HEADER_LEN]) -> &mut [u8; N] {
            header[self.start..].first_chunk_mut().expect("fields tile the header")
        }

        /// The field in a header of which only the beginning is known, if that includes the field.
        #[inline]
        pub(super) fn of_prefix(self, prefix: &[u8]) -> Option<&[u8; N]> {
            prefix.get(self.start..)?.first_chunk()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose every byte is its own offset.
    fn counting() -> Header {
        Header::from_bytes(std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn every_field_is_read_at_its_offset_in_little_endian() {
        let header = counting();
        assert_eq!(header.checksum(), 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100);
        assert_eq!(header.checksum_body(), 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110);
        assert_eq!(header.cluster().get(), 0x2f2e_2d2c_2b2a_2928_2726_2524_2322_2120);
        assert_eq!(header.size(), 0x3332_3130);
        assert_eq!(header.view(), 0x3736_3534);
        assert_eq!(header.release(), 0x3b3a_3938);
        assert_eq!(header.command(), Command::new(60));
        assert_eq!(header.replica(), ReplicaId::new(61));
        assert_eq!(header.reserved_frame()[..], header.as_bytes()[62..128]);
        assert_eq!(header.reserved_command()[..], header.as_bytes()[128..]);
    }

    #[test]
    fn setters_write_what_getters_read() {
        let source = counting();
        let mut copy = Header::default();
        copy.set_checksum(source.checksum())
            .set_checksum_body(source.checksum_body())
            .set_cluster(source.cluster())
            .set_size(source.size())
            .set_view(source.view())
            .set_release(source.release())
            .set_command(source.command())
            .set_replica(source.replica());
        *copy.reserved_frame_mut() = *source.reserved_frame();
        *copy.reserved_command_mut() = *source.reserved_command();
        assert_eq!(copy.as_bytes(), source.as_bytes());
    }

    #[test]
    fn a_new_header_is_zero_but_for_command_and_size() {
        let header = Header::new(Command::PREPARE);
        let mut expected = [0; HEADER_LEN];
        expected[49] = 1;
        expected[60] = 6;
        assert_eq!(header.as_bytes(), &expected);
        assert_eq!(Header::default(), Header::new(Command::RESERVED));
    }

    #[test]
    fn a_view_reads_at_any_alignment() {
        let source = counting();
        let mut buffer = [0; HEADER_LEN + 16];
        for shift in 0..16 {
            buffer[shift..][..HEADER_LEN].copy_from_slice(source.as_bytes());
            let view = HeaderView::from_slice(&buffer[shift..]).expect("enough bytes");
            assert_eq!(view, source.as_view());
            assert_eq!(view.checksum(), source.checksum());
            assert_eq!(view.size(), source.size());
            assert_eq!(view.to_owned(), source);
        }
    }

    #[test]
    fn a_view_needs_256_bytes() {
        let bytes = [0; HEADER_LEN];
        assert!(HeaderView::from_slice(&bytes[1..]).is_none());
        assert_eq!(HeaderView::from_slice(&bytes), Some(HeaderView::new(&bytes)));
    }

    #[test]
    fn size_is_known_once_its_last_byte_has_arrived() {
        let header = counting();
        assert_eq!(announced_size(&[]), None);
        assert_eq!(announced_size(&header.as_bytes()[..51]), None);
        assert_eq!(announced_size(&header.as_bytes()[..52]), Some(header.size()));
        assert_eq!(announced_size(header.as_bytes()), Some(header.size()));
    }

    #[test]
    fn debug_shows_no_reserved_bytes() {
        let mut header = Header::new(Command::REPLICA_HELLO);
        header.set_replica(ReplicaId::new(3)).reserved_command_mut().fill(0xab);
        assert_eq!(
            format!("{header:?}"),
            "Header { command: ReplicaHello, replica: 3, \
             cluster: 00000000000000000000000000000000, size: 256, view: 0, release: 0, .. }"
        );
    }
}
