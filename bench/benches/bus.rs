//! The bus between its sockets: a link's outbox, a shard's mailbox, and the way from shard to shard.

use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringseal::internals::{Mailbox, Outbox, hand_off};
use ringseal::{Frame, ReplicaId};
use ringseal_bench::fixture::{self, Cluster};
use ringseal_bench::frame::HEADER;
use ringseal_wire::Deframer;

/// A window of the comparison.
const FRAMES: usize = 256;

/// Frames as an embedder makes them: each in memory of its own.
fn frames() -> Vec<Frame> {
    let mut deframer = received();
    let next = || Some(deframer.next_frame().expect("whole frames")?.detach());
    let frames: Vec<_> = std::iter::from_fn(next).collect();
    assert_eq!(frames.len(), FRAMES);
    frames
}

/// Frames as they arrive.
fn received() -> Deframer {
    fixture::filled(&fixture::full_buffer(HEADER))
}

fn write_all(outbox: &mut Outbox) {
    let written = outbox.gather();
    assert_eq!(outbox.advance(black_box(written)), FRAMES as u32);
}

fn outbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("bus/outbox");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let (mut outbox, frames) = (Outbox::new(), frames());
    group.bench_function("256 frames made here", |b| {
        let through = |frames: Vec<Frame>| {
            frames.into_iter().for_each(|frame| outbox.push(frame));
            write_all(&mut outbox);
        };
        b.iter_batched(|| frames.clone(), through, BatchSize::SmallInput);
    });
    group.bench_function("256 frames cut and passed on", |b| {
        let through = |deframer: &mut Deframer| {
            while let Some(frame) = deframer.next_frame().expect("whole frames") {
                outbox.pass_on(frame);
            }
            write_all(&mut outbox);
        };
        b.iter_batched_ref(received, through, BatchSize::SmallInput);
    });
}

fn mailbox(c: &mut Criterion) {
    let (mailbox, frames, peer) = (Mailbox::new(), frames(), ReplicaId::new(1));
    let mut group = c.benchmark_group("bus/mailbox");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("256 frames", |b| {
        let through = |frames: Vec<Frame>| {
            frames.into_iter().for_each(|frame| mailbox.send(peer, frame));
            assert_eq!(mailbox.drain(), FRAMES);
        };
        b.iter_batched(|| frames.clone(), through, BatchSize::SmallInput);
    });
}

fn lend_and_adopt(c: &mut Criterion) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let socket = TcpStream::connect(address).expect("somebody listens");
    let cluster = Cluster::new(&[0x5a; 32]).expect("a long enough secret");
    let outcome = cluster.shake_hands_with(fixture::NONCES).expect("a handshake");
    c.bench_function("bus/lend and adopt", |b| {
        b.iter_custom(|times| {
            let socket = socket.try_clone().expect("another descriptor");
            hand_off(socket.into(), outcome, times).expect("an executor")
        });
    });
}

criterion_group!(benches, outbox, mailbox, lend_and_adopt);
criterion_main!(benches);
