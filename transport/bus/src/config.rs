//! What a bus is told at start, parsed into types that cannot be wrong.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringseal_auth::{Enforcement, KeyRing, Transcript};
use ringseal_wire::{ClusterId, DEFAULT_MAX_FRAME, HEADER_LEN, ReplicaId};

use crate::environment::{Environment, System};
use crate::observer::Observer;
use crate::roster::{Address, Roster};

/// Whether peers must prove that they hold the cluster's secret.
#[derive(Debug)]
pub enum Auth {
    /// Nobody proves anything: every connection that says a lower id is believed.
    Off,
    /// Peers prove themselves with the key ring.
    On {
        /// The cluster's current secret and, during a rotation, another that is accepted.
        keys: KeyRing,
        /// Whether a peer that fails is refused, or admitted and counted.
        enforcement: Enforcement,
        /// Which form of the transcript this cluster speaks.
        transcript: Transcript,
    },
}

impl Auth {
    /// The same as the handshake takes it.
    pub(crate) fn as_auth(&self) -> ringseal_auth::Auth<'_> {
        match self {
            Self::Off => ringseal_auth::Auth::Off,
            Self::On { keys, enforcement, transcript } => {
                ringseal_auth::Auth::On { keys, enforcement: *enforcement, transcript: *transcript }
            }
        }
    }
}

/// What becomes of links that were made with a secret which a reload has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetiredLinks {
    /// They are made anew, one at a time.
    #[default]
    Reconnect,
    /// They stay until they end by themselves.
    Keep,
}

/// Every size and wait that the bus bounds. The defaults suit a replicated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest frame, header included, in bytes, sent or received: 256 B to 1 GiB. A peer that
    /// announces more is cut off before anything is allocated. Default 64 MiB.
    pub max_message_size: u32,
    /// How many frames may wait for one peer: 1 to 1,048,575. Default 1,024.
    pub outbox_frames: u32,
    /// How many bytes may wait for one peer: `max_message_size` to 8 TiB. Default 64 MiB.
    pub outbox_bytes: u64,
    /// How many bytes of received frames a shard's handler may hold before the shard stops reading:
    /// `max_message_size` to 8 TiB. Every link may fill one receive buffer beside it. Default 256 MiB.
    pub receive_budget: u64,
    /// How long a handshake may take, connecting included: 10 ms to 1 h. Default 10 s.
    pub handshake_grace: Duration,
    /// How long a stranger may stay silent: 10 ms to `handshake_grace`. Default 1 s.
    pub hello_grace: Duration,
    /// The longest wait between two dials of one peer: 10 ms to 1 h. Default 5 s.
    pub reconnect_period: Duration,
    /// How many connections may wait for their handshake on one shard: 4 to 65,536. A quarter is for
    /// members that a fresh tag has shown, a quarter for addresses of the roster, the rest for
    /// everyone else. Default 1,024.
    pub preauth_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: DEFAULT_MAX_FRAME,
            outbox_frames: 1024,
            outbox_bytes: 64 << 20,
            receive_budget: 256 << 20,
            handshake_grace: Duration::from_secs(10),
            hello_grace: Duration::from_secs(1),
            reconnect_period: Duration::from_secs(5),
            preauth_connections: 1024,
        }
    }
}

/// Outboxes count frames in 20 bits and bytes in 44 bits of one word, with a bit to spare.
pub(crate) const MAX_OUTBOX_FRAMES: u32 = (1 << 20) - 1;
pub(crate) const MAX_OUTBOX_BYTES: u64 = 8 << 40;

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let ms = Duration::from_millis(10);
        let hour = Duration::from_secs(3600);
        let message = u64::from(self.max_message_size);
        ranged("bus.max_message_size", message, HEADER_LEN as u64, 1 << 30)?;
        ranged("bus.outbox_frames", self.outbox_frames, 1, MAX_OUTBOX_FRAMES)?;
        ranged("bus.outbox_bytes", self.outbox_bytes, message, MAX_OUTBOX_BYTES)?;
        ranged("bus.receive_budget", self.receive_budget, message, MAX_OUTBOX_BYTES)?;
        ranged_time("bus.handshake_grace", self.handshake_grace, ms, hour)?;
        ranged_time("bus.hello_grace", self.hello_grace, ms, self.handshake_grace)?;
        ranged_time("bus.reconnect_period", self.reconnect_period, ms, hour)?;
        ranged("bus.preauth_connections", self.preauth_connections, 4, 65_536)
    }
}

