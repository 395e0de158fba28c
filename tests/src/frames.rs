//! Frames that tell by themselves whether they arrived whole.

use bytes::Bytes;
use ringseal::{ClusterId, Command, Frame, Header, HeaderView, ReplicaId};

/// The bytes of a header.
pub const HEADER: usize = 256;

/// A frame of `size` bytes, header included, of which every field and byte follows from `number`.
/// The command is any that the bus carries.
#[must_use]
pub fn patterned(number: u64, size: usize) -> Frame {
    let mut bytes = Noise(number);
    let mut header = Header::new(any_command(bytes.next()));
    header
        .set_checksum(u128::from(number) | u128::from(bytes.next()) << 64)
        .set_checksum_body(u128::from(bytes.next()) << 64 | u128::from(bytes.next()))
        .set_cluster(ClusterId::new(u128::from(bytes.next())))
        .set_view(bytes.next() as u32)
        .set_release(bytes.next() as u32)
        .set_replica(ReplicaId::new(bytes.next() as u8));
    bytes.fill(header.reserved_frame_mut());
    bytes.fill(header.reserved_command_mut());
    // A block of a length that divides no buffer's, over and over: debug builds are slow at noise.
    let mut block = [0; 4093];
    bytes.fill(&mut block);
    let len = size - HEADER;
    let mut body = block.repeat(len.div_ceil(block.len()));
    body.truncate(len);
    Frame::new(header, body.into()).expect("below 4 GiB")
}

/// A frame that says who sent it and as which of its frames: cheap to make and to read.
#[must_use]
pub fn numbered(sender: u32, number: u64, size: usize) -> Frame {
    let mut header = Header::new(Command::PREPARE);
    header.set_view(sender).set_checksum(number.into());
    Frame::new(header, Bytes::from(vec![number as u8; size - HEADER])).expect("below 4 GiB")
}

/// The sender and the number of a [`numbered`] frame.
#[must_use]
pub fn number_of(header: HeaderView<'_>) -> (u32, u64) {
    (header.view(), header.checksum() as u64)
}

/// Commands 14 to 16 belong to the handshake; all others, named or not, are carried.
fn any_command(random: u64) -> Command {
    let command = Command::new(random as u8);
    if command.is_handshake() { Command::new(200) } else { command }
}

/// A splitmix64 generator: the same number always gives the same bytes.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
