//! Peers that vanish without a word, on networks of the tests' own whose cables can be pulled.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringseal::{Command, Frame, Header, Reason, ReplicaId};
use ringseal_tests::netns::{HUB, Lab};
use ringseal_tests::stranger::{End, Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, eventually};

const US: u8 = 3;

/// How long a replica that has come back may have to wait for its link.
const BACK: Duration = Duration::from_secs(4);

/// How long a silent death may go unnoticed, and what a busy machine may add.
const NOTICED: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(1);

fn lab() -> Option<(Lab, Target)> {
    let lab = Lab::new(2)?;
    let any = ([0, 0, 0, 0], 0).into();
    let setup = Setup::new(US).callers([1, 2]).shards(2).listen(any);
    let target = lab.inside(HUB, || setup.start());
    Some((lab, target))
}

fn join(lab: &Lab, target: &Target, host: u8) -> Stranger {
    let mut stranger = Stranger::new(lab.connect(host, target.address().port()));
    let finish = stranger.prove(&TRUE, 1, US);
    stranger.write(finish.as_bytes());
    stranger
}

/// The peer is gone without a word and comes back elsewhere: it is linked in time, and its first link ends.
fn lose_power_and_come_back(lab: &Lab, target: &Target) {
    lab.unplug(1);
    let back = Instant::now();
    let mut second = join(lab, target, 2);
    target.up(1);
    assert!(back.elapsed() < BACK, "linked after {:?}", back.elapsed());
    assert_eq!(target.down(1), Reason::Superseded);
    second.ping();
}

#[test]
fn a_replica_that_lost_power_and_comes_back_elsewhere_is_linked_within_4s() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lose_power_and_come_back(&lab, &target);
    target.shutdown();
}

#[test]
fn a_busy_replica_that_lost_power_is_linked_again_within_4s_too() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lab.unplug(1);
    send(&target, 100);
    let back = Instant::now();
    let mut second = join(&lab, &target, 2);
    target.up(1);
    assert!(back.elapsed() < BACK, "linked after {:?}", back.elapsed());
    assert_eq!(target.down(1), Reason::Superseded);
    second.ping();
    target.shutdown();
}

#[test]
fn a_replica_that_lost_power_and_reboots_is_linked_within_4s() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lab.unplug(1);
    // The old socket is gone, and nobody has heard of its end.
    first.reset();
    lab.plug(1);
    let back = Instant::now();
    let mut second = join(&lab, &target, 1);
    target.up(1);
    assert!(back.elapsed() < BACK, "linked after {:?}", back.elapsed());
    let reason = target.down(1);
    assert!(matches!(reason, Reason::Reset | Reason::Superseded), "{reason:?}");
    second.ping();
    target.shutdown();
}

#[test]
fn a_living_link_survives_held_newcomers_until_it_dies() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    let (incarnation, _) = target.up(1);
    let began = Instant::now();
    let mut idle = join(&lab, &target, 2);
    assert_eq!(idle.expect_end(), End::Eof);
    assert!(began.elapsed() < BACK, "held for {:?}", began.elapsed());
    first.ping();

    let mut busy = join(&lab, &target, 2);
    eventually("the newcomer is hung up on", || {
        first.ping();
        !busy.is_open_and_quiet()
    });
    assert_eq!(busy.expect_end(), End::Eof);
    first.ping();
    assert_eq!(target.bus.peers()[0].link.expect("up").incarnation, incarnation);
    assert!(target.rest().is_empty());

    // Having been alive then is no help later.
    lose_power_and_come_back(&lab, &target);
    target.shutdown();
}

/// Frames that the peer owes an acknowledgement for.
fn send(target: &Target, frames: usize) {
    let body = Bytes::from_static(&[7; 1000]);
    for _ in 0..frames {
        let frame = Frame::new(Header::new(Command::PREPARE), body.clone()).expect("small");
        target.bus.send(ReplicaId::new(1), frame).expect("the link seems to be up");
    }
}

#[test]
fn a_silent_death_on_an_idle_link_is_noticed() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lab.unplug(1);
    let began = Instant::now();
    assert_eq!(target.down(1), Reason::Keepalive);
    assert!(began.elapsed() < NOTICED + SLACK, "noticed after {:?}", began.elapsed());
    target.shutdown();
}

#[test]
fn a_silent_death_on_a_busy_link_is_noticed() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lab.unplug(1);
    let began = Instant::now();
    send(&target, 1000);
    assert_eq!(target.down(1), Reason::Keepalive);
    assert!(began.elapsed() < NOTICED + SLACK, "noticed after {:?}", began.elapsed());
    target.wait("what was lost is counted", |m| m.frames_dropped(Reason::Keepalive) > 0);
    target.shutdown();
}

#[test]
fn a_short_outage_breaks_no_link() {
    let Some((lab, target)) = lab() else { return };
    let mut first = join(&lab, &target, 1);
    target.up(1);
    first.ping();
    lab.unplug(1);
    send(&target, 10);
    std::thread::sleep(Duration::from_millis(1500));
    lab.plug(1);
    for _ in 0..10 {
        assert_eq!(first.read_frame().expect("it was only delayed").command(), Command::PREPARE);
    }
    first.ping();
    assert!(target.rest().is_empty());
    target.shutdown();
}
