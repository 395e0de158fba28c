//! The handle that embedders hold.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringseal_wire::{Frame, ReplicaId};

use crate::config::{Config, ConfigError};
use crate::error::{Broadcast, SendError, ShutdownError, StartError};
use crate::handler::Handler;
use crate::listener;
use crate::mesh::{Control, Outgoing};
use crate::metrics::{Metrics, PeerStatus};
use crate::registry::Shared;
use crate::roster::Address;
use crate::runtime::{self, Worker};
use crate::shard::Shard;

/// A handle on a bus: cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Mesh {
    shared: Arc<Shared>,
}

impl Mesh {
    /// Opens the port and makes the shards, for an embedder who runs them on glommio executors of
    /// its own: each by [`Shard::run`]. Nothing happens before they run.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the port cannot be opened.
    pub fn new(config: Config) -> Result<(Self, Vec<Shard>), StartError> {
        let address = listen_address(&config.listen)?;
        let count = config.shards();
        // Whoever finds the port open makes its tag after this.
        let started_ms = config.environment.unix_ms();
        let (ports, bound) = listener::open(address, count)
            .map_err(|source| StartError::Listen { address, source })?;
        let shared = Arc::new(Shared::new(config, count, bound, started_ms));
        let shard = |(index, port)| Shard { index, shared: shared.clone(), port };
        let shards = ports.into_iter().enumerate().map(shard).collect();
        Ok((Self { shared }, shards))
    }

    /// Sends a frame to a peer. Never blocks: the frame is accepted, and will be written or counted
    /// as lost when the link ends, or it is given back at once.
    ///
    /// Frames that one thread sends to one peer arrive in the order of sending.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the frame and the reason: no link, no room, too large, unknown peer,
    /// shutting down, or a command that belongs to the handshake.
    pub fn send(&self, peer: ReplicaId, frame: Frame) -> Result<(), SendError> {
        match self.shared.admit(peer, frame.wire_len(), frame.command()) {
            Ok(owner) => {
                let incarnation = owner.incarnation();
                let outgoing = Outgoing { peer, incarnation, frame };
                self.shared.mailboxes[owner.shard()].send(outgoing);
                Ok(())
            }
            Err(kind) => Err(SendError { kind, frame }),
        }
    }

    /// Sends a frame to every other replica; all copies share one body.
    pub fn broadcast(&self, frame: &Frame) -> Broadcast {
        let mut result = Broadcast::default();
        let settings = self.shared.settings();
        for (peer, _) in settings.roster.iter().filter(|(id, _)| *id != self.shared.replica) {
            match self.send(peer, frame.clone()) {
                Ok(()) => result.accepted += 1,
                Err(error) => result.refused.push((peer, error.kind)),
            }
        }
        result
    }

    /// Has the handler receive frames of `peer` again after [`Flow::Pause`](crate::Flow::Pause).
    /// Does nothing when the link is not paused.
    pub fn resume(&self, peer: ReplicaId) {
        let owner = self.shared.slot(peer).owner.load();
        if owner.is_up() {
            self.shared.mailboxes[owner.shard()].tell(Control::Resume(peer));
        }
    }

    /// Puts another configuration in force without stopping: secrets, enforcement, roster and limits.
    ///
    /// Healthy links stay. Those end that the new configuration does not permit: links to replicas
    /// that have left the roster, and unauthenticated ones when enforcing begins. Links made with a
    /// secret that is gone are made anew, one at a time, unless
    /// [`with_retired_links`](Config::with_retired_links) keeps them. New replicas are dialled or
    /// admitted at once. Links that are up keep the `max_message_size` that they receive by.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the cluster, our id, the listen address, the shards or the spinning
    /// differ, which only a restart can change. Nothing has changed then.
    pub fn reload(&self, config: Config) -> Result<(), ConfigError> {
        self.shared.reload(config)
    }

