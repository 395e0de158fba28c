//! The dialer's side of a handshake.

use ringseal_auth::{
    Dialer, DialerError, DialerNext, DialerStep, Enforcement, HandshakeResult, Leniency, Nonce,
    Outcome, Status,
};
use ringseal_wire::{Command, Header, HeaderView};

use crate::handshake::{
    ACCEPTOR, DIALER, NO_NONCE, Proof, SIZE, Settings, TaggedHello, mac_of, nonce_of, put,
    status_of,
};
use crate::input::Input;

const TIME_MS: u64 = 1_700_000_000_000;

/// Whatever an acceptor answers, a dialer takes it as the protocol says: it succeeds only with a valid
/// MAC, and only then shows its own.
///
/// Input: the settings that both sides share; then nothing, for an acceptor that stays silent, or its
/// answer, as 256 bytes or as a number of changes to a genuine one, depending on a flag.
pub fn dialer(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(settings) = Settings::read(&mut input) else { return };
    let keys = settings.keys();
    let (ours, peer) = (settings.dialer, settings.acceptor);

    let dialer = match Dialer::new(settings.identity(ours, &keys), peer) {
        Ok(dialer) => dialer,
        Err(error) => {
            assert_eq!(error, DialerError::NotOursToDial { ours, peer });
            assert!(ours.get() >= peer.get(), "the lower id dials");
            return;
        }
    };
    assert!(ours.get() < peer.get(), "only the lower id dials");

    let Some(nonce) = Nonce::new(settings.dialer_nonce) else {
        assert_eq!(settings.dialer_nonce, NO_NONCE);
        return;
    };
    let tag_time = settings.has(Settings::TAGGED).then_some(TIME_MS);
    let (hello, next) = dialer.start(nonce, tag_time);
    assert_eq!(hello.as_bytes(), hello_of(&settings).as_bytes());

    let Some(enforcement) = settings.enforcement() else {
        let DialerNext::Established(outcome) = next else { panic!("authentication is off") };
        assert!(outcome.peer() == peer && !outcome.authenticated() && outcome.leniency().is_none());
        return;
    };
    let DialerNext::AwaitChallenge(next) = next else { panic!("authentication is on") };
    if input.is_empty() {
        match next.on_silence() {
            Ok(outcome) => assert!(tolerated(outcome) && enforcement == Enforcement::Soft),
            Err(error) => assert_eq!(error, DialerError::Silence),
        }
        return;
    }
    let edits = input.byte();
    let answer = settings.peers_frame(challenge_of(&settings), edits, &mut input);
    check(&settings, enforcement, answer.as_view(), next.on_frame(answer.as_view()));
}

fn check(
    settings: &Settings,
    enforcement: Enforcement,
    answer: HeaderView<'_>,
    step: Result<DialerStep, DialerError>,
) {
    match step {
        Ok(DialerStep::Plain { outcome }) => {
            assert_eq!(enforcement, Enforcement::Soft);
            assert!(!(14..=16).contains(&answer.command().get()));
            assert!(tolerated(outcome));
        }
        Ok(DialerStep::Finish { frame, outcome }) => {
            assert_eq!(refusal(settings, answer), None, "only a valid answer is answered");
            let key = settings.key_of(mac_of(answer), &proof(settings, answer, ACCEPTOR));
            assert!(key.is_some(), "no success without a valid MAC");
            assert!(outcome.authenticated() && outcome.key() == key);
            assert!(outcome.peer() == settings.acceptor && outcome.leniency().is_none());
            let mut finish = settings.frame(Command::REPLICA_FINISH, settings.dialer);
            put(&mut finish, 32, &settings.our_mac(&proof(settings, answer, DIALER)));
            assert_eq!(frame.as_bytes(), finish.as_bytes());
        }
        Err(error) => {
            assert_eq!(Some(error), refusal(settings, answer));
            assert_ne!(error.result(), HandshakeResult::Ok);
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Why this answer has to be refused, if it has to.
fn refusal(settings: &Settings, answer: HeaderView<'_>) -> Option<DialerError> {
    if answer.size() != SIZE {
        return Some(DialerError::Malformed { size: answer.size() });
    }
    if answer.command() != Command::REPLICA_CHALLENGE {
        return Some(DialerError::UnexpectedCommand { command: answer.command() });
    }
    let (ours, theirs) = (settings.cluster, answer.cluster());
    if ours != theirs {
        return Some(DialerError::ClusterMismatch { ours, theirs });
    }
    let (dialed, answered) = (settings.acceptor, answer.replica());
    if dialed != answered {
        return Some(DialerError::WrongPeer { dialed, answered });
    }
    if status_of(answer) != 0 {
        return Some(DialerError::RefusedByPeer { status: Status::from_byte(status_of(answer)) });
    }
    match nonce_of(answer) {
        NO_NONCE => Some(DialerError::MissingNonce),
        nonce if nonce == settings.dialer_nonce => Some(DialerError::Reflected),
        _ => match settings.key_of(mac_of(answer), &proof(settings, answer, ACCEPTOR)) {
            None => Some(DialerError::MacMismatch),
            Some(_) => None,
        },
    }
}

fn tolerated(outcome: Outcome) -> bool {
    !outcome.authenticated() && outcome.leniency() == Some(Leniency::AuthRequired)
}

fn proof(settings: &Settings, answer: HeaderView<'_>, direction: u8) -> Proof {
    Proof {
        dialer: settings.dialer,
        acceptor: settings.acceptor,
        dialer_nonce: settings.dialer_nonce,
        acceptor_nonce: nonce_of(answer),
        direction,
    }
}

fn hello_of(settings: &Settings) -> Header {
    let mut hello = settings.frame(Command::REPLICA_HELLO, settings.dialer);
    if settings.enforcement().is_some() {
        put(&mut hello, 0, &settings.dialer_nonce);
        if settings.has(Settings::TAGGED) {
            let (dialer, nonce) = (settings.dialer, settings.dialer_nonce);
            let tag = settings.our_tag(&TaggedHello { dialer, nonce, time_ms: TIME_MS });
            put(&mut hello, 72, &TIME_MS.to_le_bytes());
            put(&mut hello, 80, &tag);
        }
    }
    hello
}

fn challenge_of(settings: &Settings) -> Header {
    let mut challenge = settings.frame(Command::REPLICA_CHALLENGE, settings.acceptor);
    put(&mut challenge, 0, &settings.acceptor_nonce);
    let mac = settings.peers_mac(&proof(settings, challenge.as_view(), ACCEPTOR));
    put(&mut challenge, 32, &mac);
    challenge
}
