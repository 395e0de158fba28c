//! The side that opens the connection: the replica with the lower id.

use ringseal_wire::{Command, Header, HeaderView, ReplicaId};

use crate::error::DialerError;
use crate::identity::{Auth, Identity};
use crate::key::{KeyRing, Mac, Nonce};
use crate::message::{self, Challenge};
use crate::outcome::{Leniency, Outcome};
use crate::policy::Enforcement;
use crate::tag::HelloTag;
use crate::transcript::{Direction, Exchange, LinkIds, Transcript};

/// A dialer that has sent nothing yet.
#[derive(Debug)]
#[must_use = "a dialer does nothing until it is started"]
pub struct Dialer<'k> {
    ours: Identity<'k>,
    peer: ReplicaId,
}

/// What follows the Hello.
#[derive(Debug)]
#[must_use = "a handshake that is not driven on never ends"]
pub enum DialerNext<'k> {
    /// Nothing: with authentication off the link is up once the Hello is written.
    Established(Outcome),
    /// The acceptor's answer, or its silence.
    AwaitChallenge(AwaitChallenge<'k>),
}

impl<'k> Dialer<'k> {
    /// A dialer for one connection to `peer`.
    ///
    /// # Errors
    ///
    /// [`DialerError::NotOursToDial`] unless our id is lower than `peer`.
    pub fn new(ours: Identity<'k>, peer: ReplicaId) -> Result<Dialer<'k>, DialerError> {
        if ours.replica.get() < peer.get() {
            Ok(Dialer { ours, peer })
        } else {
            Err(DialerError::NotOursToDial { ours: ours.replica, peer })
        }
    }

    /// The Hello to send, and what follows it.
    ///
    /// With `tag_time_ms`, milliseconds since the Unix epoch, the Hello also shows membership in
    /// its first frame (see [`tag`](crate::tag)); the time must be later than that of any Hello
    /// sent before, as a [`TagClock`](crate::tag::TagClock) makes sure. With authentication off
    /// neither the nonce nor the time is used.
    pub fn start(self, nonce: Nonce, tag_time_ms: Option<u64>) -> (Header, DialerNext<'k>) {
        let Dialer { ours, peer } = self;
        let Auth::On { keys, enforcement, transcript } = ours.auth else {
            let hello = message::hello(&ours, None, None);
            return (hello, DialerNext::Established(Outcome::unasked(peer)));
        };
        let ids = LinkIds { cluster: ours.cluster, dialer: ours.replica, acceptor: peer };
        let tag = tag_time_ms.map(|time_ms| HelloTag::sign(keys, &ids, &nonce, time_ms));
        let hello = message::hello(&ours, Some(&nonce), tag.map(HelloTag::into_fields));
        let next = AwaitChallenge { ours, ids, keys, enforcement, transcript, nonce };
        (hello, DialerNext::AwaitChallenge(next))
    }
}

/// A dialer whose Hello is on its way.
#[derive(Debug)]
#[must_use = "a handshake that is not driven on never ends"]
pub struct AwaitChallenge<'k> {
    ours: Identity<'k>,
    ids: LinkIds,
    keys: &'k KeyRing,
    enforcement: Enforcement,
    transcript: Transcript,
    nonce: Nonce,
}

/// What the acceptor's first frame led to.
#[derive(Debug)]
#[must_use = "the Finish has to be sent, or the frame delivered"]
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one step of one handshake, and boxing the frame would allocate"
)]
pub enum DialerStep {
    /// The acceptor has proven itself. The link is up, provisionally, once this frame is written.
    Finish {
        /// The Finish to send.
        frame: Header,
        /// What the handshake found out.
        outcome: Outcome,
    },
    /// The acceptor does not authenticate and [`Enforcement::Soft`] lets that pass. Its frame was
    /// not part of a handshake: it is the link's first and has to be delivered.
    Plain {
        /// What the handshake found out.
        outcome: Outcome,
    },
}

