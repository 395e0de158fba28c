//! What a finished handshake found out.

use core::fmt;

use ringseal_wire::ReplicaId;

use crate::key::Which;

/// The result of a handshake that ended in a link.
///
/// It is a plain value that travels with the link's descriptor to the core that will own it. More
/// may be learned in a handshake one day, so it is only made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    peer: ReplicaId,
    standing: Standing,
}

/// Exactly one of these is true of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Proven(Which),
    Tolerated(Leniency),
    Unasked,
}

impl Outcome {
    /// The replica at the other end: proven when [`authenticated`](Self::authenticated), otherwise
    /// only claimed by it (acceptor) or expected of it (dialer).
    pub const fn peer(&self) -> ReplicaId {
        self.peer
    }

    /// Whether the peer proved that it holds the cluster's secret.
    ///
    /// A dialer's own proof is still on its way at this point: its link is provisional until the
    /// acceptor's first frame arrives.
    pub const fn authenticated(&self) -> bool {
        matches!(self.standing, Standing::Proven(_))
    }

    /// Which of our keys the peer's proof was made with; `None` when it proved nothing.
    pub const fn key(&self) -> Option<Which> {
        match self.standing {
            Standing::Proven(which) => Some(which),
            Standing::Tolerated(_) | Standing::Unasked => None,
        }
    }

    /// Why [`Enforcement::Enforce`](crate::Enforcement::Enforce) would have refused this link;
    /// `None` when it would not, or when authentication is off.
    pub const fn leniency(&self) -> Option<Leniency> {
        match self.standing {
            Standing::Tolerated(leniency) => Some(leniency),
            Standing::Proven(_) | Standing::Unasked => None,
        }
    }

    pub(crate) const fn proven(peer: ReplicaId, which: Which) -> Outcome {
        Outcome { peer, standing: Standing::Proven(which) }
    }

    pub(crate) const fn tolerated(peer: ReplicaId, leniency: Leniency) -> Outcome {
        Outcome { peer, standing: Standing::Tolerated(leniency) }
    }

    pub(crate) const fn unasked(peer: ReplicaId) -> Outcome {
        Outcome { peer, standing: Standing::Unasked }
    }
}

/// What a soft node let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leniency {
    /// The peer took no part in authentication.
    AuthRequired,
    /// The peer's proof was wrong.
    MacMismatch,
}

impl Leniency {
    /// Every leniency, for tables of counters.
    pub const ALL: [Leniency; 2] = [Leniency::AuthRequired, Leniency::MacMismatch];

    /// The label used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Leniency::AuthRequired => "auth_required",
            Leniency::MacMismatch => "mac_mismatch",
        }
    }
}

impl fmt::Display for Leniency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