/// A bus's whole configuration: once there is one, it is right.
///
/// ```
/// use ringseal::{Auth, Config, Limits, ReplicaId, Roster};
///
/// let replicas = [(ReplicaId::new(0), "127.0.0.1:7000".parse()?), (ReplicaId::new(1), "127.0.0.1:7001".parse()?)];
/// let config = Config::new("orders", ReplicaId::new(1), Roster::new(replicas)?, Auth::Off)?
///     .with_limits(Limits { outbox_frames: 64, ..Limits::default() })?
///     .with_shards(2)?;
/// assert_eq!(config.shards(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Config {
    pub(crate) cluster: ClusterId,
    pub(crate) replica: ReplicaId,
    pub(crate) listen: Address,
    pub(crate) roster: Roster,
    pub(crate) auth: Auth,
    pub(crate) limits: Limits,
    pub(crate) retired_links: RetiredLinks,
    pub(crate) safe_after: Duration,
    pub(crate) shards: usize,
    pub(crate) cores: Vec<usize>,
    pub(crate) spin: Duration,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Config {
    /// The configuration of one replica with every default: one shard per core, listening on the
    /// replica's own address of the roster.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `replica` is not in the roster.
    pub fn new(
        cluster: &str,
        replica: ReplicaId,
        roster: Roster,
        auth: Auth,
    ) -> Result<Self, ConfigError> {
        let Some(listen) = roster.get(replica).cloned() else {
            let ids: Vec<_> = roster.iter().map(|(id, _)| id.to_string()).collect();
            let allowed = format!("an id that cluster.replicas lists: {}", ids.join(", "));
            return Err(ConfigError::new("cluster.replica", replica, allowed));
        };
        Ok(Self {
            cluster: ringseal_auth::cluster_id(cluster),
            replica,
            listen,
            roster,
            auth,
            limits: Limits::default(),
            retired_links: RetiredLinks::default(),
            safe_after: Duration::from_secs(600),
            shards: 0,
            cores: Vec::new(),
            spin: Duration::ZERO,
            environment: Arc::new(System),
            observer: None,
        })
    }

    /// Listens on another address than the roster's, as behind a NAT or on every interface.
    #[must_use]
    pub fn with_listen(mut self, listen: Address) -> Self {
        self.listen = listen;
        self
    }

    /// Sets the sizes and waits that the bus bounds.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the first limit that is out of its range.
    pub fn with_limits(mut self, limits: Limits) -> Result<Self, ConfigError> {
        limits.check()?;
        self.limits = limits;
        Ok(self)
    }

    /// What becomes of links made with a secret that a reload has removed; by default they are made
    /// anew.
    #[must_use]
    pub fn with_retired_links(mut self, retired_links: RetiredLinks) -> Self {
        self.retired_links = retired_links;
        self
    }

    /// For how long no peer may have needed leniency before enforcing is called safe: 0 to 7 days,
    /// 10 minutes unless set.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for more than 7 days.
    pub fn with_safe_after(mut self, safe_after: Duration) -> Result<Self, ConfigError> {
        let week = Duration::from_secs(7 * 24 * 3600);
        ranged_time("cluster.auth.safe_after", safe_after, Duration::ZERO, week)?;
        self.safe_after = safe_after;
        Ok(self)
    }

    /// How many shards to run: 0 (the default) for one per core, at most 1,024.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for more than 1,024.
    pub fn with_shards(mut self, shards: usize) -> Result<Self, ConfigError> {
        ranged("bus.shards", shards, 0, MAX_SHARDS)?;
        self.shards = shards;
        Ok(self)
    }

    /// Which cores to pin shards to, in turn; empty (the default) for every core of the machine.
    #[must_use]
    pub fn with_cores(mut self, cores: Vec<usize>) -> Self {
        self.cores = cores;
        self
    }

    /// How long a shard spins for work before it sleeps: 0 (the default) to 1 s. Spinning shortens
    /// round trips and keeps the core busy.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for more than a second.
    pub fn with_spin(mut self, spin: Duration) -> Result<Self, ConfigError> {
        ranged_time("bus.spin", spin, Duration::ZERO, Duration::from_secs(1))?;
        self.spin = spin;
        Ok(self)
    }

    /// Replaces the system's clock and randomness, as a simulation does.
    #[must_use]
    pub fn with_environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = environment;
        self
    }

    /// Has an observer told who is let in, who is not, and what changes. A reload keeps the observer
    /// that the bus was started with.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// What becomes of links made with a secret that a reload has removed.
    #[must_use]
    pub fn retired_links(&self) -> RetiredLinks {
        self.retired_links
    }

    /// How many shards will run.
    #[must_use]
    pub fn shards(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_SHARDS),
            shards => shards,
        }
    }
}

