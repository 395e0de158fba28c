//! Why a handshake failed, as far as we know.
//!
//! Every error names a [`Culprit`], says in its text what to do, and maps to one
//! [`HandshakeResult`], the word that metrics and logs use. What the peer is told is separate and
//! smaller: [`Status`].

use core::fmt;

use ringseal_wire::{ClusterId, Command, ReplicaId};
use thiserror::Error;

use crate::status::Status;

/// Where to look first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Culprit {
    /// Our own program.
    Us,
    /// The peer: it is broken, too new, or not a replica at all.
    Peer,
    /// The settings of the two sides, which do not fit together.
    Configuration,
    /// Whatever lies between the two.
    Network,
}

/// A handshake's result in one word: the closed set used as a label.
///
/// Some of these are never produced by the state machines themselves: deadlines, evictions and IO
/// errors are the caller's, and share the same vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeResult {
    /// The link is up.
    Ok,
    /// A frame came that has no place here.
    UnknownCommand,
    /// The two sides are of different clusters.
    ClusterMismatch,
    /// The two ids may not be at these ends of a link.
    DirectionalRule,
    /// One side authenticates and the other does not.
    AuthRequired,
    /// The peer's proof is wrong.
    MacMismatch,
    /// The peer left when it saw our proof.
    ChallengeAbandoned,
    /// A frame that no correct peer sends.
    Malformed,
    /// Nothing came in time.
    Timeout,
    /// The connection had to make room for another.
    Evicted,
    /// The socket failed.
    Io,
}

impl HandshakeResult {
    /// Every result, for tables of counters: `ALL[result as usize] == result`.
    pub const ALL: [HandshakeResult; 11] = [
        HandshakeResult::Ok,
        HandshakeResult::UnknownCommand,
        HandshakeResult::ClusterMismatch,
        HandshakeResult::DirectionalRule,
        HandshakeResult::AuthRequired,
        HandshakeResult::MacMismatch,
        HandshakeResult::ChallengeAbandoned,
        HandshakeResult::Malformed,
        HandshakeResult::Timeout,
        HandshakeResult::Evicted,
        HandshakeResult::Io,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            HandshakeResult::Ok => "ok",
            HandshakeResult::UnknownCommand => "unknown_command",
            HandshakeResult::ClusterMismatch => "cluster_mismatch",
            HandshakeResult::DirectionalRule => "directional_rule",
            HandshakeResult::AuthRequired => "auth_required",
            HandshakeResult::MacMismatch => "mac_mismatch",
            HandshakeResult::ChallengeAbandoned => "challenge_abandoned",
            HandshakeResult::Malformed => "malformed",
            HandshakeResult::Timeout => "timeout",
            HandshakeResult::Evicted => "evicted",
            HandshakeResult::Io => "io",
        }
    }
}

impl fmt::Display for HandshakeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a dialer gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialerError {
    /// Of two replicas the lower id dials, and that is not us.
    #[error(
        "replica {ours} must not dial replica {peer}: of two replicas the one with the lower id \
         dials, so wait for it to call"
    )]
    NotOursToDial {
        /// Our id.
        ours: ReplicaId,
        /// The id we were asked to dial.
        peer: ReplicaId,
    },
    /// A handshake frame is a header and nothing else.
    #[error(
        "the peer's answer announces {size} bytes where a handshake frame has exactly 256: check \
         that the address is a replica's"
    )]
    Malformed {
        /// The announced size in bytes.
        size: u32,
    },
    /// The answer to the Hello is no Challenge.
    #[error(
        "the peer answered the Hello with {command} instead of a Challenge: its authentication is \
         probably off; enable it there, or use soft enforcement here meanwhile"
    )]
    UnexpectedCommand {
        /// What came instead.
        command: Command,
    },
    /// The acceptor is of another cluster.
    #[error(
        "the peer belongs to cluster {theirs} and we to {ours}: compare the cluster names and the \
         peer's address in the roster"
    )]
    ClusterMismatch {
        /// Our cluster.
        ours: ClusterId,
        /// The cluster named in the answer.
        theirs: ClusterId,
    },
    /// Another replica than the dialed one answered.
    #[error(
        "replica {dialed}'s address was answered by replica {answered}: correct the address in \
         the roster, or the id in that node's configuration"
    )]
    WrongPeer {
        /// The id we dialed.
        dialed: ReplicaId,
        /// The id that answered.
        answered: ReplicaId,
    },
    /// The acceptor refused us and said why.
    #[error("the peer refused our Hello with {status}: {}", advice(*status))]
    RefusedByPeer {
        /// What it told us, never [`Status::Ok`].
        status: Status,
    },
    /// A Challenge without a nonce.
    #[error(
        "the peer sent a Challenge without a nonce, so it does not authenticate: check that it \
         runs a compatible version with authentication on"
    )]
    MissingNonce,
    /// Our own nonce came back as the acceptor's.
    #[error(
        "the peer sent our own nonce back to us: this is a reflection, not a replica; find out \
         what answers on its address"
    )]
    Reflected,
    /// The acceptor's MAC is wrong, so nothing of ours was shown to it.
    #[error(
        "the peer's proof is wrong: compare the shared secret, the transcript form and the \
         channel binding on both nodes; if they agree, something impersonates the peer"
    )]
    MacMismatch,
    /// The acceptor said nothing in time.
    #[error(
        "the peer did not answer the Hello in time: check that it is alive, reachable and has \
         authentication on"
    )]
    Silence,
}

