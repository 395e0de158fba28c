//! What can be wrong with a frame, and whose fault it is.

use crate::HEADER_LEN;

/// The peer announced a frame of a size that is not allowed.
///
/// The stream cannot be followed any further, since nobody knows where the next frame begins: close
/// the link. Nothing has been allocated for the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the peer broke the protocol: it announced a frame of {size} bytes, \
     but {min} to {max} are allowed",
    min = HEADER_LEN
)]
pub struct SizeError {
    /// What the peer announced, in bytes, header included.
    pub size: u32,
    /// The largest frame allowed, in bytes, header included. The smallest is [`HEADER_LEN`].
    pub max: u32,
}

/// The caller asked for a frame whose size does not fit the header's 32-bit field.
///
/// The body has to be split. Peers commonly accept far less than this limit; see
/// [`DEFAULT_MAX_FRAME`](crate::DEFAULT_MAX_FRAME).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a body of {body_len} bytes is too large for one frame: split it, at most {max} bytes fit",
    max = u32::MAX as usize - HEADER_LEN
)]
pub struct FrameTooLarge {
    /// Length of the body that was offered, in bytes.
    pub body_len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_who_is_at_fault_and_what_is_allowed() {
        assert_eq!(
            SizeError { size: 70_000, max: 65_536 }.to_string(),
            "the peer broke the protocol: it announced a frame of 70000 bytes, \
             but 256 to 65536 are allowed"
        );
        assert_eq!(
            FrameTooLarge { body_len: 4_294_967_040 }.to_string(),
            "a body of 4294967040 bytes is too large for one frame: split it, \
             at most 4294967039 bytes fit"
        );
    }
}