pub(crate) const MAX_SHARDS: usize = 1024;

/// A value of the configuration is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}; it may be {allowed}")]
pub struct ConfigError {
    /// The key, as the configuration file spells it.
    pub key: &'static str,
    /// What it holds.
    pub found: String,
    /// What it may hold.
    pub allowed: String,
}

impl ConfigError {
    fn new(key: &'static str, found: impl fmt::Display, allowed: String) -> Self {
        Self { key, found: found.to_string(), allowed }
    }
}

fn ranged<T>(key: &'static str, found: T, least: T, most: T) -> Result<(), ConfigError>
where
    T: PartialOrd + fmt::Display,
{
    if found >= least && found <= most {
        return Ok(());
    }
    Err(ConfigError::new(key, found, format!("{least} to {most}")))
}

fn ranged_time(
    key: &'static str,
    found: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    if found >= least && found <= most {
        return Ok(());
    }
    Err(ConfigError::new(key, format!("{found:?}"), format!("{least:?} to {most:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_range_and_its_error_names_the_key() {
        let ok = Limits::default();
        let mib = 1 << 20;
        let second = Duration::from_secs(1);
        let cases = [
            ("bus.max_message_size", Limits { max_message_size: 255, ..ok }),
            ("bus.max_message_size", Limits { max_message_size: u32::MAX, ..ok }),
            ("bus.outbox_frames", Limits { outbox_frames: 0, ..ok }),
            ("bus.outbox_frames", Limits { outbox_frames: 1 << 20, ..ok }),
            ("bus.outbox_bytes", Limits { outbox_bytes: mib, ..ok }),
            ("bus.outbox_bytes", Limits { outbox_bytes: u64::MAX, ..ok }),
            ("bus.receive_budget", Limits { receive_budget: mib, ..ok }),
            ("bus.handshake_grace", Limits { handshake_grace: Duration::ZERO, ..ok }),
            ("bus.hello_grace", Limits { hello_grace: Duration::ZERO, ..ok }),
            ("bus.hello_grace", Limits { hello_grace: 11 * second, ..ok }),
            ("bus.reconnect_period", Limits { reconnect_period: Duration::ZERO, ..ok }),
            ("bus.preauth_connections", Limits { preauth_connections: 3, ..ok }),
        ];
        ok.check().expect("the defaults are right");
        for (key, limits) in cases {
            assert_eq!(limits.check().expect_err(key).key, key);
        }
    }

    #[test]
    fn a_replica_must_be_in_its_own_roster() {
        let roster = Roster::new([(ReplicaId::new(4), "127.0.0.1:1".parse().expect("address"))]);
        let roster = roster.expect("one replica");
        let error = Config::new("c", ReplicaId::new(5), roster, Auth::Off).expect_err("not listed");
        assert_eq!(
            error.to_string(),
            "cluster.replica is 5; it may be an id that cluster.replicas lists: 4"
        );
    }
}
