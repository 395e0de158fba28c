//! Counting heap allocations, to show that a path makes none, or how much of it something holds.
//!
//! A test that counts installs the allocator for its own binary:
//!
//! ```standalone_crate
//! use ringseal_tests::alloc::{self, CountingAllocator};
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator;
//!
//! let (_buffer, counts) = alloc::count(|| Vec::<u8>::with_capacity(100));
//! assert_eq!((counts.allocations, counts.bytes), (1, 100));
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What a piece of work asked of the heap, on the thread that ran it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Blocks allocated or resized.
    pub allocations: u64,
    /// Bytes in these blocks; a resized block counts with its whole new size.
    pub bytes: u64,
}

thread_local! {
    // Constant and without a destructor, so that reading it neither allocates nor fails, however early
    // or late in a thread's life.
    static SO_FAR: Cell<Counts> = const { Cell::new(Counts { allocations: 0, bytes: 0 }) };
}

/// Runs `work` and counts what it allocates on this thread.
///
/// Everything counts as zero unless [`CountingAllocator`] is the global allocator, so a test should
/// also expect an allocation that it knows of.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Counts) {
    let before = SO_FAR.get();
    let result = work();
    let after = SO_FAR.get();
    let counts = Counts {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
    };
    (result, counts)
}

/// How many allocations all threads of the process have made so far, under the same condition.
#[must_use]
pub fn of_all_threads() -> u64 {
    ALL_THREADS.load(Relaxed)
}

static ALL_THREADS: AtomicU64 = AtomicU64::new(0);

/// How many bytes all threads of the process have allocated and not given back, under the same
/// condition.
#[must_use]
pub fn live_bytes() -> i64 {
    LIVE.load(Relaxed)
}

static LIVE: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, with a count per thread and one for all. See the [module](self) for how to install it.
pub struct CountingAllocator;

impl CountingAllocator {
    /// Notes a block of `bytes` that takes the place of `freed`.
    fn record(bytes: usize, freed: usize) {
        ALL_THREADS.fetch_add(1, Relaxed);
        LIVE.fetch_add(bytes as i64 - freed as i64, Relaxed);
        let Counts { allocations, bytes: total } = SO_FAR.get();
        SO_FAR.set(Counts { allocations: allocations + 1, bytes: total + bytes as u64 });
    }
}

// SAFETY: every call goes to `System` unchanged, which keeps the contract; counting touches only an
// atomic and a thread-local `Cell`, neither of which needs an allocation.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::record(layout.size(), 0);
        // SAFETY: the caller keeps `alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::record(layout.size(), 0);
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is `System`'s.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::record(new_size, layout.size());
        // SAFETY: `block` came from `System` with this layout, as every block here does, and the caller
        // keeps the rest of `realloc`'s contract.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: `block` came from `System` with this layout, as every block here does.
        unsafe { System.dealloc(block, layout) }
    }
}
