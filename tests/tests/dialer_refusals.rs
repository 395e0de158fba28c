//! What answers a dialer wrongly: counted by name, shown no proof, and never dialled in a tight loop.

use std::time::{Duration, Instant};

use ringseal::HandshakeResult::{
    self, AuthRequired, ClusterMismatch, DirectionalRule, Io, MacMismatch, Malformed, Timeout,
    UnknownCommand,
};
use ringseal::auth::cluster_id;
use ringseal::{Command, Header, Reason, ReplicaId, Role};
use ringseal_tests::stranger::{Credentials, SECRET, Stranger, TRUE, Trap, random};
use ringseal_tests::target::Setup;

const US: u8 = 1;
const PEER: u8 = 2;

/// An answer to a Hello: the bytes to send.
type Answer = fn(&Header) -> Vec<u8>;

fn spoiled(hello: &Header, spoil: impl FnOnce(&mut Header) -> &mut Header) -> Vec<u8> {
    spoil(&mut TRUE.challenge(PEER, hello)).as_bytes().to_vec()
}

/// Changes the bytes of `reserved_command` from `at` on.
fn put<'a>(frame: &'a mut Header, at: usize, bytes: &[u8]) -> &'a mut Header {
    frame.reserved_command_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn refusal(status: u8) -> Vec<u8> {
    TRUE.refusal(PEER, status).as_bytes().to_vec()
}

/// Everything that is no true Challenge, and its label. The trap closes behind each.
const ANSWERS: [(&str, Answer, HandshakeResult); 21] = [
    ("nothing", |_| vec![], Io),
    ("a part", |hello| TRUE.challenge(PEER, hello).as_bytes()[..255].to_vec(), Io),
    ("a wrong secret", |hello| impostor(hello), MacMismatch),
    ("a wrong MAC", |hello| spoiled(hello, |c| put(c, 40, &[0; 4])), MacMismatch),
    ("a reflected nonce", |hello| reflection(hello), MacMismatch),
    ("the Hello", |hello| hello.as_bytes().to_vec(), UnknownCommand),
    ("unknown_command", |_| refusal(1), UnknownCommand),
    ("cluster_mismatch", |_| refusal(2), ClusterMismatch),
    ("directional_rule", |_| refusal(3), DirectionalRule),
    ("auth_required", |_| refusal(4), AuthRequired),
    ("mac_mismatch", |_| refusal(5), MacMismatch),
    ("an unknown status", |_| refusal(77), Malformed),
    ("a true proof with a status", |h| spoiled(h, |c| put(c, 64, &[2])), ClusterMismatch),
    ("garbage", |_| random::<256>().to_vec(), Malformed),
    ("a zero nonce", |h| spoiled(h, |c| put(c, 0, &[0; 32])), AuthRequired),
    ("a body", |h| spoiled(h, |c| c.set_size(257)), Malformed),
    ("4 GiB", |h| spoiled(h, |c| c.set_size(u32::MAX)), Malformed),
    ("a Ping", |h| spoiled(h, |c| c.set_command(Command::PING)), UnknownCommand),
    ("a Finish", |h| spoiled(h, |c| c.set_command(Command::REPLICA_FINISH)), UnknownCommand),
    ("a cluster", |h| spoiled(h, |c| c.set_cluster(cluster_id("x"))), ClusterMismatch),
    ("a replica", |h| spoiled(h, |c| c.set_replica(ReplicaId::new(3))), DirectionalRule),
];

fn impostor(hello: &Header) -> Vec<u8> {
    let wrong = Credentials { secret: SECRET + 1, ..TRUE };
    wrong.challenge(PEER, hello).as_bytes().to_vec()
}

fn reflection(hello: &Header) -> Vec<u8> {
    spoiled(hello, |challenge| put(challenge, 0, &hello.reserved_command()[..32]))
}

/// Takes a dial, answers it, and checks that nothing comes back.
fn answer(caller: &mut Stranger, answer: Answer) {
    let hello = caller.read_header().expect("a Hello");
    assert_eq!(hello.command(), Command::REPLICA_HELLO);
    assert_eq!(hello.replica(), ReplicaId::new(US));
    // The dialer may be gone before we end our direction, but it must not have spoken again.
    caller.write(&answer(&hello));
    let _ = caller.stream().shutdown(std::net::Shutdown::Write);
    caller.expect_end();
}