impl DialerError {
    /// The label of this failure.
    pub const fn result(&self) -> HandshakeResult {
        match self {
            DialerError::NotOursToDial { .. } | DialerError::WrongPeer { .. } => {
                HandshakeResult::DirectionalRule
            }
            DialerError::Malformed { .. } => HandshakeResult::Malformed,
            DialerError::UnexpectedCommand { .. } => HandshakeResult::UnknownCommand,
            DialerError::ClusterMismatch { .. } => HandshakeResult::ClusterMismatch,
            DialerError::RefusedByPeer { status } => result_of(*status),
            DialerError::MissingNonce => HandshakeResult::AuthRequired,
            DialerError::Reflected | DialerError::MacMismatch => HandshakeResult::MacMismatch,
            DialerError::Silence => HandshakeResult::Timeout,
        }
    }

    /// Where to look first.
    pub const fn culprit(&self) -> Culprit {
        match self {
            DialerError::NotOursToDial { .. } => Culprit::Us,
            DialerError::Malformed { .. }
            | DialerError::MissingNonce
            | DialerError::Reflected
            | DialerError::RefusedByPeer { status: Status::Ok | Status::Unknown(_) } => {
                Culprit::Peer
            }
            DialerError::RefusedByPeer { status: Status::UnknownCommand } => Culprit::Us,
            DialerError::UnexpectedCommand { .. }
            | DialerError::ClusterMismatch { .. }
            | DialerError::WrongPeer { .. }
            | DialerError::RefusedByPeer { .. }
            | DialerError::MacMismatch => Culprit::Configuration,
            DialerError::Silence => Culprit::Network,
        }
    }
}

