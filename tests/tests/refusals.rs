//! Who is refused at the port: what is sent back, and what is counted.

use ringseal::HandshakeResult::{
    self, AuthRequired, ChallengeAbandoned, ClusterMismatch, DirectionalRule, Io, MacMismatch,
    Malformed, Ok as Joined, UnknownCommand,
};
use ringseal::wire::ClusterId;
use ringseal::{Auth, Command, Header, ReplicaId};
use ringseal_tests::stranger::{Credentials, End, SECRET, Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, enforce, soft};

/// The target's id; 1 and 2 may call it, 4 may not, and it knows nobody else.
const US: u8 = 3;

fn target(auth: Auth) -> Target {
    Setup::new(US).callers([1, 2, 4]).auth(auth).start()
}

/// First frames that are refused, why, and the status of the answer that a dialer with a nonce gets.
fn bad_hellos() -> Vec<(Header, HandshakeResult, Option<u8>)> {
    let hello = |change: fn(&mut Header) -> &mut Header| change(&mut TRUE.hello(1)).clone();
    vec![
        (hello(|h| h.set_command(Command::PING)), UnknownCommand, Some(1)),
        (hello(|h| h.set_command(Command::REPLICA_CHALLENGE)), UnknownCommand, Some(1)),
        (hello(|h| h.set_command(Command::REPLICA_FINISH)), UnknownCommand, Some(1)),
        (hello(|h| h.set_command(Command::new(255))), UnknownCommand, Some(1)),
        (hello(|h| h.set_cluster(ClusterId::new(7))), ClusterMismatch, Some(2)),
        (TRUE.hello(9), DirectionalRule, Some(3)),
        (TRUE.hello(4), DirectionalRule, Some(3)),
        (TRUE.hello(US), DirectionalRule, Some(3)),
        (hello(|h| h.set_size(0)), Malformed, None),
        (hello(|h| h.set_size(255)), Malformed, None),
        (hello(|h| h.set_size(257)), Malformed, None),
        (hello(|h| h.set_size(u32::MAX)), Malformed, None),
        // Of two faults, the one that is checked first is named.
        (hello(|h| h.set_size(300).set_command(Command::PING)), Malformed, None),
        (
            hello(|h| h.set_command(Command::PING).set_cluster(ClusterId::new(7))),
            UnknownCommand,
            Some(1),
        ),
        (
            hello(|h| h.set_cluster(ClusterId::new(7)).set_replica(ReplicaId::new(9))),
            ClusterMismatch,
            Some(2),
        ),
    ]
}

fn without_nonce(mut hello: Header) -> Header {
    hello.reserved_command_mut().fill(0);
    hello
}

/// Sends `hello` and checks the answer, the end and the count.
fn expect_refusal(target: &Target, hello: &Header, result: HandshakeResult, status: Option<u8>) {
    let before = target.accepted(result);
    let mut stranger = Stranger::connect(target.address());
    stranger.write(hello.as_bytes());
    if let Some(status) = status {
        assert_eq!(
            stranger.read_header().expect("a refusal").as_bytes(),
            TRUE.refusal(US, status).as_bytes(),
            "{hello:?}"
        );
    }
    assert_eq!(stranger.expect_end(), End::Eof, "{hello:?}");
    target.wait(&format!("{result} for {hello:?}"), |_| target.accepted(result) == before + 1);
}

fn expect_nothing_else(target: Target, counted: &[(HandshakeResult, u64)]) {
    target.wait_accepted(counted);
    target.wait("nobody waits", |m| m.preauth_connections == 0 && m.links_up == 0);
    let rest = target.rest();
    assert!(rest.is_empty(), "the handler was told: {rest:?}");
    target.shutdown();
}

#[test]
fn a_dialer_with_a_nonce_is_told_why_and_one_without_is_not() {
    for auth in [enforce(), soft()] {
        let target = target(auth);
        for (hello, result, status) in bad_hellos() {
            expect_refusal(&target, &hello, result, status);
            expect_refusal(&target, &without_nonce(hello), result, None);
        }
        let counted =
            [(UnknownCommand, 10), (ClusterMismatch, 4), (DirectionalRule, 6), (Malformed, 10)];
        expect_nothing_else(target, &counted);
    }
}

#[test]
fn a_node_without_authentication_answers_nobody() {
    let target = target(Auth::Off);
    for (hello, result, _) in bad_hellos() {
        expect_refusal(&target, &hello, result, None);
    }
    let counted = [(UnknownCommand, 5), (ClusterMismatch, 2), (DirectionalRule, 3), (Malformed, 5)];
    expect_nothing_else(target, &counted);
}

#[test]
fn a_dialer_that_does_not_authenticate_is_refused_without_a_word() {
    let target = target(enforce());
    expect_refusal(&target, &TRUE.plain_hello(1), AuthRequired, None);
    // A foreign cluster or id is the graver fault.
    expect_refusal(&target, &TRUE.plain_hello(9), DirectionalRule, None);
    expect_nothing_else(target, &[(AuthRequired, 1), (DirectionalRule, 1)]);
}

