//! Off, soft and enforce against each other, on either side of a link, and both transcripts.

use std::thread;
use std::time::{Duration, Instant};

use ringseal::HandshakeResult::{
    AuthRequired, ChallengeAbandoned, MacMismatch, Ok as Joined, Timeout,
};
use ringseal::{Auth, Command, Enforcement, Frame, Header, KeyRing, Leniency, Reason, Transcript};
use ringseal_tests::stranger::{Credentials, SECRET, Stranger, TRUE, Trap, secret};
use ringseal_tests::target::{Setup, Target, enforce, soft};

/// Two buses: 1 dials 2.
fn pair(dialer: Auth, acceptor: Auth) -> (Target, Target) {
    let graces = |setup: Setup| setup.graces(200, 600);
    let acceptor = graces(Setup::new(2).callers([1]).auth(acceptor)).start();
    let setup = graces(Setup::new(1).peer(2, acceptor.address()).auth(dialer));
    (setup.start(), acceptor)
}

fn with(secret_byte: u8, enforcement: Enforcement, transcript: Transcript) -> Auth {
    Auth::On { keys: KeyRing::new(&secret(secret_byte), None), enforcement, transcript }
}

fn leniencies(target: &Target, leniency: Leniency) -> u64 {
    let metrics = target.metrics();
    metrics.soft_admissions.iter().find(|(found, _)| *found == leniency).expect("listed").1
}

/// Expects a link between two buses, and what each of them thinks of it.
fn expect_link(dialer: Auth, acceptor: Auth, authenticated: bool, lenient: [u64; 2]) {
    let what = format!("{dialer:?} dials {acceptor:?}");
    let (dialer, acceptor) = pair(dialer, acceptor);
    assert_eq!(dialer.up(2).1, authenticated, "{what}");
    assert_eq!(acceptor.up(1).1, authenticated, "{what}");
    for (from, to, id) in [(&dialer, &acceptor, 2), (&acceptor, &dialer, 1)] {
        let frame = Frame::new(Header::new(Command::COMMIT), vec![id; 900].into()).expect("small");
        from.bus.send(id.into(), frame.clone()).expect("the link is up");
        assert_eq!(to.frame(3 - id), frame, "{what}");
    }
    for (target, lenient) in [(&dialer, lenient[0]), (&acceptor, lenient[1])] {
        assert_eq!(leniencies(target, Leniency::AuthRequired), lenient, "{what}");
        assert_eq!(leniencies(target, Leniency::MacMismatch), 0, "{what}");
    }
    dialer.shutdown();
    acceptor.shutdown();
}

#[test]
fn nobody_authenticates_where_one_side_does_not_and_nobody_insists() {
    expect_link(Auth::Off, Auth::Off, false, [0, 0]);
    expect_link(Auth::Off, soft(), false, [0, 1]);
    expect_link(soft(), Auth::Off, false, [1, 0]);
}

#[test]
fn everybody_authenticates_where_both_sides_can() {
    for (dialer, acceptor) in
        [(soft(), soft()), (soft(), enforce()), (enforce(), soft()), (enforce(), enforce())]
    {
        expect_link(dialer, acceptor, true, [0, 0]);
    }
}

#[test]
fn an_enforcing_acceptor_refuses_a_plain_dialer() {
    let (dialer, acceptor) = pair(Auth::Off, enforce());
    acceptor.wait("refused", |_| acceptor.accepted(AuthRequired) >= 2);
    assert_eq!(acceptor.accepted(Joined), 0);
    // For a plain dialer the link is up with its Hello, until it is told otherwise.
    assert!(!dialer.up(2).1);
    assert_eq!(dialer.down(2), Reason::Eof);
    assert!(acceptor.rest().is_empty());
    dialer.shutdown();
    acceptor.shutdown();
}

#[test]
fn an_enforcing_dialer_refuses_a_plain_acceptor() {
    let (dialer, acceptor) = pair(enforce(), Auth::Off);
    dialer.wait("no answer", |_| dialer.dialed(Timeout) >= 1);
    assert_eq!(dialer.dialed(Joined), 0);
    assert!(!acceptor.up(1).1);
    acceptor.down(1);
    assert!(dialer.rest().is_empty());
    dialer.shutdown();
    acceptor.shutdown();
}

#[test]
fn a_wrong_secret_is_refused_whatever_the_policy() {
    for enforcement in [Enforcement::Soft, Enforcement::Enforce] {
        let wrong = with(SECRET + 1, enforcement, Transcript::Current);
        let (dialer, acceptor) = pair(wrong, soft());
        dialer.wait("refused", |_| dialer.dialed(MacMismatch) >= 2);
        acceptor.wait("abandoned", |_| acceptor.accepted(ChallengeAbandoned) >= 2);
        assert!(dialer.rest().is_empty() && acceptor.rest().is_empty());
        dialer.shutdown();
        acceptor.shutdown();
    }
}

