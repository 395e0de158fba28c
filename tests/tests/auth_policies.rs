//! How off, soft and enforce meet, how a secret is rotated, and who is told what.

use ringseal_auth::{
    Acceptor, AcceptorError, Auth, Dialer, DialerError, DialerNext, DialerStep, Enforcement,
    HelloStep, Identity, KeyRing, Leniency, Nonce, Outcome, Policy, Secret, Status, Transcript,
    Which,
};
use ringseal_wire::{ClusterId, Command, Header, ReplicaId};

const CLUSTER: ClusterId = ClusterId::new(7);
const ONE: ReplicaId = ReplicaId::new(1);
const TWO: ReplicaId = ReplicaId::new(2);

fn ring(current: u8, previous: Option<u8>) -> KeyRing {
    let secret = |byte| Secret::new(vec![byte; 32]).expect("32 bytes");
    KeyRing::new(&secret(current), previous.map(secret).as_ref())
}

fn identity(replica: ReplicaId, policy: Policy, keys: &KeyRing) -> Identity<'_> {
    let auth = match policy.enforcement() {
        None => Auth::Off,
        Some(enforcement) => Auth::On { keys, enforcement, transcript: Transcript::Current },
    };
    Identity::new(CLUSTER, replica, auth)
}

fn nonce(byte: u8) -> Nonce {
    Nonce::new([byte; 32]).expect("not zero")
}

fn dialer(policy: Policy, keys: &KeyRing) -> (Header, DialerNext<'_>) {
    Dialer::new(identity(ONE, policy, keys), TWO).expect("the lower id").start(nonce(1), None)
}

fn acceptor(policy: Policy, keys: &KeyRing) -> Acceptor<'_> {
    Acceptor::new(identity(TWO, policy, keys))
}

/// What one side makes of the other, without the peer's id.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Up and proven.
    Proven(Which),
    /// Up because soft enforcement let it pass.
    Tolerated(Leniency),
    /// Up because authentication is off.
    Unasked,
    /// The label of a failure.
    Failed(&'static str),
}

fn end<E>(result: Result<Outcome, E>, label: impl FnOnce(E) -> &'static str) -> End {
    match result {
        Err(error) => End::Failed(label(error)),
        Ok(outcome) => {
            assert_eq!(outcome.authenticated(), outcome.key().is_some());
            match (outcome.key(), outcome.leniency()) {
                (Some(which), None) => End::Proven(which),
                (None, Some(leniency)) => End::Tolerated(leniency),
                (None, None) => End::Unasked,
                (Some(_), Some(_)) => panic!("proven and tolerated at once"),
            }
        }
    }
}

fn dialer_end(result: Result<Outcome, DialerError>) -> End {
    end(result, |error| error.result().as_str())
}

fn acceptor_end(result: Result<Outcome, AcceptorError>) -> End {
    end(result, |error| error.result().as_str())
}

/// Two replicas meet over an honest network; where the acceptor says nothing, the dialer's patience
/// runs out.
fn meet(dialer_side: (Policy, &KeyRing), acceptor_side: (Policy, &KeyRing)) -> (End, End) {
    let (hello, next) = dialer(dialer_side.0, dialer_side.1);
    let accepting = acceptor(acceptor_side.0, acceptor_side.1);
    let step = accepting.on_hello(hello.as_view(), |_| true, || nonce(2));
    let dialing = match next {
        DialerNext::AwaitChallenge(dialing) => dialing,
        DialerNext::Established(outcome) => {
            let accepted = match step {
                HelloStep::Admitted(outcome) => Ok(outcome),
                HelloStep::Refused { answer: None, error } => Err(error),
                other => panic!("a Hello without a nonce is never answered: {other:?}"),
            };
            return (dialer_end(Ok(outcome)), acceptor_end(accepted));
        }
    };
    match step {
        HelloStep::Admitted(outcome) => {
            (dialer_end(dialing.on_silence()), acceptor_end(Ok(outcome)))
        }
        HelloStep::Refused { error, .. } => panic!("a right Hello is not refused: {error}"),
        HelloStep::Challenge { frame, next } => match dialing.on_frame(frame.as_view()) {
            Err(error) => (dialer_end(Err(error)), acceptor_end(Err(next.on_close()))),
            Ok(DialerStep::Finish { frame, outcome }) => {
                (dialer_end(Ok(outcome)), acceptor_end(next.on_finish(frame.as_view())))
            }
            Ok(DialerStep::Plain { .. }) => panic!("a Challenge is part of a handshake"),
        },
    }
}

