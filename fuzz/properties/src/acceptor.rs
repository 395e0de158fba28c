//! The acceptor's side of a handshake.

use ringseal_auth::{
    Acceptor, AcceptorError, AwaitFinish, Enforcement, HandshakeResult, HelloStep, Leniency, Nonce,
    tag,
};
use ringseal_wire::{Command, Header, HeaderView, ReplicaId};

use crate::handshake::{
    ACCEPTOR, DIALER, NO_NONCE, Proof, SIZE, Settings, TaggedHello, mac_of, nonce_of, put, tag_of,
    time_of,
};
use crate::input::Input;

const TIME_MS: u64 = 1_700_000_000_000;

/// Whatever a dialer sends, an acceptor takes it as the protocol says: it succeeds only with a valid
/// MAC, draws randomness only for a challenge, and tells a refused peer no more than its status.
///
/// Input: the settings that both sides share; then the dialer's two frames, each with the number of its
/// changes before it and either 256 bytes or these changes to a genuine one, depending on a flag.
/// Without a second frame the dialer closes the connection.
pub fn acceptor(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(settings) = Settings::read(&mut input) else { return };
    let Some(nonce) = Nonce::new(settings.acceptor_nonce) else { return };
    let keys = settings.keys();
    let ours = settings.identity(settings.acceptor, &keys);

    let edits = input.byte();
    let hello = settings.peers_frame(hello_of(&settings), edits, &mut input);
    let hello = hello.as_view();
    check_tag(&settings, &keys, hello);

    let mut drawn = false;
    let in_roster = |id| !(settings.has(Settings::STRANGER) && id == settings.dialer);
    let step = Acceptor::new(ours).on_hello(hello, in_roster, || {
        drawn = true;
        nonce
    });
    let refusal = refusal(&settings, hello, in_roster);
    match step {
        HelloStep::Refused { answer, error } => {
            assert_eq!(Some(error), refusal);
            assert_ne!(error.result(), HandshakeResult::Ok);
            assert!(!error.to_string().is_empty());
            let told = answer_to(&settings, hello, error);
            assert_eq!(answer.map(|frame| *frame.as_bytes()), told.map(|frame| *frame.as_bytes()));
        }
        HelloStep::Admitted(outcome) => {
            assert_eq!(refusal, None);
            assert!(outcome.peer() == hello.replica() && !outcome.authenticated());
            let asked = settings.enforcement();
            assert_ne!(asked, Some(Enforcement::Enforce), "no success without a valid MAC");
            assert_eq!(outcome.leniency(), asked.map(|_| Leniency::AuthRequired));
            assert!(asked.is_none() || nonce_of(hello) == NO_NONCE);
        }
        HelloStep::Challenge { frame, next } => {
            assert_eq!(refusal, None);
            assert!(drawn && settings.enforcement().is_some());
            assert_eq!(frame.as_bytes(), challenge_of(&settings, hello).as_bytes());
            return finish(&settings, hello, next, input);
        }
    }
    assert!(!drawn, "a nonce is drawn for a challenge only");
}

fn finish(settings: &Settings, hello: HeaderView<'_>, next: AwaitFinish<'_>, mut input: Input<'_>) {
    let peer = hello.replica();
    assert_eq!(next.peer(), peer);
    if input.is_empty() {
        assert_eq!(next.on_close(), AcceptorError::ChallengeAbandoned { peer });
        return;
    }
    let proof = proof(settings, hello, DIALER);
    let mut genuine = settings.frame(Command::REPLICA_FINISH, peer);
    put(&mut genuine, 32, &settings.peers_mac(&proof));
    let edits = input.byte();
    let frame = settings.peers_frame(genuine, edits, &mut input);
    let frame = frame.as_view();

    let key = settings.key_of(mac_of(frame), &proof);
    let soft = settings.enforcement() == Some(Enforcement::Soft);
    let sound = unsound(settings, frame, Command::REPLICA_FINISH).or_else(|| {
        let (hello, finish) = (peer, frame.replica());
        (hello != finish).then_some(AcceptorError::IdentityChanged { hello, finish })
    });
    let refusal =
        sound.or_else(|| (key.is_none() && !soft).then_some(AcceptorError::MacMismatch { peer }));
    match next.on_finish(frame) {
        Ok(outcome) => {
            assert_eq!(refusal, None);
            assert_eq!(outcome.peer(), peer);
            assert_eq!(outcome.authenticated(), key.is_some(), "proven by a valid MAC alone");
            assert_eq!(outcome.key(), key);
            let lenient = key.is_none().then_some(Leniency::MacMismatch);
            assert_eq!(outcome.leniency(), lenient);
        }
        Err(error) => {
            assert_eq!(Some(error), refusal);
            assert_ne!(error.result(), HandshakeResult::Ok);
        }
    }
}