/// Why an acceptor gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcceptorError {
    /// A handshake frame is a header and nothing else.
    #[error(
        "the peer's frame announces {size} bytes where a handshake frame has exactly 256: it is \
         broken or no replica at all"
    )]
    Malformed {
        /// The announced size in bytes.
        size: u32,
    },
    /// A frame came that has no place here.
    #[error(
        "the peer sent {command} where the handshake has {expected}: check that it is a replica \
         and runs a compatible version"
    )]
    UnexpectedCommand {
        /// What came.
        command: Command,
        /// What had to come.
        expected: Command,
    },
    /// The dialer is of another cluster.
    #[error(
        "the peer belongs to cluster {theirs} and we to {ours}: compare the cluster names and our \
         address in its roster"
    )]
    ClusterMismatch {
        /// Our cluster.
        ours: ClusterId,
        /// The cluster named in the frame.
        theirs: ClusterId,
    },
    /// The dialer's id is not in our roster.
    #[error("replica {peer} is not in our roster: add it, or correct that node's id")]
    NotInRoster {
        /// The id it claims.
        peer: ReplicaId,
    },
    /// The dialer's id is not lower than ours.
    #[error(
        "replica {peer} must not dial replica {ours}: of two replicas the one with the lower id \
         dials; check that no two nodes are configured with the same id"
    )]
    DirectionalRule {
        /// The id it claims.
        peer: ReplicaId,
        /// Our id.
        ours: ReplicaId,
    },
    /// The Hello carries no nonce.
    #[error(
        "replica {peer} does not authenticate: enable authentication there, or use soft \
         enforcement here meanwhile"
    )]
    AuthRequired {
        /// The id it claims.
        peer: ReplicaId,
    },
    /// The Finish is from another replica than the Hello.
    #[error(
        "the peer said Hello as replica {hello} and Finish as replica {finish}: a replica keeps \
         its id, so that peer is broken"
    )]
    IdentityChanged {
        /// The id of the Hello.
        hello: ReplicaId,
        /// The id of the Finish.
        finish: ReplicaId,
    },
    /// The dialer's MAC is wrong.
    #[error(
        "replica {peer}'s proof is wrong: compare the shared secret, the transcript form and the \
         channel binding on both nodes; if they agree, something impersonates that replica"
    )]
    MacMismatch {
        /// The id it claims.
        peer: ReplicaId,
    },
    /// The dialer left instead of sending a Finish.
    #[error(
        "replica {peer} left when it saw our proof, as it does when the secrets differ: compare \
         the shared secret and the transcript form on both nodes"
    )]
    ChallengeAbandoned {
        /// The id it claims.
        peer: ReplicaId,
    },
}

impl AcceptorError {
    /// The label of this failure.
    pub const fn result(&self) -> HandshakeResult {
        match self {
            AcceptorError::Malformed { .. } | AcceptorError::IdentityChanged { .. } => {
                HandshakeResult::Malformed
            }
            AcceptorError::UnexpectedCommand { .. } => HandshakeResult::UnknownCommand,
            AcceptorError::ClusterMismatch { .. } => HandshakeResult::ClusterMismatch,
            AcceptorError::NotInRoster { .. } | AcceptorError::DirectionalRule { .. } => {
                HandshakeResult::DirectionalRule
            }
            AcceptorError::AuthRequired { .. } => HandshakeResult::AuthRequired,
            AcceptorError::MacMismatch { .. } => HandshakeResult::MacMismatch,
            AcceptorError::ChallengeAbandoned { .. } => HandshakeResult::ChallengeAbandoned,
        }
    }

    /// What the peer is told, if it is waiting for an answer; `None` when it never is.
    pub const fn status(&self) -> Option<Status> {
        match self {
            AcceptorError::UnexpectedCommand { .. } => Some(Status::UnknownCommand),
            AcceptorError::ClusterMismatch { .. } => Some(Status::ClusterMismatch),
            AcceptorError::NotInRoster { .. } | AcceptorError::DirectionalRule { .. } => {
                Some(Status::DirectionalRule)
            }
            AcceptorError::Malformed { .. }
            | AcceptorError::AuthRequired { .. }
            | AcceptorError::IdentityChanged { .. }
            | AcceptorError::MacMismatch { .. }
            | AcceptorError::ChallengeAbandoned { .. } => None,
        }
    }

    /// Where to look first.
    pub const fn culprit(&self) -> Culprit {
        match self {
            AcceptorError::Malformed { .. }
            | AcceptorError::UnexpectedCommand { .. }
            | AcceptorError::IdentityChanged { .. } => Culprit::Peer,
            AcceptorError::ClusterMismatch { .. }
            | AcceptorError::NotInRoster { .. }
            | AcceptorError::DirectionalRule { .. }
            | AcceptorError::AuthRequired { .. }
            | AcceptorError::MacMismatch { .. }
            | AcceptorError::ChallengeAbandoned { .. } => Culprit::Configuration,
        }
    }
}

/// The label of a refusal that the peer sent. What a later protocol may mean is not ours to guess,
/// so an unknown status counts as an answer that cannot be read.
const fn result_of(status: Status) -> HandshakeResult {
    match status {
        Status::UnknownCommand => HandshakeResult::UnknownCommand,
        Status::ClusterMismatch => HandshakeResult::ClusterMismatch,
        Status::DirectionalRule => HandshakeResult::DirectionalRule,
        Status::AuthRequired => HandshakeResult::AuthRequired,
        Status::MacMismatch => HandshakeResult::MacMismatch,
        Status::Ok | Status::Unknown(_) => HandshakeResult::Malformed,
    }
}

