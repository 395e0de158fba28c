//! Cutting received bytes into frames.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringseal_bench::fixture;
use ringseal_bench::frame::{self, HEADER, REQUEST};
use ringseal_wire::{Deframer, HeaderView};

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
        let received = fixture::full_buffer(size);
        group.throughput(Throughput::Elements((received.len() / size) as u64));
        group.bench_function(format!("{size} B frames"), |b| {
            let cut = |deframer: &mut Deframer| fixture::cut(deframer).expect("whole frames");
            b.iter_batched_ref(|| fixture::filled(&received), cut, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, parse, deframe);
criterion_main!(benches);
