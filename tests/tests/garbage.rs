//! Whatever strangers throw at the port, an established link keeps carrying traffic.

use std::thread;

use ringseal::{Command, Frame, HandshakeResult, Header, Metrics, Reason, Role};
use ringseal_tests::stranger::{Stranger, TRUE, random};
use ringseal_tests::target::{Setup, Target};

const US: u8 = 9;

/// A target with short graces and a peer 0 whose link must stay up.
fn target(shards: usize) -> (Target, Stranger) {
    let setup = Setup::new(US).callers(0..US).shards(shards).graces(1_000, 2_000);
    let target = setup.start();
    let resident = Stranger::join(target.address(), &TRUE, 0, US);
    target.up(0);
    (target, resident)
}

fn failed(m: &Metrics) -> u64 {
    let failed = |(role, result, _): &&(Role, HandshakeResult, u64)| {
        *role == Role::Acceptor && *result != HandshakeResult::Ok
    };
    m.handshakes.iter().filter(failed).map(|(_, _, count)| count).sum()
}

/// Checks that all strangers are gone, each counted, and nothing else has changed.
fn expect_untouched(target: Target, mut resident: Stranger, strangers: u64) {
    target.wait("every stranger is counted", |m| failed(m) >= strangers);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    resident.ping();
    let metrics = target.metrics();
    assert_eq!((metrics.links_up, failed(&metrics)), (1, strangers), "{metrics:?}");
    assert!(target.rest().is_empty(), "no handler was told of any of them");
    target.shutdown();
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn garbage_of_any_length() {
    let seed = u64::from_le_bytes(random()) | 1;
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    let (target, mut resident) = target(2);
    const STRANGERS: u64 = 300;
    let mut silent = Vec::new();
    for _ in 0..STRANGERS {
        let length = numbers.next() as usize % 2001;
        let bytes: Vec<u8> = (0..length).map(|_| numbers.next() as u8).collect();
        let mut stranger = Stranger::connect(target.address());
        // The target may have hung up on the first 256 bytes already.
        let _ = stranger.try_write(&bytes);
        match numbers.next() % 3 {
            0 => drop(stranger),
            1 => stranger.reset(),
            _ => silent.push(stranger),
        }
        resident.ping();
    }
    expect_untouched(target, resident, STRANGERS);
}

#[test]
fn every_length_up_to_two_frames_of_zeros_and_ones() {
    let (target, mut resident) = target(1);
    let mut strangers = 0;
    for length in (0..600).step_by(3) {
        for byte in [0, 0xff] {
            let mut stranger = Stranger::connect(target.address());
            let _ = stranger.try_write(&vec![byte; length]);
            strangers += 1;
        }
        resident.ping();
    }
    expect_untouched(target, resident, strangers);
}

#[test]
fn connect_and_reset() {
    let (target, mut resident) = target(2);
    for _ in 0..100 {
        Stranger::connect(target.address()).reset();
        resident.ping();
    }
    // A connection that is reset in the queue may never be accepted at all.
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    assert!(failed(&target.metrics()) <= 100);
    resident.ping();
    assert!(target.rest().is_empty());
    target.shutdown();
}

#[test]
fn a_scan_of_the_port() {
    let (target, mut resident) = target(2);
    let scan: Vec<_> = (0..200).map(|_| Stranger::connect(target.address())).collect();
    resident.ping();
    drop(scan);
    expect_untouched(target, resident, 200);
}

#[test]
fn half_a_frame_and_silence_on_an_established_link() {
    let (target, mut resident) = target(1);
    let mut half = Stranger::join(target.address(), &TRUE, 1, US);
    target.up(1);
    let frame = Frame::new(Header::new(Command::PREPARE), vec![7; 200_000].into()).expect("small");
    let bytes = frame.to_bytes();
    half.write(&bytes[..100_000]);
    for _ in 0..50 {
        resident.ping();
    }
    half.write(&bytes[100_000..]);
    assert!(target.frame(1) == frame);
    half.write(&bytes[..100]);
    drop(half);
    assert_eq!(target.down(1), Reason::Eof);
    expect_untouched(target, resident, 0);
}

#[test]
fn many_strangers_at_once() {
    let (target, mut resident) = target(2);
    let address = target.address();
    let crowd = (0..8).map(|_| {
        thread::spawn(move || {
            for _ in 0..25 {
                let mut stranger = Stranger::connect(address);
                let _ = stranger.try_write(&random::<1000>());
                stranger.expect_end();
            }
        })
    });
    for thread in crowd.collect::<Vec<_>>() {
        while !thread.is_finished() {
            resident.ping();
        }
        thread.join().expect("every stranger is hung up on");
    }
    expect_untouched(target, resident, 200);
}
