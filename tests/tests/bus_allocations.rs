//! A warm link carries frames without allocating. Alone in its binary, because it counts every
//! allocation of the process, whichever thread makes it.

use std::io::{Read, Write};

use ringseal::{Bus, Flow, Frame, Handler, Link};
use ringseal_tests::alloc::{self, CountingAllocator};
use ringseal_tests::cluster::{DRAIN, Net};
use ringseal_tests::frames::{self, HEADER};
use ringseal_tests::raw;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

struct Mirror;

impl Handler for Mirror {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: Frame) -> Flow {
        link.send(frame).expect("the echo has room");
        Flow::Continue
    }
}

const FRAMES: u64 = 10_000;
const WINDOW: usize = 100;

/// The echo's peer is a plain socket with one buffer, so that what is counted is the bus. What it may
/// allocate is the runtime's, per sleep and per timer, and so a share of the number of batches.
#[test]
fn an_echo_of_small_frames_allocates_nothing_per_frame() {
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
    assert!(allocations < FRAMES / 5, "{allocations} allocations for {FRAMES} frames");
    bus.shutdown(DRAIN).expect("a clean shutdown");
}
