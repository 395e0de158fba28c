//! Warm links carry frames without allocating. A binary of its own, in which one test runs at a time,
//! because every allocation of the process is counted, whichever thread makes it.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ringseal::{Bus, Flow, FrameView, Handler, Link, ReplicaId};
use ringseal_tests::alloc::{self, CountingAllocator};
use ringseal_tests::cluster::{DRAIN, Net, peer_status, wait_until};
use ringseal_tests::frames::{self, HEADER};
use ringseal_tests::raw;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Held by the test that counts.
static COUNTING: Mutex<()> = Mutex::new(());

struct Mirror;

impl Handler for Mirror {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        link.forward(link.peer(), frame).expect("the echo has room");
        Flow::Continue
    }
}

const FRAMES: u64 = 10_000;
const WINDOW: usize = 100;

/// The echo's peer is a plain socket with one buffer, so that what is counted is the bus alone.
#[test]
fn an_echo_of_small_frames_allocates_nothing_per_frame() {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let net = Net::new(&[0, 1]).without_auth();
    let bus = Bus::start(net.config(1), |_shard| Mirror).expect("the bus starts");
    let mut peer = raw::dial(net.address(1), 0);
    let batch = frames::numbered(0, 7, HEADER).to_bytes().repeat(WINDOW);
    let mut echo = vec![0; batch.len()];
    let mut round_trips = |count: u64| {
        for _ in 0..count / WINDOW as u64 {
            peer.write_all(&batch).expect("the bus reads");
            peer.read_exact(&mut echo).expect("the bus answers");
            assert!(echo == batch);
        }
    };
    round_trips(FRAMES);
    let before = alloc::of_all_threads();
    assert!(before > 0, "allocations are counted");
    round_trips(FRAMES);
    let allocations = alloc::of_all_threads() - before;
    println!("{allocations} allocations for {FRAMES} frames");
    assert!(allocations < FRAMES / 100, "{allocations} allocations for {FRAMES} frames");
    bus.shutdown(DRAIN).expect("a clean shutdown");
}

/// Passes every frame on to one replica.
struct PassOn {
    to: ReplicaId,
    passed: Arc<AtomicU64>,
}

impl Handler for PassOn {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        self.passed.fetch_add(1, Relaxed);
        // Links end while frames are still going round: at the end of the test that is no matter.
        let _ = link.forward(self.to, frame);
        Flow::Continue
    }
}

/// Sends `window` frames of `size` bytes round and round through so many replicas of so many shards, and
/// returns how many allocations all of them together make per frame and link.
fn allocations_per_frame(replicas: u8, shards: usize, size: usize, window: u64) -> f64 {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let ids: Vec<u8> = (0..replicas).collect();
    let net = Net::new(&ids).with_shards(shards);
    let passed = Arc::new(AtomicU64::new(0));
    let start = |id: &u8| {
        let (to, passed) = (ReplicaId::new((id + 1) % replicas), passed.clone());
        let bus = Bus::start(net.config(*id), move |_shard| PassOn { to, passed: passed.clone() });
        bus.expect("the bus starts")
    };
    let buses: Vec<Bus> = ids.iter().map(start).collect();
    for (bus, id) in buses.iter().zip(&ids) {
        let next = (id + 1) % replicas;
        wait_until("a link comes up", || peer_status(bus, next).link.is_some());
    }
    for number in 0..window {
        let frame = frames::numbered(0, number, size);
        buses[0].send(ReplicaId::new(1), frame).expect("the window fits the outbox");
    }
    wait_until("the links are warm", || passed.load(Relaxed) > FRAMES);
    let (frames, allocations) = (passed.load(Relaxed), alloc::of_all_threads());
    assert!(allocations > 0, "allocations are counted");
    wait_until("the frames go round", || passed.load(Relaxed) > frames + FRAMES);
    let allocations = alloc::of_all_threads() - allocations;
    let frames = passed.load(Relaxed) - frames;
    for bus in buses {
        bus.shutdown(DRAIN).expect("a clean shutdown");
    }
    println!("{allocations} allocations for {frames} frames of {size} bytes");
    allocations as f64 / frames as f64
}

#[test]
fn both_ends_of_a_link_allocate_nothing_per_frame() {
    assert!(allocations_per_frame(2, 1, HEADER, 256) < 0.01);
}

#[test]
fn frames_passed_on_to_another_link_allocate_nothing() {
    assert!(allocations_per_frame(3, 1, HEADER, 256) < 0.01);
}

/// Links of a replica are on different shards then. A mailbox takes memory for 31 frames at once.
#[test]
fn frames_passed_on_to_another_shard_take_a_share_of_a_mailboxs_block() {
    assert!(allocations_per_frame(3, 2, HEADER, 256) < 1.5 / 31.0);
}

#[test]
fn frames_that_fill_a_receive_buffer_allocate_nothing_per_frame() {
    assert!(allocations_per_frame(2, 1, 64 << 10, 16) < 0.01);
    assert!(allocations_per_frame(3, 1, 64 << 10, 16) < 0.01);
}

/// The buffer, and the count of those who hold a part of it.
#[test]
fn a_frame_beyond_the_receive_buffer_allocates_a_buffer_of_its_own_at_most() {
    assert!(allocations_per_frame(2, 1, 512 << 10, 4) <= 2.01);
}
