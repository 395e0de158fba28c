//! What parsing and keeping frames costs in allocations.

use bytes::BytesMut;
use ringseal_tests::alloc::{self, CountingAllocator};
use ringseal_wire::{Command, DEFAULT_MAX_FRAME, Deframer, Frame, HEADER_LEN, Header};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const BUFFER_LEN: usize = 64 << 10;

fn frame(body_len: usize) -> Frame {
    Frame::new(Header::new(Command::PREPARE), vec![0xb0; body_len].into()).expect("a small body")
}

/// Parses `stream` out of one buffer of 64 KiB, dropping each frame, and returns the number of frames.
fn parse(stream: &[u8]) -> usize {
    let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
    *deframer.buffer_mut() = BytesMut::with_capacity(BUFFER_LEN);
    deframer.feed(stream);
    let mut frames = 0;
    while let Some(frame) = deframer.next_frame().expect("sizes are right") {
        assert_eq!(frame.command(), Command::PREPARE);
        frames += 1;
    }
    frames
}

#[test]
fn parsing_a_full_buffer_allocates_the_buffer_and_one_shared_count() {
    let header_only = frame(0).to_bytes().repeat(255);
    let with_bodies = frame(100).to_bytes().repeat(BUFFER_LEN / 356);
    for (stream, expected) in [(header_only, 255), (with_bodies, BUFFER_LEN / 356)] {
        let (frames, counts) = alloc::count(|| parse(&stream));
        assert_eq!(frames, expected);
        assert_eq!(counts.allocations, 2);
        assert!(counts.bytes < BUFFER_LEN as u64 + 100, "{counts:?}");
    }
}

#[test]
fn a_new_deframer_allocates_nothing() {
    let (_deframer, counts) = alloc::count(|| Deframer::new(DEFAULT_MAX_FRAME));
    assert_eq!(counts.allocations, 0);
}

#[test]
fn a_detached_frame_takes_its_own_length() {
    for body_len in [0, 100] {
        let frame = frame(body_len);
        let own = (1, (HEADER_LEN + body_len) as u64);
        let (_copy, counts) = alloc::count(|| frame.detach());
        assert_eq!((counts.allocations, counts.bytes), own);

        let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
        deframer.feed(&frame.to_bytes());
        let received = deframer.next_frame().expect("the size is right").expect("a whole frame");
        let (_copy, counts) = alloc::count(|| received.detach());
        assert_eq!((counts.allocations, counts.bytes), own);
        let (_kept, counts) = alloc::count(|| received.to_frame());
        assert_eq!(counts.allocations, 0);
    }
}
