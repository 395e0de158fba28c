//! The side that listens: the replica with the higher id.

use ringseal_wire::{ClusterId, Command, Header, HeaderView, ReplicaId};

use crate::error::AcceptorError;
use crate::identity::{Auth, Identity};
use crate::key::{KeyRing, Nonce};
use crate::message;
use crate::outcome::{Leniency, Outcome};
use crate::policy::Enforcement;
use crate::transcript::{Direction, Exchange, LinkIds, Transcript};

/// An acceptor to which nothing has been said yet.
#[derive(Debug)]
#[must_use = "an acceptor does nothing until it is given the first frame"]
pub struct Acceptor<'k> {
    ours: Identity<'k>,
}

/// What the first frame led to.
#[derive(Debug)]
#[must_use = "the answer has to be sent, or the connection closed"]
pub enum HelloStep<'k> {
    /// The dialer wants to authenticate.
    Challenge {
        /// The Challenge to send.
        frame: Header,
        /// What follows it.
        next: AwaitFinish<'k>,
    },
    /// The link is up and the Hello is not answered.
    Admitted(Outcome),
    /// The dialer is refused.
    Refused {
        /// The frame to send before closing, if the dialer is waiting for one.
        answer: Option<Header>,
        /// What we know about it.
        error: AcceptorError,
    },
}

impl<'k> Acceptor<'k> {
    /// An acceptor for one connection.
    pub const fn new(ours: Identity<'k>) -> Acceptor<'k> {
        Acceptor { ours }
    }

    /// Takes the dialer's first frame; of a frame with a body the header is enough.
    ///
    /// `in_roster` is asked about the dialer's id, and `nonce` is called only when a Challenge is
    /// due: strangers who never get that far cost no randomness.
    pub fn on_hello(
        self,
        frame: HeaderView<'_>,
        in_roster: impl FnOnce(ReplicaId) -> bool,
        nonce: impl FnOnce() -> Nonce,
    ) -> HelloStep<'k> {
        let peer = match self.check_origin(frame, in_roster) {
            Ok(peer) => peer,
            Err(error) => return self.refuse(frame, error),
        };
        let Auth::On { keys, enforcement, transcript } = self.ours.auth else {
            return HelloStep::Admitted(Outcome::unasked(peer));
        };
        let Some(dialer_nonce) = message::read_nonce(frame) else {
            return match enforcement {
                Enforcement::Soft => {
                    HelloStep::Admitted(Outcome::tolerated(peer, Leniency::AuthRequired))
                }
                Enforcement::Enforce => self.refuse(frame, AcceptorError::AuthRequired { peer }),
            };
        };
        let acceptor_nonce = nonce();
        let exchange = Exchange {
            ids: LinkIds { cluster: self.ours.cluster, dialer: peer, acceptor: self.ours.replica },
            dialer_nonce: *dialer_nonce.as_bytes(),
            acceptor_nonce: *acceptor_nonce.as_bytes(),
            binding: self.ours.binding,
        };
        let proof = keys.mac(transcript, &exchange, Direction::Acceptor);
        HelloStep::Challenge {
            frame: message::challenge(&self.ours, &acceptor_nonce, proof),
            next: AwaitFinish { exchange, keys, enforcement, transcript },
        }
    }

    /// Checks everything about a Hello but what it carries, in the order the protocol sets.
    fn check_origin(
        &self,
        frame: HeaderView<'_>,
        in_roster: impl FnOnce(ReplicaId) -> bool,
    ) -> Result<ReplicaId, AcceptorError> {
        check_frame(frame, Command::REPLICA_HELLO, self.ours.cluster)?;
        let (peer, ours) = (frame.replica(), self.ours.replica);
        if !in_roster(peer) {
            return Err(AcceptorError::NotInRoster { peer });
        }
        if peer.get() >= ours.get() {
            return Err(AcceptorError::DirectionalRule { peer, ours });
        }
        Ok(peer)
    }

    /// Only a peer that sent a nonce to a node that authenticates waits for an answer.
    fn refuse(&self, frame: HeaderView<'_>, error: AcceptorError) -> HelloStep<'k> {
        let waits = match self.ours.auth {
            Auth::Off => false,
            Auth::On { .. } => message::read_nonce(frame).is_some(),
        };
        let status = error.status().filter(|_| waits);
        HelloStep::Refused {
            answer: status.map(|status| message::refusal(&self.ours, status)),
            error,
        }
    }
}

/// An acceptor whose Challenge is on its way.
#[derive(Debug)]
#[must_use = "a handshake that is not driven on never ends"]
pub struct AwaitFinish<'k> {
    exchange: Exchange,
    keys: &'k KeyRing,
    enforcement: Enforcement,
    transcript: Transcript,
}