#[test]
fn every_wrong_answer_is_counted_by_name_and_gets_no_finish() {
    let trap = Trap::open();
    let short = Duration::from_millis(10);
    let setup = Setup::new(US).peer(PEER, trap.address());
    let target = setup.limits(|limits| limits.reconnect_period = short).start();
    let mut expected: Vec<(HandshakeResult, u64)> = Vec::new();
    for (what, with, result) in ANSWERS {
        answer(&mut trap.accept(), with);
        match expected.iter_mut().find(|(found, _)| *found == result) {
            Some((_, count)) => *count += 1,
            None => expected.push((result, 1)),
        }
        let count = expected.iter().find(|(found, _)| *found == result).map_or(0, |(_, n)| *n);
        target
            .wait(&format!("{result} for {what}"), |m| m.handshakes(Role::Dialer, result) >= count);
        target.wait_handshakes(Role::Dialer, &expected);
    }
    assert!(target.rest().is_empty(), "no link was made");

    // The peer is dialled again all the same, and is welcome once it proves itself.
    let mut peer = trap.accept();
    assert!(peer.admit(&TRUE, PEER).authenticated());
    assert!(target.up(PEER).1);
    peer.ping();
    drop(peer);
    assert_eq!(target.down(PEER), Reason::Eof);
    target.shutdown();
}

/// Has the trap end `DIALS` dials by `end` and measures the waits between them.
fn waits(period: Duration, grace: Duration, end: fn(Stranger)) {
    const DIALS: usize = 7;
    let trap = Trap::open();
    let setup = Setup::new(US).peer(PEER, trap.address()).limits(|limits| {
        limits.reconnect_period = period;
        limits.handshake_grace = grace;
        limits.hello_grace = grace;
    });
    let target = setup.start();
    let mut step = Duration::from_millis(50).min(period);
    let mut ended: Option<Instant> = None;
    let mut late = 0;
    for dial in 0..DIALS {
        let caller = trap.accept();
        let now = Instant::now();
        if let Some(ended) = ended {
            let wait = now - ended;
            assert!(wait >= step / 2, "dial {dial} came after {wait:?} of {step:?}");
            late += usize::from(wait > step + SLACK);
            step = (step * 2).min(period);
        }
        // Taken before the end, so that a wait can only look longer than it was.
        ended = Some(Instant::now());
        end(caller);
    }
    assert!(late < DIALS / 2, "{late} of {} dials came late", DIALS - 1);
    target.wait("dials are counted", |m| m.reconnects >= DIALS as u64 - 1);
    target.shutdown();
}

/// What a busy machine may add to most waits. Nothing makes one shorter.
const SLACK: Duration = Duration::from_millis(400);
const PERIOD: Duration = Duration::from_millis(300);
const GRACE: Duration = Duration::from_secs(10);

#[test]
fn a_peer_that_hangs_up_is_not_dialled_in_a_tight_loop() {
    waits(PERIOD, GRACE, drop);
}

#[test]
fn a_peer_that_refuses_is_not_dialled_in_a_tight_loop() {
    waits(PERIOD, GRACE, |mut caller| answer(&mut caller, |_| refusal(3)));
}

#[test]
fn an_impostor_is_not_dialled_in_a_tight_loop() {
    waits(PERIOD, GRACE, |mut caller| answer(&mut caller, impostor));
}

#[test]
fn a_peer_that_resets_is_not_dialled_in_a_tight_loop() {
    waits(PERIOD, GRACE, |mut caller| {
        let _ = caller.read_header();
        caller.reset();
    });
}

#[test]
fn a_peer_that_admits_and_hangs_up_is_not_dialled_in_a_tight_loop() {
    waits(PERIOD, GRACE, |mut caller| {
        let _ = caller.admit(&TRUE, PEER);
    });
}

#[test]
fn a_silent_peer_is_dialled_again_after_the_deadline_and_a_wait() {
    let trap = Trap::open();
    let setup = Setup::new(US).peer(PEER, trap.address()).graces(100, 150);
    let target = setup.limits(|limits| limits.reconnect_period = PERIOD).start();
    let mut last = None;
    for dial in 1..4 {
        let mut caller = trap.accept();
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            let least = Duration::from_millis(150 + 25);
            // The dialer's clock starts before the connection reaches us, if only a little.
            let slack = Duration::from_millis(20);
            assert!(now - last + slack >= least, "dialled again after {:?}", now - last);
        }
        caller.read_header().expect("a Hello");
        caller.expect_end();
        target.wait("a timeout", |m| m.handshakes(Role::Dialer, Timeout) >= dial);
    }
    target.shutdown();
}
