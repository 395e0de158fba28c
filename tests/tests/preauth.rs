//! Who may wait for a handshake, and who has to go.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use ringseal::HandshakeResult::{Evicted, Io, Ok as Joined, Timeout};
use ringseal::{Environment, Eviction, Lane, Reason, System, Tag};
use ringseal_tests::address;
use ringseal_tests::cluster::Net;
use ringseal_tests::script::Listen;
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, eventually};

const US: u8 = 3;

/// Room for 4 members, 4 from the roster's address, which is 127.0.0.1, and 8 others.
const CAP: usize = 16;
const OTHERS: usize = 8;

fn target() -> Target {
    let setup = Setup::new(US).callers([1, 2]).graces(60_000, 60_000);
    setup.limits(|limits| limits.preauth_connections = CAP).start()
}

/// Someone from an address that nobody else comes from.
fn stranger(target: &Target) -> Stranger {
    Stranger::connect_from(address::unused().ip(), target.address())
}

/// So many strangers, each from an address of its own, in the order in which they are accepted.
fn crowd(target: &Target, count: usize) -> Vec<Stranger> {
    (0..count).map(|_| stranger(target)).collect()
}

fn evictions(target: &Target, lane: Lane) -> u64 {
    target.metrics().evictions(lane, Eviction::Room)
}

#[test]
fn the_oldest_stranger_makes_room_and_a_member_joins() {
    let target = target();
    let mut crowd = crowd(&target, 60);
    eventually("52 evictions", || evictions(&target, Lane::Other) == 52);
    for evicted in &mut crowd[..52] {
        evicted.expect_end();
    }
    assert!(crowd[52..].iter().all(Stranger::is_open_and_quiet), "the newest wait on");

    let member = stranger(&target).join_as_member(&TRUE, 1, US);
    assert!(target.up(1).1);
    member.expect("at the first attempt").ping();
    crowd[52].expect_end();
    assert!(crowd[53..].iter().all(Stranger::is_open_and_quiet), "one place was enough");
    target.wait_accepted(&[(Joined, 1), (Evicted, 53)]);
    drop(crowd);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    target.wait_accepted(&[(Joined, 1), (Evicted, 53), (Io, 7)]);
    assert_eq!(evictions(&target, Lane::Member) + evictions(&target, Lane::Roster), 0);
    target.shutdown();
}

#[test]
fn members_join_at_their_first_attempt_however_fast_strangers_come() {
    let target = target();
    let address = target.address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = |chatty: bool| {
            let mut crowd = std::collections::VecDeque::new();
            while !over.load(Relaxed) {
                // It may be evicted on the spot.
                let stranger = Stranger::try_connect_from(address::unused().ip(), address);
                let Ok(mut stranger) = stranger else { continue };
                if chatty {
                    let _ = stranger.try_write(TRUE.hello(2).as_bytes());
                }
                crowd.push_back(stranger);
                if crowd.len() > 50 {
                    crowd.pop_front();
                }
            }
        };
        scope.spawn(move || flood(false));
        scope.spawn(move || flood(true));
        target.wait("a flood", |m| m.evictions(Lane::Other, Eviction::Room) > 100);
        let joins = (0..20).map(|_| {
            let mut member = stranger(&target).join_as_member(&TRUE, 1, US)?;
            target.up(1);
            member.ping();
            drop(member);
            assert_eq!(target.down(1), Reason::Eof);
            Ok(())
        });
        let joins: Result<Vec<()>, String> = joins.collect();
        over.store(true, Relaxed);
        joins.expect("every attempt succeeds");
    });
    assert_eq!(target.accepted(Joined), 20);
    assert_eq!(target.metrics().hello_tags(Tag::Fresh), 20);
    assert_eq!(evictions(&target, Lane::Member), 0);
    target.shutdown();
}

#[test]
fn a_replayed_tag_buys_nothing() {
    let target = target();
    let hello = TRUE.tagged_hello(1, US, System.unix_ms() + 1000);
    let replays: Vec<_> = (0..=OTHERS + 5)
        .map(|_| {
            let mut stranger = stranger(&target);
            stranger.write(hello.as_bytes());
            stranger.read_header().expect("a Challenge, for the handshake ignores the tag");
            stranger
        })
        .collect();
    let metrics = target.metrics();
    assert_eq!(metrics.hello_tags(Tag::Fresh), 1);
    assert_eq!(metrics.hello_tags(Tag::Stale), replays.len() as u64 - 1);
    assert_eq!(evictions(&target, Lane::Other), 5, "they wait among all the others");
    assert_eq!(evictions(&target, Lane::Member), 0);
    assert!(replays[0].is_open_and_quiet(), "the member waits on its own");
    target.shutdown();
}

