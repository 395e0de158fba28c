//! What an outsider can do to a handshake: nothing that ends in a link.
//!
//! The attacker here owns the network. It reads, changes, repeats and redirects frames at will; it
//! does not know the secret.

use ringseal_auth::{
    Acceptor, AcceptorError, Auth, AwaitChallenge, AwaitFinish, Binding, Dialer, DialerError,
    DialerNext, DialerStep, Direction, Enforcement, Exchange, HelloStep, Identity, KeyRing,
    LinkIds, Mac, Nonce, Outcome, Secret, Transcript,
};
use ringseal_wire::{ClusterId, Header, ReplicaId};

const CLUSTER: ClusterId = ClusterId::new(7);
const OTHER_CLUSTER: ClusterId = ClusterId::new(8);
const ONE: ReplicaId = ReplicaId::new(1);
const TWO: ReplicaId = ReplicaId::new(2);
const THREE: ReplicaId = ReplicaId::new(3);

const NONCE_D: u8 = 0xd1;
const NONCE_A: u8 = 0xac;

/// One side's settings; everything that the two sides have to agree on can be set apart.
#[derive(Clone, Copy)]
struct Side {
    replica: ReplicaId,
    cluster: ClusterId,
    secret: u8,
    transcript: Transcript,
    binding: Binding,
}

const DIALER: Side = Side {
    replica: ONE,
    cluster: CLUSTER,
    secret: 0x5a,
    transcript: Transcript::Current,
    binding: Binding::Plaintext,
};
const ACCEPTOR: Side = Side { replica: TWO, ..DIALER };

impl Side {
    fn keys(self) -> KeyRing {
        KeyRing::new(&Secret::new(vec![self.secret; 32]).expect("32 bytes"), None)
    }

    fn identity(self, keys: &KeyRing) -> Identity<'_> {
        let (enforcement, transcript) = (Enforcement::Enforce, self.transcript);
        let auth = Auth::On { keys, enforcement, transcript };
        Identity::new(self.cluster, self.replica, auth).with_binding(self.binding)
    }
}

fn dial(ours: Identity<'_>, peer: ReplicaId, nonce_byte: u8) -> (Header, AwaitChallenge<'_>) {
    let dialer = Dialer::new(ours, peer).expect("the lower id");
    let (hello, DialerNext::AwaitChallenge(next)) = dialer.start(nonce(nonce_byte), None) else {
        panic!("authentication is on")
    };
    (hello, next)
}

/// Gives the Hello to an acceptor whose roster holds every id.
fn accept<'k>(ours: Identity<'k>, hello: &Header, nonce_byte: u8) -> HelloStep<'k> {
    Acceptor::new(ours).on_hello(hello.as_view(), |_| true, || nonce(nonce_byte))
}

fn challenged<'k>(ours: Identity<'k>, hello: &Header, nonce_byte: u8) -> (Header, AwaitFinish<'k>) {
    let HelloStep::Challenge { frame, next } = accept(ours, hello, nonce_byte) else {
        panic!("the Hello is right")
    };
    (frame, next)
}

fn nonce(byte: u8) -> Nonce {
    Nonce::new([byte; 32]).expect("not zero")
}

/// How a handshake ended for both sides. An acceptor whose dialer fails sees the connection close.
struct Ends {
    dialer: Result<Outcome, DialerError>,
    acceptor: Result<Outcome, AcceptorError>,
}