impl AwaitFinish<'_> {
    /// Takes the dialer's second frame; of a frame with a body the header is enough.
    ///
    /// # Errors
    ///
    /// Everything that is not a valid proof, except that [`Enforcement::Soft`] admits a Finish
    /// whose MAC is wrong. Nothing is answered: the dialer has stopped reading handshake frames.
    pub fn on_finish(self, frame: HeaderView<'_>) -> Result<Outcome, AcceptorError> {
        check_frame(frame, Command::REPLICA_FINISH, self.exchange.ids.cluster)?;
        let peer = self.peer();
        if frame.replica() != peer {
            return Err(AcceptorError::IdentityChanged { hello: peer, finish: frame.replica() });
        }
        let mac = message::read_mac(frame);
        let which = self.keys.verify(self.transcript, &self.exchange, Direction::Dialer, &mac);
        match (which, self.enforcement) {
            (Some(which), _) => Ok(Outcome::proven(peer, which)),
            (None, Enforcement::Soft) => Ok(Outcome::tolerated(peer, Leniency::MacMismatch)),
            (None, Enforcement::Enforce) => Err(AcceptorError::MacMismatch { peer }),
        }
    }

    /// The dialer closed the connection instead: what a wrong secret looks like from this side.
    pub fn on_close(self) -> AcceptorError {
        AcceptorError::ChallengeAbandoned { peer: self.peer() }
    }

    /// The replica that the dialer claims to be.
    pub const fn peer(&self) -> ReplicaId {
        self.exchange.ids.dialer
    }
}

/// Size, command, cluster: the checks that come first, in the order the protocol sets.
fn check_frame(
    frame: HeaderView<'_>,
    expected: Command,
    cluster: ClusterId,
) -> Result<(), AcceptorError> {
    if !message::is_header_only(frame) {
        return Err(AcceptorError::Malformed { size: frame.size() });
    }
    if frame.command() != expected {
        return Err(AcceptorError::UnexpectedCommand { command: frame.command(), expected });
    }
    if frame.cluster() != cluster {
        return Err(AcceptorError::ClusterMismatch { ours: cluster, theirs: frame.cluster() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Secret;

    const CLUSTER: ClusterId = ClusterId::new(7);
    const ONE: ReplicaId = ReplicaId::new(1);
    const TWO: ReplicaId = ReplicaId::new(2);

    fn ring() -> KeyRing {
        KeyRing::new(&Secret::new(vec![0x5a; 32]).expect("32 bytes"), None)
    }

    fn acceptor(keys: &KeyRing, enforcement: Enforcement) -> Acceptor<'_> {
        let auth = Auth::On { keys, enforcement, transcript: Transcript::Current };
        Acceptor::new(Identity::new(CLUSTER, TWO, auth))
    }

    fn nonce() -> Nonce {
        Nonce::new([0xac; 32]).expect("not zero")
    }

    fn awaiting(keys: &KeyRing, enforcement: Enforcement) -> AwaitFinish<'_> {
        let mut hello = Header::new(Command::REPLICA_HELLO);
        hello.set_cluster(CLUSTER).set_replica(ONE);
        hello.reserved_command_mut()[..32].fill(0xd1);
        let step = acceptor(keys, enforcement).on_hello(hello.as_view(), |_| true, nonce);
        let HelloStep::Challenge { next, .. } = step else { panic!("the Hello is right") };
        next
    }

    #[test]
    fn a_dialer_that_leaves_after_the_challenge_has_abandoned_it() {
        let keys = ring();
        let error = awaiting(&keys, Enforcement::Enforce).on_close();
        assert_eq!(error, AcceptorError::ChallengeAbandoned { peer: ONE });
    }

    proptest! {
        #[test]
        fn a_finish_by_somebody_without_the_secret_is_never_authenticated(
            mac in any::<[u8; 32]>(),
        ) {
            let mut frame = Header::new(Command::REPLICA_FINISH);
            frame.set_cluster(CLUSTER).set_replica(ONE);
            frame.reserved_command_mut()[32..64].copy_from_slice(&mac);
            let keys = ring();
            let soft = awaiting(&keys, Enforcement::Soft).on_finish(frame.as_view());
            prop_assert_eq!(soft, Ok(Outcome::tolerated(ONE, Leniency::MacMismatch)));
            let enforced = awaiting(&keys, Enforcement::Enforce).on_finish(frame.as_view());
            prop_assert_eq!(enforced, Err(AcceptorError::MacMismatch { peer: ONE }));
        }

        #[test]
        fn no_bytes_panic_or_get_in_at_once(
            bytes in proptest::collection::vec(any::<u8>(), 256),
            command in 10..20_u8,
            header_only in any::<bool>(),
        ) {
            let mut frame = HeaderView::from_slice(&bytes).expect("256 bytes").to_owned();
            frame.set_command(Command::new(command)).set_cluster(CLUSTER);
            if header_only {
                frame.set_size(256);
            }
            let keys = ring();
            let step = acceptor(&keys, Enforcement::Enforce)
                .on_hello(frame.as_view(), |_| true, nonce);
            prop_assert!(!matches!(step, HelloStep::Admitted(_)));
            let finished = awaiting(&keys, Enforcement::Soft).on_finish(frame.as_view());
            prop_assert!(!finished.is_ok_and(|outcome| outcome.authenticated()));
        }
    }
}
