//! The little that the yardsticks know about frames.
//!
//! Deliberately not `ringseal-wire`: a yardstick that used the code it measures would hide what
//! that code costs.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a header, and so of the smallest frame.
pub const HEADER: usize = 256;

/// The largest frame that any shape moves, in bytes.
pub const LARGEST: usize = 64 << 10;

/// Where the frame's whole size is, as a little-endian u32.
pub const SIZE_OFFSET: usize = 48;

/// Where a [`PING`] answer carries the count of frames, as a little-endian u32.
const COUNT_OFFSET: usize = 56;

/// Where the command byte is.
const COMMAND_OFFSET: usize = 60;

/// Asks the sink of a one-way stream how many frames it has seen.
pub const PING: u8 = 1;

/// An ordinary frame: echoed, or swallowed by a sink.
pub const REQUEST: u8 = 5;

/// A frame of `size` bytes, header included, whose body is a recognisable pattern.
///
/// # Panics
///
/// If `size` is below [`HEADER`] or above [`LARGEST`]: no shape has such frames.
#[must_use]
pub fn build(size: usize, command: u8) -> Bytes {
    assert!((HEADER..=LARGEST).contains(&size), "no shape has frames of {size} bytes");
    let mut frame = BytesMut::zeroed(HEADER);
    frame[SIZE_OFFSET..SIZE_OFFSET + 4].copy_from_slice(&(size as u32).to_le_bytes());
    frame[COMMAND_OFFSET] = command;
    frame.extend((HEADER..size).map(|at| (at % 251) as u8));
    frame.freeze()
}

/// `count` copies of `frame`, back to back.
#[must_use]
pub fn repeat(frame: &Bytes, count: usize) -> Bytes {
    let mut all = BytesMut::with_capacity(frame.len() * count);
    for _ in 0..count {
        all.put_slice(frame);
    }
    all.freeze()
}

/// The size that a header announces. `header` holds at least [`HEADER`] bytes.
#[must_use]
pub fn size(header: &[u8]) -> usize {
    u32_at(header, SIZE_OFFSET) as usize
}

/// The command byte of a header.
#[must_use]
pub fn command(header: &[u8]) -> u8 {
    header[COMMAND_OFFSET]
}

/// The answer to a [`PING`]: how many frames the sink has swallowed since the last one.
#[must_use]
pub fn count_answer(count: u32) -> Bytes {
    let mut frame = BytesMut::from(build(HEADER, PING));
    frame[COUNT_OFFSET..COUNT_OFFSET + 4].copy_from_slice(&count.to_le_bytes());
    frame.freeze()
}

/// The count that a [`count_answer`] carries.
#[must_use]
pub fn counted(header: &[u8]) -> u32 {
    u32_at(header, COUNT_OFFSET)
}

/// The whole frames at the start of `buffer`, one slice each.
pub fn whole(buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        if rest.len() < HEADER {
            return None;
        }
        let size = size(rest).max(HEADER);
        let (frame, after) = rest.split_at_checked(size)?;
        rest = after;
        Some(frame)
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_stops_before_a_partial_frame() {
        let mut bytes = repeat(&build(HEADER, REQUEST), 3).to_vec();
        bytes.extend_from_slice(&build(4096, REQUEST)[..4000]);
        let sizes: Vec<_> = whole(&bytes).map(<[u8]>::len).collect();
        assert_eq!(sizes, [HEADER; 3]);
    }

    #[test]
    fn a_count_survives_its_frame() {
        assert_eq!(counted(&count_answer(77)), 77);
        assert_eq!(command(&count_answer(77)), PING);
    }
}
