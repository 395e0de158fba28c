//! What both sides of a handshake have in common, and the protocol's rules, written a second time to
//! check the state machines against.

use ringseal_auth::{Auth, Binding, Enforcement, Identity, KeyRing, Secret, Transcript, Which};
use ringseal_wire::{ClusterId, Command, Header, HeaderView, ReplicaId};

use crate::input::Input;

/// The secret that a rotation leads to.
const NEXT_SECRET: [u8; 64] = [0xc5; 64];

/// A cluster of two, as the input describes it.
///
/// | bytes | |
/// |---|---|
/// | 1 | flags, see the constants |
/// | 1, 1 | the dialer's id and the acceptor's |
/// | 16 | the cluster's id |
/// | 32, 32 | the dialer's nonce and the acceptor's |
/// | 32 | the channel's exporter value |
/// | 1, and so many | the secret's length, and the secret |
pub(crate) struct Settings {
    pub(crate) flags: u8,
    pub(crate) dialer: ReplicaId,
    pub(crate) acceptor: ReplicaId,
    pub(crate) cluster: ClusterId,
    pub(crate) dialer_nonce: [u8; 32],
    pub(crate) acceptor_nonce: [u8; 32],
    exporter: [u8; 32],
    secret: Vec<u8>,
}

impl Settings {
    /// Two bits: off, soft, enforce, enforce.
    const POLICY: u8 = 0b11;
    const PR3425: u8 = 1 << 2;
    const TLS: u8 = 1 << 3;
    /// The peer's frames are genuine ones with some bytes changed, and not the input's own bytes.
    const EDITED: u8 = 1 << 4;
    /// We already hold the next secret; the peer signs with ours that was.
    const ROTATING: u8 = 1 << 5;
    /// Hellos carry a membership tag.
    pub(crate) const TAGGED: u8 = 1 << 6;
    /// The roster lacks the peer.
    pub(crate) const STRANGER: u8 = 1 << 7;

