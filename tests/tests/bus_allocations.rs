//! A warm link carries frames without allocating. Alone in its binary, because it counts every
//! allocation of the process, whichever thread makes it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringseal::{Bus, Flow, Frame, Handler, Link};
use ringseal_tests::cluster::{DRAIN, Net};
use ringseal_tests::frames::{self, HEADER};
use ringseal_tests::raw;

struct CountAll;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to `System` unchanged; counting touches only an atomic.
unsafe impl GlobalAlloc for CountAll {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout, as every block here does.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountAll = CountAll;

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
    let before = ALLOCATIONS.load(Relaxed);
    assert!(before > 0, "allocations are counted");
    round_trips(FRAMES);
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    println!("{allocations} allocations for {FRAMES} frames");
    assert!(allocations < FRAMES / 5, "{allocations} allocations for {FRAMES} frames");
    bus.shutdown(DRAIN).expect("a clean shutdown");
}