#[test]
fn every_two_policies_meet_as_the_table_says() {
    use End::{Failed, Proven, Tolerated, Unasked};
    use Leniency::AuthRequired;
    use Policy::{Enforce, Off, Soft};
    use Which::Current;
    let table = [
        ((Off, Off), (Unasked, Unasked)),
        ((Off, Soft), (Unasked, Tolerated(AuthRequired))),
        ((Off, Enforce), (Unasked, Failed("auth_required"))),
        ((Soft, Off), (Tolerated(AuthRequired), Unasked)),
        ((Soft, Soft), (Proven(Current), Proven(Current))),
        ((Soft, Enforce), (Proven(Current), Proven(Current))),
        ((Enforce, Off), (Failed("timeout"), Unasked)),
        ((Enforce, Soft), (Proven(Current), Proven(Current))),
        ((Enforce, Enforce), (Proven(Current), Proven(Current))),
    ];
    let keys = ring(1, None);
    for ((dialer, acceptor), ends) in table {
        assert_eq!(meet((dialer, &keys), (acceptor, &keys)), ends, "{dialer} dials {acceptor}");
    }
}

#[test]
fn different_secrets_never_make_a_link_between_nodes_that_authenticate() {
    let (ours, theirs) = (ring(1, None), ring(2, None));
    for dialer in [Policy::Soft, Policy::Enforce] {
        for acceptor in [Policy::Soft, Policy::Enforce] {
            let ends = meet((dialer, &ours), (acceptor, &theirs));
            let expected = (End::Failed("mac_mismatch"), End::Failed("challenge_abandoned"));
            assert_eq!(ends, expected, "{dialer} dials {acceptor}");
        }
    }
}

#[test]
fn a_wrong_finish_is_tolerated_by_soft_alone() {
    let keys = ring(1, None);
    for (policy, expected) in [
        (Policy::Soft, End::Tolerated(Leniency::MacMismatch)),
        (Policy::Enforce, End::Failed("mac_mismatch")),
    ] {
        let (hello, _) = dialer(policy, &keys);
        let step = acceptor(policy, &keys).on_hello(hello.as_view(), |_| true, || nonce(2));
        let HelloStep::Challenge { next, .. } = step else { panic!("the Hello is right") };
        let mut finish = Header::new(Command::REPLICA_FINISH);
        finish.set_cluster(CLUSTER).set_replica(ONE);
        assert_eq!(acceptor_end(next.on_finish(finish.as_view())), expected);
    }
}

/// What a dialer makes of the acceptor's first frame.
fn answered_with(policy: Policy, frame: &Header) -> Result<DialerStep, DialerError> {
    let keys = ring(1, None);
    let (_, DialerNext::AwaitChallenge(dialing)) = dialer(policy, &keys) else {
        panic!("authentication is on")
    };
    dialing.on_frame(frame.as_view())
}

