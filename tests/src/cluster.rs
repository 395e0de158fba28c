//! Replicas of one cluster, all in this process, each with a journal of what its handler was told.
//!
//! ```
//! use ringseal_tests::cluster::Net;
//! use ringseal_tests::frames;
//! use ringseal_tests::script::Listen;
//!
//! let net = Net::new(&[0, 1]);
//! let (zero, one) = (net.start(0, || Listen), net.start(1, || Listen));
//! zero.wait_for_link(1);
//! zero.send(1.into(), frames::patterned(7, 300)).unwrap();
//! assert!(one.journal.frames_from(0, 1) == [frames::patterned(7, 300)]);
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringseal::{
    Auth, Bus, Config, Enforcement, KeyRing, Limits, LinkStatus, Mesh, PeerStatus, ReplicaId,
    Roster, Secret, Transcript,
};

use crate::journal::Journal;
use crate::script::{Recorder, Script};

/// How long a test waits for what must happen before it gives up. Nothing ever waits that long
/// unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a bus gets to drain at the end of a test.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it does not within [`PATIENCE`]; the message names `what`.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `look` finds something.
///
/// # Panics
///
/// When it does not within [`PATIENCE`]; the message names `what`.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A cluster's replicas and what their configurations have in common.
#[derive(Clone, Debug)]
pub struct Net {
    addresses: BTreeMap<u8, SocketAddr>,
    secret: Option<[u8; 32]>,
    shards: usize,
    limits: Limits,
    quiet: bool,
}

impl Net {
    /// Replicas with these ids, each with an address of its own, one shard each, authenticated.
    #[must_use]
    pub fn new(ids: &[u8]) -> Self {
        let limits = Limits {
            reconnect_period: Duration::from_millis(100),
            // A machine that is busy with other tests is no silent stranger.
            hello_grace: Duration::from_secs(10),
            ..Limits::default()
        };
        Self {
            addresses: ids.iter().map(|id| (*id, crate::address::unused())).collect(),
            secret: Some([0x5a; 32]),
            shards: 1,
            limits,
            quiet: false,
        }
    }

    /// Runs every replica on so many shards.
    #[must_use]
    pub fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Changes the limits of every replica.
    #[must_use]
    pub fn with_limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Replaces the address at which one replica is dialled.
    #[must_use]
    pub fn with_address(mut self, id: u8, address: SocketAddr) -> Self {
        self.addresses.insert(id, address);
        self
    }

    /// Switches authentication off, so that raw sockets can take part.
    #[must_use]
    pub fn without_auth(mut self) -> Self {
        self.secret = None;
        self
    }

    /// Has journals count frames instead of keeping them.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Where a replica is dialled.
    #[must_use]
    pub fn address(&self, id: u8) -> SocketAddr {
        self.addresses[&id]
    }

    /// The configuration of one replica.
    #[must_use]
    pub fn config(&self, id: u8) -> Config {
        let replicas = self.addresses.iter().map(|(id, at)| (ReplicaId::new(*id), (*at).into()));
        let roster = Roster::new(replicas).expect("ids are distinct");
        self.config_with(id, roster)
    }

    /// The configuration of one replica that knows the others by a roster of its own.
    #[must_use]
    pub fn config_with(&self, id: u8, roster: Roster) -> Config {
        let auth = match self.secret {
            None => Auth::Off,
            Some(secret) => Auth::On {
                keys: KeyRing::new(&Secret::new(secret.to_vec()).expect("32 bytes"), None),
                enforcement: Enforcement::Enforce,
                transcript: Transcript::Current,
            },
        };
        Config::new("tests", ReplicaId::new(id), roster, auth)
            .and_then(|config| config.with_limits(self.limits))
            .and_then(|config| config.with_shards(self.shards))
            .expect("the test's configuration is right")
    }

    /// Starts a replica. `script` makes what each of its shards does beside keeping the journal.
    pub fn start<S: Script>(&self, id: u8, script: impl Fn() -> S + Send + Sync + 'static) -> Node {
        self.start_as(self.config(id), script)
    }

    /// Starts a replica with a configuration of its own.
    pub fn start_as<S: Script>(
        &self,
        config: Config,
        script: impl Fn() -> S + Send + Sync + 'static,
    ) -> Node {
        let journal = Arc::new(Journal::new(self.quiet));
        let shared = journal.clone();
        let bus = Bus::start(config, move |_shard| Recorder::new(shared.clone(), script()))
            .expect("the bus starts");
        Node { bus, journal }
    }

    /// Starts every replica and waits until all are linked with all.
    pub fn start_all<S: Script>(
        &self,
        script: impl Fn() -> S + Send + Sync + Clone + 'static,
    ) -> Vec<Node> {
        let nodes: Vec<_> =
            self.addresses.keys().map(|id| self.start(*id, script.clone())).collect();
        for node in &nodes {
            for peer in node.peers() {
                node.wait_for_link(peer.id.get());
            }
        }
        nodes
    }
}

/// A running replica and its journal.
#[derive(Debug)]
pub struct Node {
    /// The bus.
    pub bus: Bus,
    /// What its handlers have been told.
    pub journal: Arc<Journal>,
}

impl Node {
    /// Waits until the link to `peer` is up and the handler knows it.
    pub fn wait_for_link(&self, peer: u8) -> LinkStatus {
        wait_for("a link comes up", || {
            let link = peer_status(&self.bus, peer).link?;
            self.journal.has_come_up(peer, link.incarnation).then_some(link)
        })
    }

    /// Waits until nothing waits to be written to `peer`, credit included.
    pub fn wait_for_empty_outbox(&self, peer: u8) {
        wait_until("the outbox empties", || peer_status(&self.bus, peer).outbox == 0);
    }

    /// Shuts the replica down in good order.
    ///
    /// # Panics
    ///
    /// When a shard has panicked or does not end.
    pub fn shutdown(self) {
        self.bus.shutdown(DRAIN).expect("a clean shutdown");
    }
}

impl Deref for Node {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.bus
    }
}

/// How `mesh` sees one peer.
///
/// # Panics
///
/// When the peer is not in the roster.
#[must_use]
pub fn peer_status(mesh: &Mesh, peer: u8) -> PeerStatus {
    let found = mesh.peers().into_iter().find(|status| status.id.get() == peer);
    found.expect("the peer is in the roster")
}