#[test]
fn what_is_glued_to_a_bad_hello_does_not_turn_its_refusal_into_a_reset() {
    let target = target(enforce());
    for _ in 0..20 {
        let mut stranger = Stranger::connect(target.address());
        let mut bytes = TRUE.hello(9).as_bytes().to_vec();
        bytes.resize(256 + 20_000, 0x11);
        stranger.write(&bytes);
        let refusal = stranger.read_header().expect("a refusal");
        assert_eq!(refusal, TRUE.refusal(US, 3));
        assert_eq!(stranger.expect_end(), End::Eof);
    }
    expect_nothing_else(target, &[(DirectionalRule, 20)]);
}

fn flip(frame: &mut Header, at: usize, bits: u8) -> &mut Header {
    frame.reserved_command_mut()[at] ^= bits;
    frame
}

fn clear(frame: &mut Header) -> &mut Header {
    frame.reserved_command_mut().fill(0);
    frame
}

#[test]
fn a_wrong_second_frame_is_refused_without_a_word() {
    let target = target(enforce());
    type Spoil = fn(&mut Header) -> &mut Header;
    let cases: [(Spoil, HandshakeResult); 9] = [
        (|f| flip(f, 32, 1), MacMismatch),
        (|f| flip(f, 63, 0x80), MacMismatch),
        (|f| clear(f), MacMismatch),
        (|f| f.set_command(Command::PING), UnknownCommand),
        (|f| f.set_command(Command::REPLICA_HELLO), UnknownCommand),
        (|f| f.set_size(257), Malformed),
        (|f| f.set_size(u32::MAX), Malformed),
        (|f| f.set_cluster(ClusterId::new(7)), ClusterMismatch),
        (|f| f.set_replica(ReplicaId::new(2)), Malformed),
    ];
    for (spoil, result) in cases {
        let before = target.accepted(result);
        let mut stranger = Stranger::connect(target.address());
        let mut finish = stranger.prove(&TRUE, 1, US);
        spoil(&mut finish);
        stranger.write(finish.as_bytes());
        assert_eq!(stranger.expect_end(), End::Eof, "{finish:?}");
        target.wait(&format!("{result}"), |_| target.accepted(result) == before + 1);
    }
    let counted = [(MacMismatch, 3), (UnknownCommand, 2), (Malformed, 3), (ClusterMismatch, 1)];
    expect_nothing_else(target, &counted);
}

#[test]
fn proofs_cannot_be_replayed_or_reflected() {
    let target = target(enforce());
    let mut first = Stranger::connect(target.address());
    let recorded = first.prove(&TRUE, 1, US);
    first.write(recorded.as_bytes());
    target.up(1);
    drop(first);
    target.down(1);

    let hello = TRUE.hello(1);
    let mut replayer = Stranger::connect(target.address());
    replayer.write(hello.as_bytes());
    let challenge = replayer.read_header().expect("a Challenge");
    replayer.write(recorded.as_bytes());
    assert_eq!(replayer.expect_end(), End::Eof);

    let mut reflector = Stranger::connect(target.address());
    reflector.write(hello.as_bytes());
    let again = reflector.read_header().expect("a Challenge");
    let nonce = |frame: &Header| frame.reserved_command()[..32].to_vec();
    assert_ne!(nonce(&again), nonce(&challenge), "every attempt has a nonce of its own");
    let mut mirrored = TRUE.frame(Command::REPLICA_FINISH, 1);
    mirrored.reserved_command_mut()[32..64].copy_from_slice(&again.reserved_command()[32..64]);
    reflector.write(mirrored.as_bytes());
    assert_eq!(reflector.expect_end(), End::Eof);
    expect_nothing_else(target, &[(Joined, 1), (MacMismatch, 2)]);
}

#[test]
fn a_dialer_that_leaves_at_the_challenge_has_abandoned_it() {
    let target = target(enforce());
    let wrong = Credentials { secret: SECRET + 1, ..TRUE };
    let mut closes = Stranger::connect(target.address());
    let refusal = closes.try_prove(&wrong, 1, US).expect_err("the secrets differ");
    assert!(refusal.contains("proof is wrong"), "{refusal}");
    drop(closes);
    target.wait_accepted(&[(ChallengeAbandoned, 1)]);

    let mut half_closes = Stranger::connect(target.address());
    let finish = half_closes.prove(&TRUE, 1, US);
    half_closes.write(&finish.as_bytes()[..255]);
    half_closes.finish();
    assert_eq!(half_closes.expect_end(), End::Eof);
    target.wait_accepted(&[(ChallengeAbandoned, 2)]);

    let mut resets = Stranger::connect(target.address());
    let _ = resets.prove(&TRUE, 1, US);
    resets.reset();
    expect_nothing_else(target, &[(ChallengeAbandoned, 3)]);
}

#[test]
fn a_dialer_that_leaves_before_its_hello_is_an_io_error() {
    let target = target(enforce());
    drop(Stranger::connect(target.address()));
    target.wait_accepted(&[(Io, 1)]);
    let mut half = Stranger::connect(target.address());
    half.write(&TRUE.hello(1).as_bytes()[..255]);
    drop(half);
    target.wait_accepted(&[(Io, 2)]);
    let mut resets = Stranger::connect(target.address());
    resets.write(&[1]);
    resets.reset();
    expect_nothing_else(target, &[(Io, 3)]);
}
