//! Properties of the deframer over arbitrary streams, cuts and buffers.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use ringseal_wire::{DEFAULT_MAX_FRAME, Deframer, Frame, FrameView, HEADER_LEN, Header, SizeError};

/// A frame whose every header byte but `size` is arbitrary.
fn any_frame() -> impl Strategy<Value = Frame> {
    let body = prop_oneof![Just(vec![]), vec(any::<u8>(), 1..600)];
    (vec(any::<u8>(), HEADER_LEN), body).prop_map(|(header, body)| {
        let header = Header::from_bytes(header.try_into().expect("256 bytes"));
        Frame::new(header, Bytes::from(body)).expect("a small body")
    })
}

fn wire_bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::to_bytes).collect()
}

/// The stream in pieces of these lengths, used in turn until it ends.
fn pieces<'a>(mut stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    lengths.iter().cycle().map_while(move |length| {
        let (piece, rest) = stream.split_at((*length).min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Takes every frame that is ready, and checks what must hold of each step whatever the bytes are.
fn drain(deframer: &mut Deframer) -> Result<Vec<Frame>, SizeError> {
    let mut frames = Vec::new();
    loop {
        let (buffered, capacity) = (deframer.buffered(), deframer.buffer_mut().capacity());
        let missing = deframer.missing();
        let next = deframer.next_frame().map(|next| next.map(FrameView::to_frame));
        assert!(deframer.buffer_mut().capacity() <= capacity, "parsing reserved memory");
        match next {
            Ok(Some(frame)) => {
                assert_eq!(missing, Ok(0));
                assert_eq!(buffered, deframer.buffered() + frame.wire_len());
                assert_eq!(frame.header().size() as usize, frame.wire_len());
                frames.push(frame);
            }
            Ok(None) => {
                assert!(missing.is_ok_and(|missing| missing > 0));
                assert_eq!(buffered, deframer.buffered());
                return Ok(frames);
            }
            Err(error) => {
                assert_eq!(missing, Err(error));
                assert_eq!(deframer.next_frame(), Err(error), "an error lasts");
                return Err(error);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        frames in vec(any_frame(), 0..20),
        lengths in vec(1..900_usize, 1..10),
    ) {
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        let mut received = Vec::new();
        for piece in pieces(&wire_bytes(&frames), &lengths) {
            deframer.feed(piece);
            received.extend(drain(&mut deframer)?);
        }
        prop_assert_eq!(received, frames);
        prop_assert!(deframer.is_empty());
    }

    #[test]
    fn swapping_the_buffer_anywhere_changes_nothing(
        frames in vec(any_frame(), 0..20),
        lengths in vec(1..900_usize, 1..10),
        swaps in vec(any::<(bool, bool)>(), 1..10),
        capacity in 0..2000_usize,
    ) {
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        let mut received = Vec::new();
        let stream = wire_bytes(&frames);
        for (piece, (before, after)) in pieces(&stream, &lengths).zip(swaps.iter().cycle()) {
            deframer.feed(piece);
            if *before {
                swap(&mut deframer, capacity);
            }
            received.extend(drain(&mut deframer)?);
            if *after {
                swap(&mut deframer, capacity);
            }
        }
        prop_assert_eq!(received, frames);
        prop_assert!(deframer.is_empty());
    }

    #[test]
    fn reading_only_what_is_missing_never_reads_beyond_a_frame(
        frames in vec(any_frame(), 1..10),
    ) {
        let stream = wire_bytes(&frames);
        let mut unread = stream.as_slice();
        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        for expected in frames {
            loop {
                let (piece, rest) = unread.split_at(deframer.missing()?);
                if piece.is_empty() {
                    break;
                }
                deframer.feed(piece);
                unread = rest;
            }
            prop_assert_eq!(deframer.next_frame()?.map(FrameView::to_frame), Some(expected));
            prop_assert!(deframer.is_empty());
        }
    }

    #[test]
    fn any_bytes_at_all_are_handled_within_the_memory_they_take(
        bytes in vec(any::<u8>(), 0..2000),
        lengths in vec(1..900_usize, 1..10),
        max_frame in any::<u32>(),
    ) {
        check_any_bytes(&bytes, &lengths, max_frame);
    }

    /// Random bytes rarely announce a plausible size; these always do.
    #[test]
    fn any_bytes_with_plausible_sizes_are_handled_within_the_memory_they_take(
        headers in vec((vec(any::<u8>(), HEADER_LEN), 250..800_u32), 1..10),
        lengths in vec(1..900_usize, 1..10),
        max_frame in 200..900_u32,
    ) {
        let bytes: Vec<u8> = headers
            .into_iter()
            .flat_map(|(bytes, size)| {
                let mut header = Header::from_bytes(bytes.try_into().expect("256 bytes"));
                *header.set_size(size).as_bytes()
            })
            .collect();
        check_any_bytes(&bytes, &lengths, max_frame);
    }
}

fn swap(deframer: &mut Deframer, capacity: usize) {
    let buffered = deframer.buffered();
    let old = deframer.swap_buffer(BytesMut::with_capacity(capacity));
    assert!(old.is_empty());
    assert_eq!(deframer.buffered(), buffered);
}

fn check_any_bytes(bytes: &[u8], lengths: &[usize], max_frame: u32) {
    let mut deframer = Deframer::new(max_frame);
    *deframer.buffer_mut() = BytesMut::with_capacity(bytes.len());
    let capacity = deframer.buffer_mut().capacity();

    let mut taken = 0;
    for piece in pieces(bytes, lengths) {
        deframer.feed(piece);
        match drain(&mut deframer) {
            Ok(frames) => taken += frames.iter().map(Frame::wire_len).sum::<usize>(),
            Err(SizeError { size, max }) => {
                assert_eq!(max, max_frame);
                assert!(size < HEADER_LEN as u32 || size > max);
                return;
            }
        }
        assert!(deframer.buffer_mut().capacity() <= capacity);
    }
    assert_eq!(taken + deframer.buffered(), bytes.len(), "every byte is in a frame or waits");
}