impl Ends {
    fn both_succeeded(&self) -> bool {
        let dialer = self.dialer.is_ok_and(|outcome| outcome.authenticated());
        dialer && self.acceptor.is_ok_and(|outcome| outcome.authenticated())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Hello,
    Challenge,
    Finish,
}

const STEPS: [Step; 3] = [Step::Hello, Step::Challenge, Step::Finish];

/// Runs a handshake in which every frame passes through `tamper` on its way.
fn run(dialer: Side, acceptor: Side, tamper: impl Fn(Step, &mut Header)) -> Ends {
    let (dialer_keys, acceptor_keys) = (dialer.keys(), acceptor.keys());
    let (mut hello, dialing) = dial(dialer.identity(&dialer_keys), TWO, NONCE_D);
    tamper(Step::Hello, &mut hello);
    let (mut challenge, accepting) =
        match accept(acceptor.identity(&acceptor_keys), &hello, NONCE_A) {
            HelloStep::Challenge { frame, next } => (frame, next),
            HelloStep::Admitted(outcome) => {
                return Ends { dialer: dialing.on_silence(), acceptor: Ok(outcome) };
            }
            HelloStep::Refused { answer, error } => {
                let dialer = match answer {
                    Some(answer) => dialing.on_frame(answer.as_view()).map(finished),
                    None => dialing.on_silence(),
                };
                return Ends { dialer, acceptor: Err(error) };
            }
        };
    tamper(Step::Challenge, &mut challenge);
    match dialing.on_frame(challenge.as_view()) {
        Err(error) => Ends { dialer: Err(error), acceptor: Err(accepting.on_close()) },
        Ok(DialerStep::Plain { outcome }) => {
            Ends { dialer: Ok(outcome), acceptor: Err(accepting.on_close()) }
        }
        Ok(DialerStep::Finish { mut frame, outcome }) => {
            tamper(Step::Finish, &mut frame);
            Ends { dialer: Ok(outcome), acceptor: accepting.on_finish(frame.as_view()) }
        }
    }
}

fn finished(step: DialerStep) -> Outcome {
    match step {
        DialerStep::Finish { outcome, .. } | DialerStep::Plain { outcome } => outcome,
    }
}

fn untouched(_: Step, _: &mut Header) {}

/// Runs a handshake in which one bit of one frame is flipped on its way.
fn run_with_flip(step: Step, bit: usize) -> Ends {
    run(DIALER, ACCEPTOR, |at, frame| {
        if at == step {
            let mut bytes = *frame.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            *frame = Header::from_bytes(bytes);
        }
    })
}

/// Whether receivers of `step` look at this byte of the frame.
fn is_read(step: Step, byte: usize) -> bool {
    let (nonce, mac, status) = (128..160, 160..192, 192..193);
    let (cluster, size, command_and_replica) = (32..48, 48..52, 60..62);
    [cluster, size, command_and_replica].iter().any(|field| field.contains(&byte))
        || match step {
            Step::Hello => nonce.contains(&byte),
            Step::Challenge => [nonce, mac, status].iter().any(|field| field.contains(&byte)),
            Step::Finish => mac.contains(&byte),
        }
}

#[test]
fn an_untouched_handshake_succeeds() {
    assert!(run(DIALER, ACCEPTOR, untouched).both_succeeded());
    let sealed = Binding::TlsExporter([0xee; 32]);
    let (dialer, acceptor) =
        (Side { binding: sealed, ..DIALER }, Side { binding: sealed, ..ACCEPTOR });
    assert!(run(dialer, acceptor, untouched).both_succeeded());
}

#[test]
fn a_flipped_bit_that_is_read_never_ends_in_success_where_it_arrives() {
    let mut flips = 0;
    for step in STEPS {
        for bit in (0..2048).filter(|bit| is_read(step, bit / 8)) {
            let Ends { dialer, acceptor } = run_with_flip(step, bit);
            match step {
                Step::Hello | Step::Finish => assert!(acceptor.is_err(), "{step:?} bit {bit}"),
                Step::Challenge => assert!(dialer.is_err(), "{step:?} bit {bit}"),
            }
            if step == Step::Hello {
                assert!(dialer.is_err(), "nobody answers a changed Hello well: bit {bit}");
            }
            flips += 1;
        }
    }
    assert_eq!(flips, 8 * (3 * 22 + 32 + 65 + 32));
}

#[test]
fn a_flipped_bit_that_is_ignored_changes_nothing() {
    for step in STEPS {
        for bit in (0..2048).filter(|bit| !is_read(step, bit / 8)) {
            assert!(run_with_flip(step, bit).both_succeeded(), "{step:?} bit {bit}");
        }
    }
}

#[test]
fn the_dialers_nonce_is_not_taken_for_the_acceptors() {
    let ends = run(DIALER, ACCEPTOR, |step, frame| {
        if step == Step::Challenge {
            frame.reserved_command_mut()[..32].fill(NONCE_D);
        }
    });
    assert_eq!(ends.dialer, Err(DialerError::Reflected));
}

#[test]
fn the_acceptors_proof_is_not_taken_for_the_dialers() {
    let keys = DIALER.keys();
    let (hello, _) = dial(DIALER.identity(&keys), TWO, NONCE_D);
    let (challenge, accepting) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    let mut reflected = challenge;
    reflected.set_command(ringseal_wire::Command::REPLICA_FINISH).set_replica(ONE);
    let error = accepting.on_finish(reflected.as_view()).expect_err("a reflection");
    assert_eq!(error, AcceptorError::MacMismatch { peer: ONE });
}

#[test]
fn a_recorded_challenge_is_worth_nothing_to_the_next_hello() {
    let keys = DIALER.keys();
    let (hello, _) = dial(DIALER.identity(&keys), TWO, NONCE_D);
    let (recorded, _) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    let (_, dialing) = dial(DIALER.identity(&keys), TWO, NONCE_D + 1);
    let error = dialing.on_frame(recorded.as_view()).expect_err("a replay");
    assert_eq!(error, DialerError::MacMismatch);
}

#[test]
fn a_recorded_finish_is_worth_nothing_to_the_next_challenge() {
    let keys = DIALER.keys();
    let (hello, dialing) = dial(DIALER.identity(&keys), TWO, NONCE_D);
    let (challenge, _) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    let Ok(DialerStep::Finish { frame: recorded, .. }) = dialing.on_frame(challenge.as_view())
    else {
        panic!("the Challenge is right")
    };
    let (_, accepting) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A + 1);
    let error = accepting.on_finish(recorded.as_view()).expect_err("a replay");
    assert_eq!(error, AcceptorError::MacMismatch { peer: ONE });
}

