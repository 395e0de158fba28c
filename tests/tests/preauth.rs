//! How many strangers may wait, and who has to go.

use ringseal::HandshakeResult::{Evicted, Io, Ok as Joined, Timeout};
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, eventually};

const US: u8 = 3;
const CAP: usize = 8;

fn target() -> Target {
    let setup = Setup::new(US).callers([1, 2]).graces(60_000, 60_000);
    setup.limits(|limits| limits.preauth_connections = CAP).start()
}

#[test]
fn the_oldest_stranger_makes_room_and_a_replica_still_joins() {
    let target = target();
    let mut crowd: Vec<_> = (0..100).map(|_| Stranger::connect(target.address())).collect();
    target.wait("evictions", |m| m.preauth_connections == CAP as u64);
    eventually("92 evictions", || target.accepted(Evicted) == 92);
    for evicted in &mut crowd[..92] {
        evicted.expect_end();
    }
    assert!(crowd[92..].iter().all(Stranger::is_open_and_quiet), "the newest wait on");

    let mut replica = Stranger::join(target.address(), &TRUE, 1, US);
    assert!(target.up(1).1);
    replica.ping();
    crowd[92].expect_end();
    assert!(crowd[93..].iter().all(Stranger::is_open_and_quiet), "one place was enough");
    target.wait_accepted(&[(Joined, 1), (Evicted, 93)]);
    drop(crowd);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    target.wait_accepted(&[(Joined, 1), (Evicted, 93), (Io, 7)]);
    target.shutdown();
}

#[test]
fn a_stranger_that_has_sent_a_hello_is_evicted_like_any_other() {
    let target = target();
    let mut first = Stranger::connect(target.address());
    let finish = first.prove(&TRUE, 1, US);
    let crowd: Vec<_> = (0..CAP).map(|_| Stranger::connect(target.address())).collect();
    first.expect_end();
    let _ = first.try_write(finish.as_bytes());
    target.wait_accepted(&[(Evicted, 1)]);
    assert!(crowd.iter().all(Stranger::is_open_and_quiet));
    assert!(target.rest().is_empty());
    target.shutdown();
}

#[test]
fn established_links_take_no_room_and_are_never_evicted() {
    let target = target();
    let mut links = [1, 2].map(|id| Stranger::join(target.address(), &TRUE, id, US));
    for id in [1, 2] {
        target.up(id);
    }
    let crowd: Vec<_> = (0..3 * CAP).map(|_| Stranger::connect(target.address())).collect();
    target.wait_accepted(&[(Joined, 2), (Evicted, 2 * CAP as u64)]);
    links.iter_mut().for_each(Stranger::ping);
    drop(crowd);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    links.iter_mut().for_each(Stranger::ping);
    target.shutdown();
}

#[test]
fn a_crowd_that_stays_silent_is_gone_after_hello_grace() {
    let setup = Setup::new(US).callers([1]).graces(200, 400).shards(2);
    let target = setup.start();
    let mut crowd: Vec<_> = (0..100).map(|_| Stranger::connect(target.address())).collect();
    crowd.iter_mut().for_each(|stranger| {
        stranger.expect_end();
    });
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    target.wait_accepted(&[(Timeout, 100)]);
    target.shutdown();
}