impl AwaitChallenge<'_> {
    /// Takes the acceptor's first frame; of a frame with a body the header is enough.
    ///
    /// # Errors
    ///
    /// Everything that is not a valid proof. The connection is then closed without another frame,
    /// so that an impostor never sees a MAC of ours. That holds for [`Enforcement::Soft`] too,
    /// which only lets pass a peer that takes no part in authentication at all.
    pub fn on_frame(self, frame: HeaderView<'_>) -> Result<DialerStep, DialerError> {
        if self.enforcement == Enforcement::Soft && !frame.command().is_handshake() {
            return Ok(DialerStep::Plain { outcome: self.plain() });
        }
        self.check_origin(frame)?;
        match message::read_challenge(frame) {
            Challenge::Refusal(status) => Err(DialerError::RefusedByPeer { status }),
            Challenge::Proof { nonce: None, .. } => Err(DialerError::MissingNonce),
            Challenge::Proof { nonce: Some(nonce), mac } => self.finish(&nonce, &mac),
        }
    }

    /// Decides what it means that nothing came within the time set for the first frame.
    ///
    /// An acceptor without authentication never answers a Hello and may have nothing to say yet,
    /// so under [`Enforcement::Soft`] silence makes a plain link.
    ///
    /// # Errors
    ///
    /// [`DialerError::Silence`] under [`Enforcement::Enforce`].
    pub fn on_silence(self) -> Result<Outcome, DialerError> {
        match self.enforcement {
            Enforcement::Soft => Ok(self.plain()),
            Enforcement::Enforce => Err(DialerError::Silence),
        }
    }

    /// The replica that was dialed.
    pub const fn peer(&self) -> ReplicaId {
        self.ids.acceptor
    }

    fn plain(&self) -> Outcome {
        Outcome::tolerated(self.peer(), Leniency::AuthRequired)
    }

    /// Checks everything about a Challenge but what it says.
    fn check_origin(&self, frame: HeaderView<'_>) -> Result<(), DialerError> {
        if !message::is_header_only(frame) {
            return Err(DialerError::Malformed { size: frame.size() });
        }
        if frame.command() != Command::REPLICA_CHALLENGE {
            return Err(DialerError::UnexpectedCommand { command: frame.command() });
        }
        if frame.cluster() != self.ids.cluster {
            return Err(DialerError::ClusterMismatch {
                ours: self.ids.cluster,
                theirs: frame.cluster(),
            });
        }
        if frame.replica() != self.peer() {
            return Err(DialerError::WrongPeer { dialed: self.peer(), answered: frame.replica() });
        }
        Ok(())
    }

    fn finish(self, acceptor_nonce: &Nonce, mac: &Mac) -> Result<DialerStep, DialerError> {
        // The direction in the MAC defeats a reflection anyway; this gives it its own name.
        if acceptor_nonce.as_bytes() == self.nonce.as_bytes() {
            return Err(DialerError::Reflected);
        }
        let exchange = Exchange {
            ids: self.ids,
            dialer_nonce: *self.nonce.as_bytes(),
            acceptor_nonce: *acceptor_nonce.as_bytes(),
            binding: self.ours.binding,
        };
        let form = self.transcript;
        let Some(which) = self.keys.verify(form, &exchange, Direction::Acceptor, mac) else {
            return Err(DialerError::MacMismatch);
        };
        let proof = self.keys.mac(form, &exchange, Direction::Dialer);
        Ok(DialerStep::Finish {
            frame: message::finish(&self.ours, proof),
            outcome: Outcome::proven(self.peer(), which),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringseal_wire::ClusterId;

    use super::*;
    use crate::key::Secret;

    const CLUSTER: ClusterId = ClusterId::new(7);
    const ONE: ReplicaId = ReplicaId::new(1);
    const TWO: ReplicaId = ReplicaId::new(2);

    fn ring() -> KeyRing {
        KeyRing::new(&Secret::new(vec![0x5a; 32]).expect("32 bytes"), None)
    }

    fn awaiting(keys: &KeyRing, enforcement: Enforcement) -> AwaitChallenge<'_> {
        let auth = Auth::On { keys, enforcement, transcript: Transcript::Current };
        let dialer = Dialer::new(Identity::new(CLUSTER, ONE, auth), TWO).expect("the lower id");
        let nonce = Nonce::new([0xd1; 32]).expect("not zero");
        let (_, DialerNext::AwaitChallenge(next)) = dialer.start(nonce, None) else {
            panic!("authentication is on")
        };
        next
    }

    #[test]
    fn silence_is_an_error_only_where_authentication_is_enforced() {
        let keys = ring();
        let soft = awaiting(&keys, Enforcement::Soft).on_silence().expect("a plain link");
        assert_eq!(soft, Outcome::tolerated(TWO, Leniency::AuthRequired));
        let enforced = awaiting(&keys, Enforcement::Enforce).on_silence();
        assert_eq!(enforced, Err(DialerError::Silence));
    }

    proptest! {
        #[test]
        fn a_challenge_by_somebody_without_the_secret_is_refused(
            nonce in any::<[u8; 32]>(),
            mac in any::<[u8; 32]>(),
            soft in any::<bool>(),
        ) {
            let mut frame = Header::new(Command::REPLICA_CHALLENGE);
            frame.set_cluster(CLUSTER).set_replica(TWO);
            frame.reserved_command_mut()[..32].copy_from_slice(&nonce);
            frame.reserved_command_mut()[32..64].copy_from_slice(&mac);
            let keys = ring();
            let enforcement = if soft { Enforcement::Soft } else { Enforcement::Enforce };
            prop_assert!(awaiting(&keys, enforcement).on_frame(frame.as_view()).is_err());
        }

        #[test]
        fn no_bytes_panic_or_authenticate(
            bytes in proptest::collection::vec(any::<u8>(), 256),
            command in 10..20_u8,
            soft in any::<bool>(),
        ) {
            let mut frame = HeaderView::from_slice(&bytes).expect("256 bytes").to_owned();
            frame.set_command(Command::new(command));
            let keys = ring();
            let enforcement = if soft { Enforcement::Soft } else { Enforcement::Enforce };
            if let Ok(step) = awaiting(&keys, enforcement).on_frame(frame.as_view()) {
                let plain = matches!(step, DialerStep::Plain { .. });
                prop_assert!(soft && plain);
            }
        }
    }
}
