//! What a connection costs before its handshake is done: the numbers of the threat model.

use ringseal_tests::alloc::{self, CountingAllocator};
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const US: u8 = 3;
const COUNT: usize = 500;

/// Live heap bytes of one connection that has said nothing, and of one that has sent a Hello.
const SILENT: i64 = 256;
const HEARD: i64 = 4096;

/// The bytes that the process comes to hold for each of the strangers that `meet` makes.
fn each(target: &Target, meet: impl Fn() -> Stranger) -> i64 {
    let mut crowd = Vec::with_capacity(COUNT);
    let before = alloc::live_bytes();
    crowd.extend((0..COUNT).map(|_| meet()));
    target.wait("all wait", |m| m.preauth_connections == COUNT as u64);
    let each = (alloc::live_bytes() - before) / COUNT as i64;
    drop(crowd);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    each
}

// The only test of its process, whose heap it measures.
#[test]
fn a_stranger_costs_what_the_threat_model_says() {
    let setup = Setup::new(US).callers([1]).graces(60_000, 60_000);
    let target = setup.limits(|limits| limits.preauth_connections = 8 * COUNT).start();
    let silent = || Stranger::connect(target.address());
    let heard = || {
        let mut stranger = Stranger::connect(target.address());
        stranger.write(TRUE.hello(1).as_bytes());
        stranger.read_header().expect("a Challenge");
        stranger
    };
    // The first round grows what the process keeps.
    for _ in 0..2 {
        each(&target, silent);
        each(&target, heard);
    }
    let (silent, heard) = (each(&target, silent), each(&target, heard));
    println!("live heap bytes: {silent} silent, {heard} heard");
    assert!(silent > 0 && silent <= SILENT, "a silent one holds {silent} bytes");
    assert!(heard > silent && heard <= HEARD, "one that has spoken holds {heard} bytes");
    target.shutdown();
}