#[test]
fn a_tag_from_another_time_or_with_another_secret_keeps_nobody_from_joining() {
    let target = target();
    let mut member = stranger(&target);
    let an_hour_ago = System.unix_ms() - 3_600_000;
    let finish = member.try_prove_at(&TRUE, (1, US), Some(an_hour_ago)).expect("challenged");
    member.write(finish.as_bytes());
    target.up(1);
    let mut tampered = TRUE.tagged_hello(2, US, System.unix_ms() + 1000);
    tampered.reserved_command_mut()[80] ^= 1;
    let mut other = stranger(&target);
    other.write(tampered.as_bytes());
    other.read_header().expect("a Challenge");
    let metrics = target.metrics();
    let tags = Tag::ALL.map(|tag| metrics.hello_tags(tag));
    assert_eq!(tags, [0, 1, 1, 0], "{:?}", Tag::ALL);
    target.shutdown();
}

#[test]
fn a_bus_shows_its_membership_at_every_dial() {
    let net = Net::new(&[0, 1]);
    let one = net.start(1, || Listen);
    // Only what is sent after the acceptor's start counts as fresh, and time has milliseconds: the
    // first dial may be too early by less than one.
    for _ in 0..2 {
        let zero = net.start(0, || Listen);
        zero.wait_for_link(1);
        one.wait_for_link(0);
        zero.shutdown();
    }
    let metrics = one.metrics();
    assert!(metrics.hello_tags(Tag::Fresh) > 0);
    assert_eq!(metrics.hello_tags(Tag::Wrong) + metrics.hello_tags(Tag::Absent), 0);
}

#[test]
fn the_rosters_addresses_have_room_of_their_own() {
    let target = target();
    let mut replica = Stranger::connect(target.address());
    target.wait("it waits", |m| m.preauth_connections == 1);
    let crowd = crowd(&target, 10 * OTHERS);
    eventually("evictions", || evictions(&target, Lane::Other) == 9 * OTHERS as u64);
    assert!(replica.is_open_and_quiet());
    let finish = replica.prove(&TRUE, 1, US);
    replica.write(finish.as_bytes());
    target.up(1);
    assert_eq!(evictions(&target, Lane::Roster), 0);
    drop(crowd);
    target.shutdown();
}

#[test]
fn a_frame_that_lacks_a_byte_is_silence() {
    let target = target();
    let hello = TRUE.tagged_hello(1, US, System.unix_ms() + 1000);
    let mut silent = stranger(&target);
    silent.write(&hello.as_bytes()[..255]);
    let crowd = crowd(&target, OTHERS);
    silent.expect_end();
    assert_eq!(target.metrics().hello_tags(Tag::Fresh), 0);

    let mut whole = stranger(&target);
    whole.write(&hello.as_bytes()[..255]);
    whole.write(&hello.as_bytes()[255..]);
    whole.read_header().expect("a Challenge");
    target.wait_accepted(&[(Evicted, 2)]);
    drop(crowd);
    target.shutdown();
}

#[test]
fn of_many_who_have_spoken_the_oldest_goes() {
    let target = target();
    let mut spoken: Vec<_> = (0..OTHERS)
        .map(|_| {
            let mut stranger = stranger(&target);
            let finish = stranger.prove(&TRUE, 1, US);
            (stranger, finish)
        })
        .collect();
    let newcomer = stranger(&target);
    let (mut first, finish) = spoken.remove(0);
    first.expect_end();
    let _ = first.try_write(finish.as_bytes());
    target.wait_accepted(&[(Evicted, 1)]);
    assert!(newcomer.is_open_and_quiet());
    assert!(target.rest().is_empty());
    target.shutdown();
}

#[test]
fn a_source_that_comes_too_often_stands_back_behind_others() {
    let target = Setup::new(US).callers([1]).graces(60_000, 60_000);
    let target = target.limits(|limits| limits.preauth_connections = 64).start();
    let patient = crowd(&target, 10);
    let source: IpAddr = address::unused().ip();
    let often: Vec<_> =
        (0..100).map(|_| Stranger::connect_from(source, target.address())).collect();
    eventually("32 wait", || evictions(&target, Lane::Other) == 110 - 32);
    assert!(patient.iter().all(Stranger::is_open_and_quiet), "none of them had to go");
    drop(often);
    target.shutdown();
}

#[test]
fn established_links_take_no_room_and_are_never_evicted() {
    let target = target();
    let mut links = [1, 2].map(|id| Stranger::join(target.address(), &TRUE, id, US));
    for id in [1, 2] {
        target.up(id);
    }
    let crowd = crowd(&target, 3 * OTHERS);
    target.wait_accepted(&[(Joined, 2), (Evicted, 2 * OTHERS as u64)]);
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