const fn advice(status: Status) -> &'static str {
    match status {
        Status::UnknownCommand => "it does not take our Hello for one; compare the versions",
        Status::ClusterMismatch => "compare the cluster names on both nodes",
        Status::DirectionalRule => {
            "our id is not in its roster or not lower than its own; compare the rosters and the ids"
        }
        Status::AuthRequired => "it wants authentication; enable it here",
        Status::MacMismatch => "compare the shared secrets on both nodes",
        Status::Ok | Status::Unknown(_) => {
            "this version does not know that reason; read the peer's own log"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: ReplicaId = ReplicaId::new(3);
    const PEER: ReplicaId = ReplicaId::new(1);
    const CLUSTER: ClusterId = ClusterId::new(1);

    fn dialer_errors() -> Vec<DialerError> {
        let mut errors = vec![
            DialerError::NotOursToDial { ours: OURS, peer: PEER },
            DialerError::Malformed { size: 257 },
            DialerError::UnexpectedCommand { command: Command::PING },
            DialerError::ClusterMismatch { ours: CLUSTER, theirs: ClusterId::new(2) },
            DialerError::WrongPeer { dialed: OURS, answered: PEER },
            DialerError::MissingNonce,
            DialerError::Reflected,
            DialerError::MacMismatch,
            DialerError::Silence,
        ];
        let refusals = (1..=6).map(Status::from_byte);
        errors.extend(refusals.map(|status| DialerError::RefusedByPeer { status }));
        errors
    }

    fn acceptor_errors() -> [AcceptorError; 9] {
        let (command, expected) = (Command::PING, Command::REPLICA_HELLO);
        [
            AcceptorError::Malformed { size: 255 },
            AcceptorError::UnexpectedCommand { command, expected },
            AcceptorError::ClusterMismatch { ours: CLUSTER, theirs: ClusterId::new(2) },
            AcceptorError::NotInRoster { peer: PEER },
            AcceptorError::DirectionalRule { peer: OURS, ours: PEER },
            AcceptorError::AuthRequired { peer: PEER },
            AcceptorError::IdentityChanged { hello: PEER, finish: OURS },
            AcceptorError::MacMismatch { peer: PEER },
            AcceptorError::ChallengeAbandoned { peer: PEER },
        ]
    }

    #[test]
    fn labels_are_distinct_and_index_their_table() {
        for (index, result) in HandshakeResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
            let twins =
                HandshakeResult::ALL.iter().filter(|other| other.as_str() == result.as_str());
            assert_eq!(twins.count(), 1);
        }
    }

    #[test]
    fn no_failure_is_labelled_ok() {
        for error in dialer_errors() {
            assert_ne!(error.result(), HandshakeResult::Ok, "{error}");
        }
        for error in acceptor_errors() {
            assert_ne!(error.result(), HandshakeResult::Ok, "{error}");
        }
    }

    #[test]
    fn every_message_says_what_is_wrong_and_then_what_to_do() {
        let dialer = dialer_errors().into_iter().map(|error| error.to_string());
        let acceptor = acceptor_errors().into_iter().map(|error| error.to_string());
        for message in dialer.chain(acceptor) {
            let (wrong, todo) = message.split_once(": ").expect("two parts");
            assert!(wrong.len() > 20 && todo.len() > 10, "{message}");
            assert!(!message.contains("  "), "one line without gaps: {message}");
        }
    }

    #[test]
    fn what_the_peer_is_told_has_the_same_name_as_what_we_count() {
        for error in acceptor_errors() {
            if let Some(status) = error.status() {
                assert_eq!(status.to_string(), error.result().as_str());
            }
        }
    }

    #[test]
    fn a_refusal_counts_under_the_name_the_peer_gave_it() {
        for byte in 1..=u8::MAX {
            let status = Status::from_byte(byte);
            let result = DialerError::RefusedByPeer { status }.result();
            match status {
                Status::Unknown(_) => assert_eq!(result, HandshakeResult::Malformed),
                known => assert_eq!(result.as_str(), known.to_string()),
            }
        }
    }
}
