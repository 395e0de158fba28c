//! No `Debug` output, and no error, shows a byte that somebody could use.

use std::fmt::Debug;

use ringseal_auth::tag::{HelloTag, read_tag};
use ringseal_auth::{
    Acceptor, Auth, Binding, Dialer, DialerNext, Direction, Enforcement, Exchange, HelloStep,
    Identity, KeyRing, LinkIds, Mac, Nonce, Secret, Transcript,
};
use ringseal_wire::{ClusterId, ReplicaId};

/// A byte that stands for everything secret, unlike any other number in these types.
const SECRET: u8 = 0xc7;

const IDS: LinkIds =
    LinkIds { cluster: ClusterId::new(7), dialer: ReplicaId::new(1), acceptor: ReplicaId::new(2) };

fn exchange() -> Exchange {
    Exchange {
        ids: IDS,
        dialer_nonce: [SECRET; 32],
        acceptor_nonce: [SECRET; 32],
        binding: Binding::TlsExporter([SECRET; 32]),
    }
}

fn assert_redacted(value: &dyn Debug) {
    let run = "\u{c7}".repeat(3);
    for shown in [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}")] {
        let forms = ["199", "c7", "C7", "\\xc7", run.as_str()];
        assert!(!forms.iter().any(|form| shown.contains(form)), "{shown}");
        assert!(!shown.is_empty());
    }
}

/// Derived bytes are not ours to choose, so runs of them are looked for: every pair of neighbours,
/// in the notations that a derived `Debug` would use.
fn assert_hides(value: &dyn Debug, bytes: &[u8]) {
    for pair in bytes.windows(2) {
        let [first, second] = pair else { panic!("windows of two") };
        let shown = [format!("{value:?}"), format!("{value:x?}")].concat();
        for form in [
            format!("{first}, {second}"),
            format!("{first:x}, {second:x}"),
            format!("{first:02x}{second:02x}"),
        ] {
            assert!(!shown.contains(&form), "{shown} shows {form}");
        }
    }
}

#[test]
fn values_made_of_secret_bytes() {
    let secret = Secret::new(vec![SECRET; 32]).expect("32 bytes");
    assert_redacted(&secret);
    assert_redacted(&KeyRing::new(&secret, Some(&secret)));
    assert_redacted(&Secret::new(vec![SECRET; 31]).expect_err("too short"));
    assert_redacted(&Mac::new([SECRET; 32]));
    assert_redacted(&Nonce::new([SECRET; 32]));
    assert_redacted(&Binding::TlsExporter([SECRET; 32]));
    assert_redacted(&exchange());
}

#[test]
fn keys_and_what_they_sign() {
    let bytes = [SECRET; 32];
    let keys = KeyRing::new(&Secret::new(bytes.to_vec()).expect("32 bytes"), None);
    let mac_key = blake3::derive_key("apache-iggy replica-auth v1 psk->mac-key", &bytes);
    let lane_key = blake3::derive_key("ringseal hello-tag v1 psk->lane-key", &bytes);
    assert_hides(&keys, &mac_key);
    assert_hides(&keys, &lane_key);

    let mac = keys.mac(Transcript::Pr3425, &exchange(), Direction::Dialer);
    let mut input = b"apache-iggy replica-auth v1".to_vec();
    input.extend(7_u128.to_le_bytes());
    input.extend([1, 2]);
    input.extend([SECRET; 64]);
    input.push(1);
    let plain = *blake3::keyed_hash(&mac_key, &input).as_bytes();
    assert!(mac == Mac::new(plain), "these are the bytes to look for");
    assert_hides(&mac, &plain);

    let nonce = Nonce::new(bytes).expect("not zero");
    assert_redacted(&HelloTag::sign(&keys, &IDS, &nonce, 1));
}

#[test]
fn states_and_their_frames() {
    let keys = KeyRing::new(&Secret::new(vec![SECRET; 32]).expect("32 bytes"), None);
    let enforcement = Enforcement::Enforce;
    let auth = Auth::On { keys: &keys, enforcement, transcript: Transcript::Current };
    let identity = |replica| {
        let identity = Identity::new(IDS.cluster, replica, auth);
        identity.with_binding(Binding::TlsExporter([SECRET; 32]))
    };
    let nonce = |salt: u8| {
        let mut bytes = [SECRET; 32];
        bytes[0] = salt;
        Nonce::new(bytes).expect("not zero")
    };
    assert_redacted(&identity(IDS.dialer));

    let dialer = Dialer::new(identity(IDS.dialer), IDS.acceptor).expect("the lower id");
    assert_redacted(&dialer);
    let (hello, next) = dialer.start(nonce(1), Some(1));
    assert_redacted(&hello);
    assert_redacted(&next);
    assert_redacted(&read_tag(hello.as_view()));

    let acceptor = Acceptor::new(identity(IDS.acceptor));
    assert_redacted(&acceptor);
    let step = acceptor.on_hello(hello.as_view(), |_| true, || nonce(2));
    assert_redacted(&step);
    let (HelloStep::Challenge { frame, next: accepting }, DialerNext::AwaitChallenge(dialing)) =
        (step, next)
    else {
        panic!("both sides authenticate")
    };
    assert_redacted(&accepting);
    assert_hides(&accepting, &frame.reserved_command()[..64]);
    let step = dialing.on_frame(frame.as_view()).expect("the Challenge is right");
    assert_redacted(&step);
    assert_hides(&step, &frame.reserved_command()[32..64]);
}