#[test]
fn a_soft_dialer_takes_a_plain_frame_for_a_plain_link() {
    for number in (0..=u8::MAX).filter(|number| !(14..=16).contains(number)) {
        let command = Command::new(number);
        let mut frame = Header::new(command);
        frame.set_size(4096);
        let Ok(DialerStep::Plain { outcome }) = answered_with(Policy::Soft, &frame) else {
            panic!("{command} is not part of a handshake")
        };
        assert_eq!(outcome.peer(), TWO);
        assert_eq!(dialer_end(Ok(outcome)), End::Tolerated(Leniency::AuthRequired));

        frame.set_size(256);
        let error = answered_with(Policy::Enforce, &frame).expect_err("not a Challenge");
        assert_eq!(error, DialerError::UnexpectedCommand { command });
    }
}

#[test]
fn no_dialer_takes_another_handshake_frame_for_a_challenge() {
    for policy in [Policy::Soft, Policy::Enforce] {
        for command in [Command::REPLICA_HELLO, Command::REPLICA_FINISH] {
            let mut frame = Header::new(command);
            frame.set_cluster(CLUSTER).set_replica(TWO);
            let error = answered_with(policy, &frame).expect_err("not a Challenge");
            assert_eq!(error, DialerError::UnexpectedCommand { command });
        }
    }
}

#[test]
fn every_status_but_ok_is_a_refusal_even_to_a_soft_dialer() {
    for policy in [Policy::Soft, Policy::Enforce] {
        for byte in 1..=u8::MAX {
            let mut frame = Header::new(Command::REPLICA_CHALLENGE);
            frame.set_cluster(CLUSTER).set_replica(TWO);
            frame.reserved_command_mut()[64] = byte;
            let error = answered_with(policy, &frame).expect_err("a refusal");
            assert_eq!(error, DialerError::RefusedByPeer { status: Status::from_byte(byte) });
        }
    }
}

#[test]
fn neighbouring_steps_of_a_rotation_understand_each_other() {
    use Which::{Current, Previous};
    const OLD: u8 = 1;
    const NEW: u8 = 2;
    let steps = [ring(OLD, None), ring(OLD, Some(NEW)), ring(NEW, Some(OLD)), ring(NEW, None)];
    // Which of its own keys each step finds its neighbour's proof made with.
    let neighbours = [(Current, Current), (Previous, Previous), (Current, Current)];
    let policy = Policy::Enforce;
    for (pair, (left, right)) in steps.windows(2).zip(neighbours) {
        let [before, after] = pair else { panic!("windows of two") };
        let dialed = meet((policy, before), (policy, after));
        assert_eq!(dialed, (End::Proven(left), End::Proven(right)));
        let accepted = meet((policy, after), (policy, before));
        assert_eq!(accepted, (End::Proven(right), End::Proven(left)));
    }
}

#[test]
fn a_rotation_that_skips_its_first_step_loses_links() {
    let (old, new) = (ring(1, None), ring(2, Some(1)));
    let (dialed, _) = meet((Policy::Enforce, &old), (Policy::Enforce, &new));
    assert_eq!(dialed, End::Failed("mac_mismatch"));
}

/// A way to be refused: what the dialer sends, and what it is told.
struct Refusal {
    what: &'static str,
    change: fn(&mut Header),
    in_roster: bool,
    error: AcceptorError,
    status: Option<Status>,
}

const REFUSALS: [Refusal; 6] = [
    Refusal {
        what: "size comes first",
        change: |hello| {
            hello.set_size(257).set_command(Command::PING).set_cluster(ClusterId::new(8));
        },
        in_roster: false,
        error: AcceptorError::Malformed { size: 257 },
        status: None,
    },
    Refusal {
        what: "then the command",
        change: |hello| {
            hello.set_command(Command::PING).set_cluster(ClusterId::new(8));
        },
        in_roster: false,
        error: AcceptorError::UnexpectedCommand {
            command: Command::PING,
            expected: Command::REPLICA_HELLO,
        },
        status: Some(Status::UnknownCommand),
    },
    Refusal {
        what: "then the cluster",
        change: |hello| {
            hello.set_cluster(ClusterId::new(8));
        },
        in_roster: false,
        error: AcceptorError::ClusterMismatch { ours: CLUSTER, theirs: ClusterId::new(8) },
        status: Some(Status::ClusterMismatch),
    },
    Refusal {
        what: "then the roster",
        change: |_| {},
        in_roster: false,
        error: AcceptorError::NotInRoster { peer: ONE },
        status: Some(Status::DirectionalRule),
    },
    Refusal {
        what: "and the direction",
        change: |hello| {
            hello.set_replica(TWO);
        },
        in_roster: true,
        error: AcceptorError::DirectionalRule { peer: TWO, ours: TWO },
        status: Some(Status::DirectionalRule),
    },
    Refusal {
        what: "all before the nonce",
        change: |hello| hello.reserved_command_mut()[..32].fill(0),
        in_roster: true,
        error: AcceptorError::AuthRequired { peer: ONE },
        status: None,
    },
];

