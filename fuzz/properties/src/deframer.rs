//! A stream is cut into frames, however it arrives.

use bytes::BytesMut;
use ringseal_wire::{Deframer, Frame, FrameView, HEADER_LEN, SizeError};

use crate::input::Input;

/// A stream gives the same frames whether it arrives at once, in pieces, or as a driver reads it that
/// takes no byte too many; the frames and what is left over are the stream; and nothing is reserved
/// for what is only announced.
///
/// Input: one byte for the largest frame allowed, in steps of 32 bytes above a header; one for the
/// number of pieces; the length of each piece in a byte, taken in rotation; then the stream.
pub fn deframer(data: &[u8]) {
    let mut input = Input::new(data);
    let max_frame = HEADER_LEN as u32 + 32 * u32::from(input.byte());
    let count = input.byte();
    let pieces = input.bytes(count.into());
    let stream = input.rest();

    let whole = at_once(stream, max_frame);
    whole.check(stream, max_frame);
    assert!(whole == in_pieces(stream, pieces, max_frame), "cutting the stream changes nothing");
    assert!(whole == as_missing(stream, max_frame), "reading what is missing changes nothing");
}

/// What became of a stream.
#[derive(PartialEq)]
struct Cut {
    frames: Vec<Frame>,
    error: Option<SizeError>,
    /// Bytes left over. After an error they depend on how much was fed by then.
    left: Option<usize>,
}

impl Cut {
    fn check(&self, stream: &[u8], max_frame: u32) {
        let bytes: Vec<u8> = self.frames.iter().flat_map(Frame::to_bytes).collect();
        assert!(stream.starts_with(&bytes), "frames are the stream's bytes, in order");
        for frame in &self.frames {
            assert_eq!(frame.header().size() as usize, frame.wire_len());
            assert!(frame.header().size() <= max_frame);
            assert!(*frame == frame.detach());
        }
        if let Some(left) = self.left {
            assert_eq!(bytes.len() + left, stream.len(), "no byte is lost");
        }
        if let Some(SizeError { size, max }) = self.error {
            let at = bytes.len() + 48;
            assert_eq!(stream[at..at + 4], size.to_le_bytes(), "the error names the size");
            assert_eq!(max, max_frame);
            assert!(size < HEADER_LEN as u32 || size > max_frame, "a good size is accepted");
        }
    }
}

fn at_once(stream: &[u8], max_frame: u32) -> Cut {
    in_pieces(stream, &[], max_frame)
}

/// Feeds pieces of these lengths in rotation, or everything at once if there are none.
fn in_pieces(mut stream: &[u8], pieces: &[u8], max_frame: u32) -> Cut {
    let mut deframer = Deframer::new(max_frame);
    let mut frames = Vec::new();
    let mut lengths = pieces.iter().map(|len| usize::from(*len).max(1)).cycle();
    let mut fed = 0;
    loop {
        if let Err(error) = drain(&mut deframer, &mut frames) {
            return Cut { frames, error: Some(error), left: None };
        }
        if stream.is_empty() {
            return Cut { frames, error: None, left: Some(deframer.buffered()) };
        }
        let len = lengths.next().unwrap_or(usize::MAX).min(stream.len());
        deframer.feed(&stream[..len]);
        stream = &stream[len..];
        fed += len;
        let capacity = deframer.buffer_mut().capacity();
        assert!(capacity <= 1024 + 4 * fed, "{capacity} bytes reserved for {fed}");
    }
}

/// Takes every whole frame, and checks that `missing` agrees about where they end.
fn drain(deframer: &mut Deframer, frames: &mut Vec<Frame>) -> Result<(), SizeError> {
    loop {
        let missing = deframer.missing();
        let next = deframer.next_frame().map(|next| next.map(FrameView::to_frame));
        match (missing, next) {
            (Ok(0), Ok(Some(frame))) => frames.push(frame),
            (Ok(1..), Ok(None)) => return Ok(()),
            (Err(one), Err(other)) => {
                assert_eq!(one, other);
                assert_eq!(deframer.next_frame(), Err(one), "an error lasts");
                return Err(one);
            }
            (missing, next) => panic!("{missing:?} bytes are missing for {next:?}"),
        }
    }
}

/// Reads exactly what is missing, into a new buffer for every frame.
fn as_missing(mut stream: &[u8], max_frame: u32) -> Cut {
    let mut deframer = Deframer::new(max_frame);
    let mut frames = Vec::new();
    loop {
        let missing = match deframer.missing() {
            Ok(missing) => missing,
            Err(error) => return Cut { frames, error: Some(error), left: None },
        };
        if missing == 0 {
            let next = deframer.next_frame().expect("no error");
            frames.push(next.expect("a whole frame").to_frame());
            assert!(deframer.is_empty(), "not one byte of the frame after");
            continue;
        }
        if stream.is_empty() {
            return Cut { frames, error: None, left: Some(deframer.buffered()) };
        }
        let len = missing.min(stream.len());
        let old = deframer.swap_buffer(BytesMut::with_capacity(len));
        assert!(old.is_empty());
        deframer.feed(&stream[..len]);
        stream = &stream[len..];
    }
}