#[test]
fn a_hello_relayed_to_another_replica_does_not_fool_the_dialer() {
    let keys = DIALER.keys();
    let (hello, dialing) = dial(DIALER.identity(&keys), THREE, NONCE_D);
    let (answer, _) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    let error = dialing.on_frame(answer.as_view()).expect_err("another replica's answer");
    assert_eq!(error, DialerError::WrongPeer { dialed: THREE, answered: TWO });

    let (hello, dialing) = dial(DIALER.identity(&keys), THREE, NONCE_D);
    let (mut renamed, _) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    renamed.set_replica(THREE);
    let error = dialing.on_frame(renamed.as_view()).expect_err("its proof names replica 2");
    assert_eq!(error, DialerError::MacMismatch);
}

#[test]
fn ids_are_proven_in_their_order() {
    let keys = DIALER.keys();
    let (hello, dialing) = dial(DIALER.identity(&keys), TWO, NONCE_D);
    let (mut challenge, accepting) = challenged(ACCEPTOR.identity(&keys), &hello, NONCE_A);
    let swapped = Exchange {
        ids: LinkIds { cluster: CLUSTER, dialer: TWO, acceptor: ONE },
        dialer_nonce: [NONCE_D; 32],
        acceptor_nonce: [NONCE_A; 32],
        binding: Binding::Plaintext,
    };
    let right =
        Exchange { ids: LinkIds { cluster: CLUSTER, dialer: ONE, acceptor: TWO }, ..swapped };
    let mac_of = |exchange: &Exchange, direction| wire_mac(&keys, exchange, direction);
    assert_eq!(challenge.reserved_command()[32..64], mac_of(&right, Direction::Acceptor));

    let put = |frame: &mut Header, mac: [u8; 32]| {
        frame.reserved_command_mut()[32..64].copy_from_slice(&mac);
    };
    put(&mut challenge, mac_of(&swapped, Direction::Acceptor));
    let error = dialing.on_frame(challenge.as_view()).expect_err("swapped ids");
    assert_eq!(error, DialerError::MacMismatch);

    let mut finish = Header::new(ringseal_wire::Command::REPLICA_FINISH);
    finish.set_cluster(CLUSTER).set_replica(ONE);
    put(&mut finish, mac_of(&swapped, Direction::Dialer));
    let error = accepting.on_finish(finish.as_view()).expect_err("swapped ids");
    assert_eq!(error, AcceptorError::MacMismatch { peer: ONE });
}

/// The bytes of a MAC, computed beside the crate, which shows them only on the wire.
fn wire_mac(keys: &KeyRing, exchange: &Exchange, direction: Direction) -> [u8; 32] {
    let secret = [DIALER.secret; 32];
    let key = blake3::derive_key("apache-iggy replica-auth v1 psk->mac-key", &secret);
    let mut input = b"apache-iggy replica-auth v1".to_vec();
    input.extend(exchange.ids.cluster.get().to_le_bytes());
    input.extend([exchange.ids.dialer.get(), exchange.ids.acceptor.get()]);
    input.extend(exchange.dialer_nonce);
    input.extend(exchange.acceptor_nonce);
    input.extend([0; 33]);
    input.push(direction as u8);
    let mac = *blake3::keyed_hash(&key, &input).as_bytes();
    assert!(keys.mac(Transcript::Current, exchange, direction) == Mac::new(mac));
    mac
}

