//! The handshake in memory: one MAC, each step, the whole.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ringseal_auth::{Binding, Direction, Exchange, LinkIds, Transcript, cluster_id};
use ringseal_bench::fixture::{self, ACCEPTOR, Cluster, DIALER};

fn cluster() -> Cluster {
    Cluster::new(&[0x5a; 32]).expect("a long enough secret")
}

fn mac(c: &mut Criterion) {
    let cluster = cluster();
    let exchange = Exchange {
        ids: LinkIds { cluster: cluster_id("bench"), dialer: DIALER, acceptor: ACCEPTOR },
        dialer_nonce: [7; 32],
        acceptor_nonce: [9; 32],
        binding: Binding::Plaintext,
    };
    let mac = |exchange| cluster.keys.mac(Transcript::Current, exchange, Direction::Dialer);
    c.bench_function("auth/mac", |b| b.iter(|| mac(black_box(&exchange))));
    let right = mac(&exchange);
    c.bench_function("auth/verify", |b| {
        let keys = &cluster.keys;
        b.iter(|| {
            keys.verify(Transcript::Current, black_box(&exchange), Direction::Dialer, &right)
        });
    });
}

fn steps(c: &mut Criterion) {
    let cluster = cluster();
    let dialer = || cluster.hello().expect("a Hello");
    let (hello, next) = dialer();
    let acceptor = || cluster.challenge(&hello).expect("a Challenge");
    let (challenge, _) = acceptor();
    let finish = fixture::finish(next, challenge.as_view()).expect("a Finish");

    c.bench_function("auth/dialer start", |b| b.iter(dialer));
    c.bench_function("auth/acceptor on_hello", |b| b.iter(acceptor));
    c.bench_function("auth/dialer on_frame", |b| {
        let step = |next| fixture::finish(next, black_box(challenge.as_view())).expect("a Finish");
        b.iter_batched(|| dialer().1, step, BatchSize::SmallInput);
    });
    c.bench_function("auth/acceptor on_finish", |b| {
        let step = |next: ringseal_auth::AwaitFinish<'_>| {
            next.on_finish(black_box(finish.as_view())).expect("the right MAC")
        };
        b.iter_batched(|| acceptor().1, step, BatchSize::SmallInput);
    });
}

fn whole(c: &mut Criterion) {
    let cluster = cluster();
    c.bench_function("auth/whole handshake, both sides", |b| {
        b.iter(|| {
            let (hello, dialer) = cluster.hello().expect("a Hello");
            let (challenge, acceptor) = cluster.challenge(&hello).expect("a Challenge");
            let finish = fixture::finish(dialer, challenge.as_view()).expect("a Finish");
            acceptor.on_finish(finish.as_view()).expect("the right MAC")
        });
    });
}

criterion_group!(benches, mac, steps, whole);
criterion_main!(benches);