    /// `None` if the secret is too short to be one.
    pub(crate) fn read(input: &mut Input<'_>) -> Option<Self> {
        let flags = input.byte();
        let dialer = ReplicaId::new(input.byte());
        let acceptor = ReplicaId::new(input.byte());
        let cluster = ClusterId::new(u128::from_le_bytes(input.array()));
        let (dialer_nonce, acceptor_nonce) = (input.array(), input.array());
        let exporter = input.array();
        let len = input.byte();
        let secret = input.bytes(len.into()).to_vec();
        let long_enough = Secret::new(secret.clone()).is_ok();
        assert_eq!(long_enough, secret.len() >= Secret::MIN_LEN);
        long_enough.then_some(Self {
            flags,
            dialer,
            acceptor,
            cluster,
            dialer_nonce,
            acceptor_nonce,
            exporter,
            secret,
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How authentication is enforced, if it is on.
    pub(crate) fn enforcement(&self) -> Option<Enforcement> {
        match self.flags & Self::POLICY {
            0 => None,
            1 => Some(Enforcement::Soft),
            _ => Some(Enforcement::Enforce),
        }
    }

    pub(crate) fn keys(&self) -> KeyRing {
        let secret = |bytes: &[u8]| Secret::new(bytes.to_vec()).expect("long enough");
        match self.has(Self::ROTATING) {
            false => KeyRing::new(&secret(&self.secret), None),
            true => KeyRing::new(&secret(&NEXT_SECRET), Some(&secret(&self.secret))),
        }
    }

    pub(crate) fn identity<'k>(&self, ours: ReplicaId, keys: &'k KeyRing) -> Identity<'k> {
        let transcript = match self.has(Self::PR3425) {
            false => Transcript::Current,
            true => Transcript::Pr3425,
        };
        let auth = match self.enforcement() {
            None => Auth::Off,
            Some(enforcement) => Auth::On { keys, enforcement, transcript },
        };
        let binding = match self.has(Self::TLS) {
            false => Binding::Plaintext,
            true => Binding::TlsExporter(self.exporter),
        };
        Identity::new(self.cluster, ours, auth).with_binding(binding)
    }

    /// The peer's frame: the input's next 256 bytes, or `genuine` with as many bytes changed as
    /// `edits` says, each by an offset and a mask.
    pub(crate) fn peers_frame(&self, genuine: Header, edits: u8, input: &mut Input<'_>) -> Header {
        if !self.has(Self::EDITED) {
            return Header::from_bytes(input.array());
        }
        let mut bytes = *genuine.as_bytes();
        for _ in 0..edits {
            let [offset, mask] = input.array();
            bytes[usize::from(offset)] ^= mask;
        }
        Header::from_bytes(bytes)
    }

    fn our_secret(&self) -> &[u8] {
        if self.has(Self::ROTATING) { &NEXT_SECRET } else { &self.secret }
    }

    pub(crate) fn our_mac(&self, proof: &Proof) -> [u8; 32] {
        self.mac(self.our_secret(), proof)
    }

    pub(crate) fn peers_mac(&self, proof: &Proof) -> [u8; 32] {
        self.mac(&self.secret, proof)
    }

    /// Which of our keys `mac` was made with.
    pub(crate) fn key_of(&self, mac: &[u8], proof: &Proof) -> Option<Which> {
        if mac == self.our_mac(proof) {
            Some(Which::Current)
        } else if self.has(Self::ROTATING) && mac == self.peers_mac(proof) {
            Some(Which::Previous)
        } else {
            None
        }
    }

    fn mac(&self, secret: &[u8], proof: &Proof) -> [u8; 32] {
        let mut input = b"apache-iggy replica-auth v1".to_vec();
        input.extend(self.cluster.get().to_le_bytes());
        input.extend([proof.dialer.get(), proof.acceptor.get()]);
        input.extend(proof.dialer_nonce);
        input.extend(proof.acceptor_nonce);
        if !self.has(Self::PR3425) {
            let tls = self.has(Self::TLS);
            input.push(tls.into());
            input.extend(if tls { self.exporter } else { [0; 32] });
        }
        input.push(proof.direction);
        let key = blake3::derive_key("apache-iggy replica-auth v1 psk->mac-key", secret);
        *blake3::keyed_hash(&key, &input).as_bytes()
    }

    pub(crate) fn our_tag(&self, hello: &TaggedHello) -> [u8; 16] {
        self.tag(self.our_secret(), hello)
    }

    pub(crate) fn is_tag(&self, tag: &[u8], hello: &TaggedHello) -> bool {
        tag == self.our_tag(hello) || (self.has(Self::ROTATING) && tag == self.peers_tag(hello))
    }

    pub(crate) fn peers_tag(&self, hello: &TaggedHello) -> [u8; 16] {
        self.tag(&self.secret, hello)
    }

    fn tag(&self, secret: &[u8], hello: &TaggedHello) -> [u8; 16] {
        let mut input = b"ringseal hello-tag v1".to_vec();
        input.extend(self.cluster.get().to_le_bytes());
        input.extend([hello.dialer.get(), self.acceptor.get()]);
        input.extend(hello.nonce);
        input.extend(hello.time_ms.to_le_bytes());
        let key = blake3::derive_key("ringseal hello-tag v1 psk->lane-key", secret);
        let hash = blake3::keyed_hash(&key, &input);
        *hash.as_bytes().first_chunk().expect("a hash is 32 bytes")
    }

    pub(crate) fn frame(&self, command: Command, sender: ReplicaId) -> Header {
        let mut frame = Header::new(command);
        frame.set_cluster(self.cluster).set_replica(sender);
        frame
    }
}

/// What a MAC proves, besides what the settings say.
pub(crate) struct Proof {
    pub(crate) dialer: ReplicaId,
    pub(crate) acceptor: ReplicaId,
    pub(crate) dialer_nonce: [u8; 32],
    pub(crate) acceptor_nonce: [u8; 32],
    pub(crate) direction: u8,
}

pub(crate) const DIALER: u8 = 1;
pub(crate) const ACCEPTOR: u8 = 2;

/// What a membership tag shows, besides what the settings say.
pub(crate) struct TaggedHello {
    pub(crate) dialer: ReplicaId,
    pub(crate) nonce: [u8; 32],
    pub(crate) time_ms: u64,
}

pub(crate) const NO_NONCE: [u8; 32] = [0; 32];
pub(crate) const SIZE: u32 = 256;

pub(crate) fn nonce_of(frame: HeaderView<'_>) -> [u8; 32] {
    *frame.reserved_command()[..32].first_chunk().expect("32 bytes")
}

pub(crate) fn mac_of(frame: HeaderView<'_>) -> &[u8] {
    &frame.reserved_command()[32..64]
}

pub(crate) fn status_of(frame: HeaderView<'_>) -> u8 {
    frame.reserved_command()[64]
}

pub(crate) fn time_of(frame: HeaderView<'_>) -> u64 {
    let time = frame.reserved_command()[72..80].first_chunk().expect("8 bytes");
    u64::from_le_bytes(*time)
}

pub(crate) fn tag_of(frame: HeaderView<'_>) -> &[u8] {
    &frame.reserved_command()[80..96]
}

pub(crate) fn put(frame: &mut Header, at: usize, bytes: &[u8]) {
    frame.reserved_command_mut()[at..at + bytes.len()].copy_from_slice(bytes);
}