#[test]
fn both_transcripts_are_spoken_and_never_mixed() {
    let speak = |transcript| with(SECRET, Enforcement::Enforce, transcript);
    for form in [Transcript::Current, Transcript::Pr3425] {
        expect_link(speak(form), speak(form), true, [0, 0]);
    }
    let forms = [Transcript::Current, Transcript::Pr3425];
    for (ours, theirs) in [(forms[0], forms[1]), (forms[1], forms[0])] {
        let (dialer, acceptor) = pair(speak(ours), speak(theirs));
        dialer.wait("refused", |_| dialer.dialed(MacMismatch) >= 1);
        acceptor.wait("abandoned", |_| acceptor.accepted(ChallengeAbandoned) >= 1);
        dialer.shutdown();
        acceptor.shutdown();
    }
}

#[test]
fn a_stranger_of_the_older_transcript_joins_its_own_kind() {
    let older = Credentials { transcript: Transcript::Pr3425, ..TRUE };
    let auth = with(SECRET, Enforcement::Enforce, Transcript::Pr3425);
    let target = Setup::new(2).callers([1]).auth(auth).start();
    let mut stranger = Stranger::join(target.address(), &older, 1, 2);
    assert!(target.up(1).1);
    stranger.ping();
    target.shutdown();
}

#[test]
fn a_soft_acceptor_admits_a_wrong_proof_and_counts_it() {
    let target = Setup::new(2).callers([1]).auth(soft()).start();
    let mut stranger = Stranger::connect(target.address());
    let mut finish = stranger.prove(&TRUE, 1, 2);
    finish.reserved_command_mut()[40] ^= 1;
    stranger.write(finish.as_bytes());
    assert!(!target.up(1).1);
    stranger.ping();
    assert_eq!(leniencies(&target, Leniency::MacMismatch), 1);
    assert_eq!(leniencies(&target, Leniency::AuthRequired), 0);
    assert!(!target.bus.peers()[0].link.expect("up").authenticated);
    target.wait_accepted(&[(Joined, 1)]);
    target.shutdown();
}

const HELLO: Duration = Duration::from_millis(200);

/// A soft dialer that has said Hello to a trap.
fn soft_dialer() -> (Target, Stranger, Header) {
    let trap = Trap::open();
    let target = Setup::new(1).peer(2, trap.address()).auth(soft()).graces(200, 5_000).start();
    let mut caller = trap.accept();
    let hello = caller.read_header().expect("a Hello");
    (target, caller, hello)
}

#[test]
fn a_soft_dialer_takes_silence_for_a_plain_link() {
    let (target, mut caller, _) = soft_dialer();
    let began = Instant::now();
    assert!(!target.up(2).1);
    // The dialer's clock may have started a little before ours.
    assert!(began.elapsed() + HELLO / 4 >= HELLO, "up after {:?}", began.elapsed());
    caller.ping();
    assert_eq!(leniencies(&target, Leniency::AuthRequired), 1);
    target.shutdown();
}

#[test]
fn a_soft_dialer_delivers_the_frame_that_came_instead_of_a_challenge() {
    for body in [0, 1, 300, 200_000] {
        let (target, mut caller, _) = soft_dialer();
        let first = Frame::new(Header::new(Command::PREPARE), vec![3; body].into());
        let second = Frame::new(Header::new(Command::COMMIT), vec![4; 10].into());
        let (first, second) = (first.expect("small"), second.expect("small"));
        caller.write(&[first.to_bytes(), second.to_bytes()].concat());
        assert!(!target.up(2).1);
        assert!(target.frame(2) == first && target.frame(2) == second, "body {body}");
        caller.ping();
        target.shutdown();
    }
}

#[test]
fn a_soft_dialer_delivers_a_first_frame_that_arrives_in_pieces() {
    // The pieces straddle the moment at which the dialer stops waiting for a Challenge, or do not.
    for pause in [HELLO / 20, HELLO * 2] {
        for cut in [1, 52, 128, 255, 256, 257, 500] {
            let (target, mut caller, _) = soft_dialer();
            let header = Header::new(Command::PREPARE);
            let first = Frame::new(header, vec![5; 1000].into()).expect("small").to_bytes();
            caller.write(&first[..cut]);
            thread::sleep(pause);
            caller.write(&first[cut..]);
            assert!(!target.up(2).1);
            assert!(target.frame(2).to_bytes() == first, "cut at {cut}, pause {pause:?}");
            caller.ping();
            target.shutdown();
        }
    }
}

#[test]
fn a_challenge_that_comes_late_ends_a_soft_link() {
    for early in [0, 100] {
        let (target, mut caller, hello) = soft_dialer();
        let challenge = *TRUE.challenge(2, &hello).as_bytes();
        caller.write(&challenge[..early]);
        assert!(!target.up(2).1);
        caller.write(&challenge[early..]);
        assert_eq!(target.down(2), Reason::ProtocolError);
        caller.expect_end();
        target.shutdown();
    }
}

#[test]
fn a_soft_dialer_still_refuses_an_impostor() {
    let (target, mut caller, hello) = soft_dialer();
    let wrong = Credentials { secret: SECRET + 1, ..TRUE };
    caller.write(wrong.challenge(2, &hello).as_bytes());
    caller.expect_end();
    target.wait("refused", |_| target.dialed(MacMismatch) == 1);
    assert!(target.rest().is_empty());
    target.shutdown();
}