    /// Our own id.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.shared.replica
    }

    /// Where the bus listens; the port is the real one if the configured one was 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Every other replica of the roster and the state of the link to it, in the order of ids.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.shared.peer_statuses()
    }

    /// What the bus has counted since its start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Asks every shard to shut down: sends are refused from now on, links write what they have
    /// accepted, and what is not written after `deadline` is lost. [`Shard::run`] then returns.
    pub fn stop(&self, deadline: Duration) {
        self.shared.stop(Instant::now() + deadline.min(FOR_EVER));
    }
}

/// A bus that runs on threads of its own, one pinned to each core. It is also a [`Mesh`].
///
/// Dropping it without [`shutdown`](Self::shutdown) stops it without waiting for anything. A handler
/// that panics stops the whole bus: its shard's links are gone, and half a bus would be worse than
/// none. Sends then fail with `ShuttingDown`.
pub struct Bus {
    mesh: Mesh,
    shards: Vec<Worker>,
}

impl Bus {
    /// Starts a bus. `handler` is called once on each shard's thread with the shard's number.
    ///
    /// With fewer cores than shards, shards share cores, and a warning says so.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the port cannot be opened or an executor cannot be made. Nothing is left
    /// running.
    pub fn start<H, F>(config: Config, handler: F) -> Result<Self, StartError>
    where
        H: Handler,
        F: Fn(usize) -> H + Send + Sync + 'static,
    {
        let cores = cores(&config);
        let spin = config.spin;
        let (mesh, shards) = Mesh::new(config)?;
        if shards.len() > cores.len() {
            let (shards, cores) = (shards.len(), cores.len());
            tracing::warn!(shards, cores, "more shards than cores: some shards share a core");
        }
        let handler = Arc::new(handler);
        let mut bus = Self { mesh, shards: Vec::with_capacity(shards.len()) };
        for shard in shards {
            let index = shard.index();
            let handler = handler.clone();
            let shared = bus.mesh.shared.clone();
            let job = runtime::Job {
                start: Box::new(move || Box::pin(shard.run(handler(index)))),
                on_panic: Box::new(move || {
                    tracing::error!(shard = index, "the handler has panicked; the bus stops");
                    shared.stop(Instant::now());
                }),
            };
            let core = (!cores.is_empty()).then(|| cores[index % cores.len()]);
            // On an error, dropping `bus` ends the shards that run already.
            let worker = runtime::run(core, spin, job)
                .map_err(|source| StartError::Executor { shard: index, source })?;
            bus.shards.push(worker);
        }
        Ok(bus)
    }

    /// The handle, to keep where the bus itself cannot be.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Shuts down: refuses sends from now on, writes what has been accepted, and returns when every
    /// shard has ended. What cannot be written before `deadline` is counted as lost.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] when a handler has panicked or does not return.
    pub fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        let end = Instant::now() + deadline.min(FOR_EVER);
        self.mesh.stop(deadline);
        for (shard, worker) in self.shards.drain(..).enumerate() {
            match worker.join(end + HANDLER_GRACE) {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(ShutdownError::Panicked { shard }),
                None => return Err(ShutdownError::Stuck { shard }),
            }
        }
        Ok(())
    }
}

/// The longest deadline, so that any that an embedder can write has an end that can be computed.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What a shard may need to end its links after the deadline, if its handler returns.
const HANDLER_GRACE: Duration = Duration::from_secs(5);

impl Drop for Bus {
    fn drop(&mut self) {
        self.mesh.stop(Duration::ZERO);
    }
}

impl Deref for Bus {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("mesh", &self.mesh).finish_non_exhaustive()
    }
}

/// The cores to pin shards to: those configured, or all that this process may use.
fn cores(config: &Config) -> Vec<usize> {
    if config.cores.is_empty() {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        return all.into_iter().map(|core| core.id).collect();
    }
    config.cores.clone()
}

fn listen_address(address: &Address) -> Result<SocketAddr, StartError> {
    let resolved = match address {
        Address::Socket(socket) => return Ok(*socket),
        Address::Name { host, port } => (host.as_str(), *port).to_socket_addrs(),
    };
    let error = |source| StartError::Resolve { address: address.to_string(), source };
    resolved.map_err(error)?.next().ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))
}