/// Runs one refusal and gives what is answered; `None` if the Hello is admitted.
fn refused(
    refusal: &Refusal,
    policy: Policy,
    with_nonce: bool,
) -> Option<(Option<Header>, AcceptorError)> {
    let keys = ring(1, None);
    let (mut hello, _) = dialer(Policy::Enforce, &keys);
    if !with_nonce {
        hello.reserved_command_mut()[..32].fill(0);
    }
    (refusal.change)(&mut hello);
    let no_nonce = || panic!("a refusal draws no randomness");
    let step = acceptor(policy, &keys).on_hello(hello.as_view(), |_| refusal.in_roster, no_nonce);
    match step {
        HelloStep::Refused { answer, error } => Some((answer, error)),
        HelloStep::Admitted(_) => None,
        HelloStep::Challenge { .. } => panic!("{}: challenged", refusal.what),
    }
}

#[test]
fn checks_run_in_order_and_only_a_waiting_peer_is_answered() {
    for refusal in &REFUSALS {
        for policy in Policy::ALL {
            for with_nonce in [false, true] {
                let context = format!("{} ({policy}, nonce: {with_nonce})", refusal.what);
                let Some((answer, error)) = refused(refusal, policy, with_nonce) else {
                    let expects_nonce = AcceptorError::AuthRequired { peer: ONE };
                    assert_eq!(refusal.error, expects_nonce, "{context}");
                    assert_ne!(policy, Policy::Enforce, "{context}");
                    continue;
                };
                assert_eq!(error, refusal.error, "{context}");
                let waits = with_nonce && policy != Policy::Off;
                let status = refusal.status.filter(|_| waits);
                assert_eq!(answer, status.map(refusal_frame), "{context}");
            }
        }
    }
}

/// A refusal, byte by byte.
fn refusal_frame(status: Status) -> Header {
    let mut bytes = [0; 256];
    bytes[32] = 7;
    bytes[48..52].copy_from_slice(&256_u32.to_le_bytes());
    bytes[60..62].copy_from_slice(&[15, 2]);
    bytes[192] = status.to_byte();
    Header::from_bytes(bytes)
}

#[test]
fn randomness_is_drawn_once_and_only_for_a_challenge() {
    let keys = ring(1, None);
    for (policy, with_nonce, expected) in [
        (Policy::Off, true, 0),
        (Policy::Off, false, 0),
        (Policy::Soft, false, 0),
        (Policy::Soft, true, 1),
        (Policy::Enforce, true, 1),
    ] {
        let mut drawn = 0;
        let (hello, _) = dialer(if with_nonce { Policy::Soft } else { Policy::Off }, &keys);
        let _ = acceptor(policy, &keys).on_hello(
            hello.as_view(),
            |_| true,
            || {
                drawn += 1;
                nonce(2)
            },
        );
        assert_eq!(drawn, expected, "{policy}, nonce: {with_nonce}");
    }
}

#[test]
fn enforcement_is_strict_unless_told_otherwise() {
    assert_eq!(Enforcement::default(), Enforcement::Enforce);
}
