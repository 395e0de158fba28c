//! The handshake agrees, byte for byte, with values taken from a deployed peer.

use ringseal_auth::{
    Acceptor, AcceptorError, Auth, Binding, Dialer, DialerError, DialerNext, DialerStep, Direction,
    Enforcement, Exchange, HelloStep, Identity, KeyRing, LinkIds, Mac, Nonce, Outcome, Secret,
    Status, Transcript, Which, cluster_id,
};
use ringseal_wire::{ClusterId, Header, HeaderView, ReplicaId};
use serde_json::Value;

/// One entry of the vectors: a whole handshake and everything it was made of.
struct Vector {
    name: String,
    keys: KeyRing,
    form: Transcript,
    exchange: Exchange,
    acceptor_mac: Mac,
    dialer_mac: Mac,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    finish: Vec<u8>,
}

impl Vector {
    fn identity(&self, replica: ReplicaId) -> Identity<'_> {
        let auth =
            Auth::On { keys: &self.keys, enforcement: Enforcement::Enforce, transcript: self.form };
        Identity::new(self.exchange.ids.cluster, replica, auth).with_binding(self.exchange.binding)
    }

    fn dialer(&self) -> Result<Dialer<'_>, DialerError> {
        Dialer::new(self.identity(self.exchange.ids.dialer), self.exchange.ids.acceptor)
    }

    fn on_hello(&self) -> HelloStep<'_> {
        Acceptor::new(self.identity(self.exchange.ids.acceptor)).on_hello(
            view(&self.hello),
            |_| true,
            || Nonce::new(self.exchange.acceptor_nonce).expect("a nonce"),
        )
    }

    fn rightly_ordered(&self) -> bool {
        self.exchange.ids.dialer < self.exchange.ids.acceptor
    }

    fn has_nonces(&self) -> bool {
        self.exchange.dialer_nonce != [0; 32] && self.exchange.acceptor_nonce != [0; 32]
    }
}

/// The entries of `macs`, and the recorded captures read in the same way.
fn vectors() -> Vec<Vector> {
    let file = file();
    let macs = list(&file["macs"]).iter().map(vector);
    let captures = list(&file["captures"]).iter().map(capture);
    macs.chain(captures).collect()
}

fn vector(entry: &Value) -> Vector {
    let name = format!("{} ({})", text(&entry["name"]), text(&entry["transcript"]));
    let cluster = ClusterId::new(u128::from_le_bytes(bytes(&entry["cluster_id"])));
    if let Some(cluster_name) = entry["cluster_name"].as_str() {
        assert_eq!(cluster_id(cluster_name), cluster, "{name}");
    }
    let binding = match text(&entry["binding"]) {
        "tls-exporter" => Binding::TlsExporter(bytes(&entry["exporter"])),
        "plaintext" | "none" => Binding::Plaintext,
        other => panic!("{name}: binding {other}"),
    };
    Vector {
        keys: ring(&entry["secret"]),
        form: text(&entry["transcript"]).parse().expect("a form"),
        exchange: Exchange {
            ids: LinkIds {
                cluster,
                dialer: replica(&entry["dialer_id"]),
                acceptor: replica(&entry["acceptor_id"]),
            },
            dialer_nonce: bytes(&entry["nonce_d"]),
            acceptor_nonce: bytes(&entry["nonce_a"]),
            binding,
        },
        acceptor_mac: Mac::new(bytes(&entry["acceptor_mac"])),
        dialer_mac: Mac::new(bytes(&entry["dialer_mac"])),
        hello: hex(&entry["hello"]),
        challenge: hex(&entry["challenge"]),
        finish: hex(&entry["finish"]),
        name,
    }
}

/// A capture names only its frames, so nonces and MACs are cut out of those.
fn capture(entry: &Value) -> Vector {
    let (hello, challenge) = (hex(&entry["hello"]), hex(&entry["challenge"]));
    let finish = hex(&entry["finish"]);
    let field = |frame: &[u8], at: usize| *frame[at..].first_chunk::<32>().expect("32 bytes");
    Vector {
        name: text(&entry["name"]).to_owned(),
        keys: ring(&entry["secret"]),
        form: text(&entry["transcript"]).parse().expect("a form"),
        exchange: Exchange {
            ids: LinkIds {
                cluster: cluster_id(text(&entry["cluster_name"])),
                dialer: replica(&entry["dialer_id"]),
                acceptor: replica(&entry["acceptor_id"]),
            },
            dialer_nonce: field(&hello, 128),
            acceptor_nonce: field(&challenge, 128),
            binding: Binding::Plaintext,
        },
        acceptor_mac: Mac::new(field(&challenge, 160)),
        dialer_mac: Mac::new(field(&finish, 160)),
        hello,
        challenge,
        finish,
    }
}

fn file() -> Value {
    serde_json::from_str(include_str!("../vectors/handshake.json")).expect("valid JSON")
}