#[test]
fn another_cluster_is_told_so() {
    let ends = run(DIALER, Side { cluster: OTHER_CLUSTER, ..ACCEPTOR }, untouched);
    let (ours, theirs) = (CLUSTER, OTHER_CLUSTER);
    assert_eq!(ends.dialer, Err(DialerError::ClusterMismatch { ours, theirs }));
    let (ours, theirs) = (OTHER_CLUSTER, CLUSTER);
    assert_eq!(ends.acceptor, Err(AcceptorError::ClusterMismatch { ours, theirs }));
}

#[test]
fn rewriting_the_cluster_on_the_way_does_not_join_two() {
    let ends = run(DIALER, Side { cluster: OTHER_CLUSTER, ..ACCEPTOR }, |step, frame| {
        let theirs = if step == Step::Challenge { CLUSTER } else { OTHER_CLUSTER };
        frame.set_cluster(theirs);
    });
    assert_eq!(ends.dialer, Err(DialerError::MacMismatch));
    assert_eq!(ends.acceptor, Err(AcceptorError::ChallengeAbandoned { peer: ONE }));
}

#[test]
fn what_the_macs_cover_has_to_be_the_same_on_both_sides() {
    let tls = |byte| Binding::TlsExporter([byte; 32]);
    let bound = |binding| Side { binding, ..ACCEPTOR };
    for (what, dialer, acceptor) in [
        ("secret", DIALER, Side { secret: 0x5b, ..ACCEPTOR }),
        ("form", DIALER, Side { transcript: Transcript::Pr3425, ..ACCEPTOR }),
        ("form", Side { transcript: Transcript::Pr3425, ..DIALER }, ACCEPTOR),
        ("channel", DIALER, bound(tls(1))),
        ("channel", Side { binding: tls(1), ..DIALER }, ACCEPTOR),
        ("channel", Side { binding: tls(1), ..DIALER }, bound(tls(2))),
        ("mode", DIALER, bound(tls(0))),
    ] {
        let ends = run(dialer, acceptor, untouched);
        assert_eq!(ends.dialer, Err(DialerError::MacMismatch), "{what}");
        let abandoned = AcceptorError::ChallengeAbandoned { peer: ONE };
        assert_eq!(ends.acceptor, Err(abandoned), "{what}");
    }
}

#[test]
fn the_lower_id_dials_and_nobody_else() {
    let keys = DIALER.keys();
    for peer in [ONE, ReplicaId::new(0)] {
        let error = Dialer::new(DIALER.identity(&keys), peer).expect_err("not lower");
        assert_eq!(error, DialerError::NotOursToDial { ours: ONE, peer });
    }
    for peer in [TWO, THREE, ReplicaId::new(255)] {
        let (mut hello, _) = dial(DIALER.identity(&keys), TWO, NONCE_D);
        hello.set_replica(peer);
        let step = accept(ACCEPTOR.identity(&keys), &hello, NONCE_A);
        let HelloStep::Refused { error, .. } = step else { panic!("{peer} is not lower") };
        assert_eq!(error, AcceptorError::DirectionalRule { peer, ours: TWO });
    }
}

#[test]
fn the_roster_is_asked_about_the_dialer() {
    let keys = DIALER.keys();
    let (hello, _) = dial(DIALER.identity(&keys), TWO, NONCE_D);
    let step = Acceptor::new(ACCEPTOR.identity(&keys)).on_hello(
        hello.as_view(),
        |id| id != ONE,
        || panic!("a refusal draws no randomness"),
    );
    let HelloStep::Refused { error, .. } = step else { panic!("not in the roster") };
    assert_eq!(error, AcceptorError::NotInRoster { peer: ONE });
}

#[test]
fn a_replica_keeps_its_id_through_a_handshake() {
    let ends = run(DIALER, ACCEPTOR, |step, frame| {
        if step == Step::Finish {
            frame.set_replica(ReplicaId::new(0));
        }
    });
    let changed = AcceptorError::IdentityChanged { hello: ONE, finish: ReplicaId::new(0) };
    assert_eq!(ends.acceptor, Err(changed));
}