/// What is wrong with any handshake frame: size, command, cluster, in this order.
fn unsound(settings: &Settings, frame: HeaderView<'_>, expected: Command) -> Option<AcceptorError> {
    let (ours, theirs) = (settings.cluster, frame.cluster());
    if frame.size() != SIZE {
        Some(AcceptorError::Malformed { size: frame.size() })
    } else if frame.command() != expected {
        Some(AcceptorError::UnexpectedCommand { command: frame.command(), expected })
    } else if ours != theirs {
        Some(AcceptorError::ClusterMismatch { ours, theirs })
    } else {
        None
    }
}

/// Why this Hello has to be refused, if it has to.
fn refusal(
    settings: &Settings,
    hello: HeaderView<'_>,
    in_roster: impl Fn(ReplicaId) -> bool,
) -> Option<AcceptorError> {
    if let Some(error) = unsound(settings, hello, Command::REPLICA_HELLO) {
        return Some(error);
    }
    let (peer, ours) = (hello.replica(), settings.acceptor);
    if !in_roster(peer) {
        Some(AcceptorError::NotInRoster { peer })
    } else if peer.get() >= ours.get() {
        Some(AcceptorError::DirectionalRule { peer, ours })
    } else if settings.enforcement() == Some(Enforcement::Enforce) && nonce_of(hello) == NO_NONCE {
        Some(AcceptorError::AuthRequired { peer })
    } else {
        None
    }
}

/// What a peer that is refused for this reason is sent: nothing, unless it waits for an answer.
fn answer_to(settings: &Settings, hello: HeaderView<'_>, error: AcceptorError) -> Option<Header> {
    let status = match error {
        AcceptorError::UnexpectedCommand { .. } => 1,
        AcceptorError::ClusterMismatch { .. } => 2,
        AcceptorError::NotInRoster { .. } | AcceptorError::DirectionalRule { .. } => 3,
        _ => return None,
    };
    assert_eq!(error.status().map(|status| status.to_byte()), Some(status));
    let waits = settings.enforcement().is_some() && nonce_of(hello) != NO_NONCE;
    waits.then(|| {
        let mut answer = settings.frame(Command::REPLICA_CHALLENGE, settings.acceptor);
        put(&mut answer, 64, &[status]);
        answer
    })
}

/// A tag shows membership exactly when it was made with one of our secrets.
fn check_tag(settings: &Settings, keys: &ringseal_auth::KeyRing, hello: HeaderView<'_>) {
    let nonce = nonce_of(hello);
    let shown = hello.size() == SIZE
        && hello.command() == Command::REPLICA_HELLO
        && nonce != NO_NONCE
        && tag_of(hello) != [0; 16];
    let tag = tag::read_tag(hello);
    assert_eq!(tag.is_some(), shown);
    if let Some(tag) = tag {
        let verified = tag.verify(keys, settings.cluster, settings.acceptor);
        let (dialer, time_ms) = (hello.replica(), time_of(hello));
        let member = settings.is_tag(tag_of(hello), &TaggedHello { dialer, nonce, time_ms });
        assert_eq!(verified.is_some(), member);
    }
}

fn proof(settings: &Settings, hello: HeaderView<'_>, direction: u8) -> Proof {
    Proof {
        dialer: hello.replica(),
        acceptor: settings.acceptor,
        dialer_nonce: nonce_of(hello),
        acceptor_nonce: settings.acceptor_nonce,
        direction,
    }
}

fn hello_of(settings: &Settings) -> Header {
    let (dialer, nonce) = (settings.dialer, settings.dialer_nonce);
    let mut hello = settings.frame(Command::REPLICA_HELLO, dialer);
    put(&mut hello, 0, &nonce);
    if settings.has(Settings::TAGGED) {
        let tag = settings.peers_tag(&TaggedHello { dialer, nonce, time_ms: TIME_MS });
        put(&mut hello, 72, &TIME_MS.to_le_bytes());
        put(&mut hello, 80, &tag);
    }
    hello
}

fn challenge_of(settings: &Settings, hello: HeaderView<'_>) -> Header {
    let mut challenge = settings.frame(Command::REPLICA_CHALLENGE, settings.acceptor);
    put(&mut challenge, 0, &settings.acceptor_nonce);
    put(&mut challenge, 32, &settings.our_mac(&proof(settings, hello, ACCEPTOR)));
    challenge
}