fn list(value: &Value) -> &[Value] {
    let list = value.as_array().expect("a list");
    assert!(!list.is_empty());
    list
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn hex(value: &Value) -> Vec<u8> {
    let (pairs, []) = text(value).as_bytes().as_chunks::<2>() else {
        panic!("an odd number of digits");
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(|pair| byte(pair).expect("hex")).collect()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().expect("as many bytes as the field has")
}

fn replica(value: &Value) -> ReplicaId {
    ReplicaId::new(value.as_u64().and_then(|id| id.try_into().ok()).expect("a byte"))
}

fn ring(secret: &Value) -> KeyRing {
    KeyRing::new(&Secret::new(hex(secret)).expect("long enough"), None)
}

fn view(frame: &[u8]) -> HeaderView<'_> {
    let view = HeaderView::from_slice(frame).expect("a header");
    assert_eq!(frame.len(), 256);
    view
}

fn assert_frame(actual: &Header, expected: &[u8], name: &str) {
    assert_eq!(actual.as_bytes().as_slice(), expected, "{name}");
}

#[test]
fn the_names_in_the_vectors_are_the_protocols() {
    let file = file();
    assert_eq!(file["key_context"], "apache-iggy replica-auth v1 psk->mac-key");
    assert_eq!(file["domain_tag"], "apache-iggy replica-auth v1");
    assert_eq!(file["exporter_label"], "iggy replica psk binding");
}

/// The crate shows its keys to nobody, so the derivation is checked beside it, and the crate's by
/// way of the MACs below.
#[test]
fn mac_keys() {
    let file = file();
    for entry in list(&file["macs"]) {
        let key = blake3::derive_key(text(&file["key_context"]), &hex(&entry["secret"]));
        assert_eq!(key, bytes(&entry["mac_key"]), "{}", text(&entry["name"]));
    }
}

#[test]
fn macs_in_both_directions() {
    for Vector { name, keys, form, exchange, acceptor_mac, dialer_mac, .. } in vectors() {
        for (direction, mac, other) in [
            (Direction::Acceptor, acceptor_mac, dialer_mac),
            (Direction::Dialer, dialer_mac, acceptor_mac),
        ] {
            assert!(keys.mac(form, &exchange, direction) == mac, "{name} {direction:?}");
            assert_eq!(keys.verify(form, &exchange, direction, &mac), Some(Which::Current));
            assert_eq!(keys.verify(form, &exchange, direction, &other), None, "{name}");
        }
    }
}

/// Our dialer sends the peer's dialer's frames, and takes the peer's acceptor's.
#[test]
fn the_dialer_speaks_as_recorded() {
    let mut handshakes = 0;
    for vector in vectors().iter().filter(|vector| vector.rightly_ordered() && vector.has_nonces())
    {
        let nonce = Nonce::new(vector.exchange.dialer_nonce).expect("a nonce");
        let (hello, next) = vector.dialer().expect("the lower id").start(nonce, None);
        assert_frame(&hello, &vector.hello, &vector.name);
        let DialerNext::AwaitChallenge(dialer) = next else { panic!("authentication is on") };
        let step = dialer.on_frame(view(&vector.challenge));
        let Ok(DialerStep::Finish { frame: finish, outcome }) = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_frame(&finish, &vector.finish, &vector.name);
        assert_proven(outcome, vector.exchange.ids.acceptor);
        handshakes += 1;
    }
    assert!(handshakes >= 12);
}

/// Our acceptor sends the peer's acceptor's frame, and takes the peer's dialer's.
#[test]
fn the_acceptor_speaks_as_recorded() {
    let mut handshakes = 0;
    for vector in vectors().iter().filter(|vector| vector.rightly_ordered() && vector.has_nonces())
    {
        let step = vector.on_hello();
        let HelloStep::Challenge { frame: challenge, next: acceptor } = step else {
            panic!("{}: {step:?}", vector.name)
        };
        assert_frame(&challenge, &vector.challenge, &vector.name);
        let outcome = acceptor.on_finish(view(&vector.finish));
        assert_proven(outcome.expect("a valid proof"), vector.exchange.ids.dialer);
        handshakes += 1;
    }
    assert!(handshakes >= 12);
}

fn assert_proven(outcome: Outcome, peer: ReplicaId) {
    assert_eq!(outcome.peer(), peer);
    assert!(outcome.authenticated());
    assert_eq!((outcome.key(), outcome.leniency()), (Some(Which::Current), None));
}

/// Some entries were made for their MACs alone, with a dialer whose id is the higher one.
#[test]
fn entries_in_the_wrong_direction_are_refused() {
    let mut entries = 0;
    for vector in vectors().iter().filter(|vector| !vector.rightly_ordered()) {
        let LinkIds { dialer: peer, acceptor: ours, .. } = vector.exchange.ids;
        let error = vector.dialer().expect_err("the higher id");
        assert_eq!(error, DialerError::NotOursToDial { ours: peer, peer: ours });

        let HelloStep::Refused { answer: Some(answer), error } = vector.on_hello() else {
            panic!("{}: not refused", vector.name)
        };
        assert_eq!(error, AcceptorError::DirectionalRule { peer, ours });
        assert_eq!(answer.reserved_command()[64], Status::DirectionalRule.to_byte());
        entries += 1;
    }
    assert!(entries >= 3);
}

/// Others have nonces of zeros, which in a handshake means that there are none.
#[test]
fn entries_without_nonces_are_refused() {
    let mut entries = 0;
    for vector in vectors().iter().filter(|vector| !vector.has_nonces()) {
        assert!(Nonce::new(vector.exchange.dialer_nonce).is_none());
        let HelloStep::Refused { answer: None, error } = vector.on_hello() else {
            panic!("{}: not refused in silence", vector.name)
        };
        assert_eq!(error, AcceptorError::AuthRequired { peer: vector.exchange.ids.dialer });

        let nonce = Nonce::new([1; 32]).expect("a nonce");
        let (_, next) = vector.dialer().expect("the lower id").start(nonce, None);
        let DialerNext::AwaitChallenge(dialer) = next else { panic!("authentication is on") };
        let error = dialer.on_frame(view(&vector.challenge)).expect_err("no nonce");
        assert_eq!(error, DialerError::MissingNonce);
        entries += 1;
    }
    assert!(entries >= 2);
}

const ZERO: ReplicaId = ReplicaId::new(0);
const ONE: ReplicaId = ReplicaId::new(1);

/// The frame of that name among the single frames, with what it was made of.
fn frame(name: &str) -> (Vec<u8>, Value) {
    let file = file();
    let entry = list(&file["frames"]).iter().find(|entry| entry["name"] == name);
    let entry = entry.unwrap_or_else(|| panic!("no frame {name}")).clone();
    (hex(&entry["frame"]), entry)
}

/// An identity in the cluster that the single frames come from.
fn identity(replica: ReplicaId, keys: &KeyRing) -> Identity<'_> {
    let transcript = Transcript::Current;
    let auth = Auth::On { keys, enforcement: Enforcement::Enforce, transcript };
    Identity::new(cluster_id("iggy-cluster"), replica, auth)
}

