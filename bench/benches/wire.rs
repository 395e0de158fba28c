//! Cutting received bytes into frames.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringseal_bench::frame::{self, HEADER, REQUEST};
use ringseal_wire::{DEFAULT_MAX_FRAME, Deframer, HeaderView};

/// What one large read brings.
const BUFFER: usize = 64 << 10;

fn parse(c: &mut Criterion) {
    let header = frame::build(HEADER, REQUEST);
    c.bench_function("wire/read size and command in place", |b| {
        b.iter(|| {
            let view = HeaderView::from_slice(black_box(&header)).expect("256 bytes");
            black_box((view.size(), view.command()))
        });
    });
}

/// One element is one frame: the buffer's own cost is spread over the frames that it holds.
fn deframe(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire/deframe a full buffer");
    for size in [HEADER, 4 << 10, 64 << 10] {
        let frames = BUFFER / size;
        let received = frame::repeat(&frame::build(size, REQUEST), frames);
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(format!("{size} B frames"), |b| {
            b.iter_batched_ref(|| filled(&received), take_all, BatchSize::SmallInput);
        });
    }
}

fn filled(received: &Bytes) -> Deframer {
    let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
    *deframer.buffer_mut() = BytesMut::from(&received[..]);
    deframer
}

fn take_all(deframer: &mut Deframer) {
    while let Some(frame) = deframer.next_frame().expect("sizes are right") {
        black_box(frame);
    }
}

criterion_group!(benches, parse, deframe);
criterion_main!(benches);
