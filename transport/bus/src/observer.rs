//! What a reviewer of the cluster wants to know of: who was let in, who was not, and what changed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ringseal_auth::{Leniency, Policy};
use ringseal_wire::{FrameView, ReplicaId};

use crate::error::Reason;
use crate::handler::{Flow, Handler};
use crate::handoff::Handoff;
use crate::link::Link;
use crate::metrics::Role;
use crate::registry::Shared;
use crate::roster::Roster;
use crate::runtime::Stream;
use crate::settings::{KeyId, Settings};

/// Is told of every event that decides or ends somebody's access.
///
/// The calls come from the shards and from whoever reloads, at the same time. They must return at
/// once and never block: a shard carries no frames meanwhile, and a stranger can cause as many
/// refusals as connections.
pub trait Observer: Send + Sync + fmt::Debug + 'static {
    /// Something happened, `unix_ms` milliseconds after the Unix epoch.
    fn observe(&self, unix_ms: u64, event: Event);
}

/// Something that decides or ends somebody's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer is linked. Its [`Ended`](Self::Ended) follows, always.
    Admitted {
        /// Who it is.
        peer: ReplicaId,
        /// Which end we were.
        role: Role,
        /// The other end of the connection.
        address: Option<SocketAddr>,
        /// Whether it has proven that it holds the secret.
        authenticated: bool,
        /// What `enforce` would have refused it for.
        leniency: Option<Leniency>,
    },
    /// A handshake failed, or a newcomer was closed because its peer has a living link.
    Refused {
        /// Who the other end said it was, if it got that far, or whom we dialled.
        peer: Option<ReplicaId>,
        /// Which end we were.
        role: Role,
        /// The other end of the connection, unless there was none.
        address: Option<SocketAddr>,
        /// The word that logs and metrics carry.
        reason: &'static str,
    },
    /// A link has ended.
    Ended {
        /// Whose link.
        peer: ReplicaId,
        /// The other end of the connection.
        address: Option<SocketAddr>,
        /// Why.
        reason: Reason,
        /// How many accepted frames were lost with it.
        lost: u64,
    },
    /// Another configuration is in force.
    Reloaded {
        /// How strictly peers must authenticate now.
        policy: Policy,
    },
    /// The secrets are not those that they were.
    KeysChanged {
        /// Whether the current secret is another.
        current: bool,
        /// Whether there is a previous secret now that is accepted as well.
        previous: bool,
    },
    /// A replica has come into the roster.
    ReplicaJoined {
        /// Which.
        peer: ReplicaId,
        /// Where it listens, unless that is a name.
        address: Option<SocketAddr>,
    },
    /// A replica has left the roster.
    ReplicaLeft {
        /// Which.
        peer: ReplicaId,
        /// Where it listened, unless that was a name.
        address: Option<SocketAddr>,
    },
}

impl Shared {
    pub(crate) fn observe(&self, event: Event) {
        if let Some(observer) = &self.observer {
            observer.observe(self.environment.unix_ms(), event);
        }
    }

    /// A handshake failed, or a newcomer had to go.
    pub(crate) fn refused(
        &self,
        role: Role,
        peer: Option<ReplicaId>,
        address: Option<SocketAddr>,
        reason: &'static str,
    ) {
        self.observe(Event::Refused { peer, role, address, reason });
    }

    /// Tells what a reload has changed. An address that changed is a replica that left and joined.
    pub(crate) fn observe_reload(&self, before: &Settings, now: &Settings) {
        self.observe(Event::Reloaded { policy: now.policy() });
        let (old, new) = (before.key_ids(), now.key_ids());
        if old != new {
            let previous = new.1 != KeyId::NONE;
            self.observe(Event::KeysChanged { current: old.0 != new.0, previous });
        }
        for (peer, address) in only_in(&before.roster, &now.roster) {
            self.observe(Event::ReplicaLeft { peer, address });
        }
        for (peer, address) in only_in(&now.roster, &before.roster) {
            self.observe(Event::ReplicaJoined { peer, address });
        }
    }
}

/// The replicas of one roster that the other does not have, or has elsewhere.
fn only_in<'a>(
    one: &'a Roster,
    other: &'a Roster,
) -> impl Iterator<Item = (ReplicaId, Option<SocketAddr>)> + 'a {
    let differs = |(id, address): &(ReplicaId, _)| other.get(*id) != Some(*address);
    one.iter().filter(differs).map(|(id, address)| (id, address.socket()))
}

/// A handler whose links are observed. Without an observer it costs nothing on the way of a frame.
#[derive(Debug)]
pub(crate) struct Observed<H> {
    handler: H,
    shared: Arc<Shared>,
    /// Where the other ends of this shard's links are.
    addresses: BTreeMap<ReplicaId, SocketAddr>,
}

impl<H> Observed<H> {
    pub(crate) fn new(handler: H, shared: Arc<Shared>) -> Self {
        Self { handler, shared, addresses: BTreeMap::new() }
    }

    /// A link begins on this shard.
    pub(crate) fn admitted(&mut self, link: &Handoff<Stream>) {
        let (peer, address) = (link.outcome.peer(), link.socket.peer_addr());
        if let Some(address) = address {
            self.addresses.insert(peer, address);
        }
        self.shared.observe(Event::Admitted {
            peer,
            role: link.owner.role(),
            address,
            authenticated: link.outcome.authenticated(),
            leniency: link.outcome.leniency(),
        });
    }
}

impl<H: Handler> Handler for Observed<H> {
    fn on_link_up(&mut self, link: &mut Link<'_>, incarnation: u64) {
        self.handler.on_link_up(link, incarnation);
    }

    #[inline]
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        self.handler.on_frame(link, frame)
    }

    fn on_writable(&mut self, link: &mut Link<'_>) {
        self.handler.on_writable(link);
    }

    fn on_link_down(&mut self, peer: ReplicaId, reason: Reason, lost: u64) {
        let address = self.addresses.remove(&peer);
        self.shared.observe(Event::Ended { peer, address, reason, lost });
        self.handler.on_link_down(peer, reason, lost);
    }
}