fn some_ring() -> KeyRing {
    KeyRing::new(&Secret::new(vec![0x41; 32]).expect("long enough"), None)
}

#[test]
fn hellos_are_as_recorded() {
    let (with_nonce, entry) = frame("hello_with_nonce");
    let keys = some_ring();
    let nonce = || Nonce::new(bytes(&entry["nonce"])).expect("a nonce");
    let dialer = Dialer::new(identity(ZERO, &keys), ONE).expect("the lower id");
    let (hello, _) = dialer.start(nonce(), None);
    assert_frame(&hello, &with_nonce, "hello_with_nonce");

    let (without_nonce, _) = frame("hello_without_nonce");
    let off = Identity::new(cluster_id("iggy-cluster"), ZERO, Auth::Off);
    let dialer = Dialer::new(off, ONE).expect("the lower id");
    let (hello, next) = dialer.start(nonce(), Some(1));
    assert_frame(&hello, &without_nonce, "hello_without_nonce");
    assert!(matches!(next, DialerNext::Established(_)));
}

#[test]
fn refusals_are_sent_as_recorded() {
    let (hello, _) = frame("hello_with_nonce");
    let changed = |offset: usize, value: u8| {
        let mut changed = hello.clone();
        changed[offset] = value;
        changed
    };
    let (cluster, command, replica) = (32, 60, 61);
    for (name, first) in [
        ("challenge_reject_unknown_command", changed(command, 16)),
        ("challenge_reject_cluster_mismatch", changed(cluster, 0)),
        ("challenge_reject_directional_rule", changed(replica, 1)),
    ] {
        let keys = some_ring();
        let step = Acceptor::new(identity(ONE, &keys)).on_hello(
            view(&first),
            |_| true,
            || panic!("a refusal draws no randomness"),
        );
        let HelloStep::Refused { answer: Some(answer), .. } = step else {
            panic!("{name}: {step:?}")
        };
        assert_frame(&answer, &frame(name).0, name);
    }
}

#[test]
fn every_recorded_refusal_is_understood() {
    let file = file();
    let refusals = list(&file["frames"]).iter().filter(|entry| !entry["status"].is_null());
    let mut seen = Vec::new();
    for entry in refusals {
        let name = text(&entry["name"]);
        let byte = entry["status"].as_u64().and_then(|byte| byte.try_into().ok()).expect("a byte");
        let status = Status::from_byte(byte);
        assert_eq!(format!("challenge_reject_{status}"), name);

        let keys = some_ring();
        let dialer = Dialer::new(identity(ZERO, &keys), ONE).expect("the lower id");
        let (_, next) = dialer.start(Nonce::new([1; 32]).expect("a nonce"), None);
        let DialerNext::AwaitChallenge(dialer) = next else { panic!("authentication is on") };
        let error = dialer.on_frame(view(&hex(&entry["frame"]))).expect_err("a refusal");
        assert_eq!(error, DialerError::RefusedByPeer { status });
        assert_eq!(error.result().as_str(), status.to_string());
        seen.push(byte);
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}
