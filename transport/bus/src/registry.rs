//! What all shards and every handle share: who the peers are, who is connected, what was counted.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use ringseal_auth::tag::{Freshness, TagClock};
use ringseal_auth::{HandshakeResult, Leniency};
use ringseal_wire::{Command, ReplicaId};

use crate::admission::Lane;
use crate::config::{Config, ConfigError};
use crate::environment::Environment;
use crate::error::{Reason, SendErrorKind};
use crate::mesh::{Control, Mailbox};
use crate::metrics::{
    Counter, Eviction, LinkStatus, Metrics, PeerStatus, Role, ShardMetrics, Tag, Times,
};
use crate::observer::Observer;
use crate::owner::{Owner, State};
use crate::roster::Address;
use crate::settings::Settings;
use crate::slot::Slot;
use crate::sources::Sources;

/// The state that every shard and handle of one bus shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) replica: ReplicaId,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) local_addr: SocketAddr,
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) metrics: Box<[ShardMetrics]>,
    settings: RwLock<Arc<Settings>>,
    /// What a reload cannot change.
    fixed: Fixed,
    max_message_size: AtomicUsize,
    /// The newest tag of every replica, for all shards.
    pub(crate) freshness: Freshness,
    /// The times in our own tags.
    pub(crate) tag_clock: TagClock,
    /// Where replicas connect from.
    pub(crate) sources: Sources,
    slots: Box<[Slot]>,
    incarnations: AtomicU64,
    placement: Mutex<Placement>,
    stopping: AtomicBool,
    backpressure: AtomicU64,
    last_leniency_ms: AtomicU64,
    /// The peer that has needed leniency last, plus one.
    last_lenient: AtomicU16,
    safe_after_ms: AtomicU64,
}

/// The part of the configuration that is built into a running bus.
#[derive(Debug)]
struct Fixed {
    listen: Address,
    shards: usize,
    cores: Vec<usize>,
    spin: Duration,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        shards: usize,
        local_addr: SocketAddr,
        started_ms: u64,
    ) -> Self {
        let slot = |id| {
            let id = ReplicaId::new(id);
            let member = id != config.replica && config.roster.contains(id);
            Slot::new(&config.limits, member, started_ms)
        };
        Self {
            freshness: Freshness::new(started_ms),
            tag_clock: TagClock::new(),
            sources: Sources::new(config.replica, &config.roster),
            slots: (0..=u8::MAX).map(slot).collect(),
            replica: config.replica,
            environment: config.environment.clone(),
            observer: config.observer.clone(),
            fixed: Fixed {
                listen: config.listen.clone(),
                shards: config.shards,
                cores: config.cores.clone(),
                spin: config.spin,
            },
            max_message_size: AtomicUsize::new(config.limits.max_message_size as usize),
            safe_after_ms: AtomicU64::new(config.safe_after.as_millis() as u64),
            settings: RwLock::new(Arc::new(Settings::new(config, None))),
            local_addr,
            mailboxes: (0..shards).map(|_| Mailbox::new()).collect(),
            metrics: (0..shards).map(|_| ShardMetrics::default()).collect(),
            incarnations: AtomicU64::new(1),
            placement: Mutex::new(Placement::new(shards)),
            stopping: AtomicBool::new(false),
            backpressure: AtomicU64::new(0),
            last_leniency_ms: AtomicU64::new(started_ms),
            last_lenient: AtomicU16::new(0),
        }
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Puts other settings in force and tells every shard.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming a key that cannot change while the bus runs; nothing has changed then.
    pub(crate) fn reload(&self, config: Config) -> Result<(), ConfigError> {
        let mut settings = self.settings.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.check_fixed(&config, &settings)?;
        let limits = config.limits;
        self.safe_after_ms.store(config.safe_after.as_millis() as u64, Relaxed);
        self.max_message_size.store(limits.max_message_size as usize, Relaxed);
        self.sources.set_roster(&config.roster);
        let next = Arc::new(Settings::new(config, Some(&settings)));
        let before = std::mem::replace(&mut *settings, next.clone());
        for (id, slot) in (0..=u8::MAX).map(ReplicaId::new).zip(&self.slots) {
            slot.credit.set_limits(&limits);
            slot.member.store(id != self.replica && settings.roster.contains(id), SeqCst);
        }
        drop(settings);
        self.observe_reload(&before, &next);
        self.mailboxes.iter().for_each(|mailbox| mailbox.tell(Control::Reload));
        Ok(())
    }

    fn check_fixed(&self, config: &Config, settings: &Settings) -> Result<(), ConfigError> {
        let fixed = |key, same: bool, found: &dyn fmt::Debug| {
            if same {
                return Ok(());
            }
            let allowed = "changed only by a restart".to_owned();
            Err(ConfigError { key, found: format!("{found:?}"), allowed })
        };
        let Fixed { listen, shards, cores, spin } = &self.fixed;
        fixed("cluster.name", config.cluster == settings.cluster, &config.cluster)?;
        fixed("cluster.replica", config.replica == self.replica, &config.replica.get())?;
        fixed("cluster.listen", config.listen == *listen, &config.listen)?;
        fixed("bus.shards", config.shards == *shards && config.cores == *cores, &config.shards)?;
        fixed("bus.spin", config.spin == *spin, &config.spin)
    }

    pub(crate) fn slot(&self, peer: ReplicaId) -> &Slot {
        &self.slots[peer.index()]
    }

    /// Whether a frame may be sent now, and to which link; its credit is then reserved.
    #[inline]
    pub(crate) fn admit(
        &self,
        peer: ReplicaId,
        len: usize,
        command: Command,
    ) -> Result<Owner, SendErrorKind> {
        let slot = self.slot(peer);
        if !slot.member.load(Relaxed) {
            return Err(SendErrorKind::UnknownPeer);
        }
        if len > self.max_message_size.load(Relaxed) {
            return Err(SendErrorKind::TooLarge);
        }
        if command.is_handshake() {
            return Err(SendErrorKind::ReservedCommand);
        }
        if self.stopping() {
            return Err(SendErrorKind::ShuttingDown);
        }
        let owner = slot.owner.load();
        if !owner.is_up() {
            return Err(SendErrorKind::NotConnected);
        }
        if !slot.credit.reserve(len) {
            self.backpressure.fetch_add(1, Relaxed);
            return Err(SendErrorKind::Backpressure);
        }
        // A link that ends waits for credit that is reserved at this point to come back or to turn
        // into an entry it can count, so we look once more after reserving.
        if slot.owner.load() != owner {
            slot.credit.release(1, len as u64);
            return Err(SendErrorKind::NotConnected);
        }
        Ok(owner)
    }

    /// Claims `peer` for a new link on the shard with the fewest links.
    ///
    /// # Errors
    ///
    /// The present owner, when the peer is not vacant.
    pub(crate) fn claim(
        &self,
        peer: ReplicaId,
        role: Role,
        authenticated: bool,
    ) -> Result<Owner, Owner> {
        let mut placement = self.placement();
        let shard = placement.fewest();
        let incarnation = self.incarnations.fetch_add(1, Relaxed);
        let owner = Owner::claim(incarnation, shard, role, authenticated);
        self.slot(peer).owner.claim(owner)?;
        placement.add(shard);
        Ok(owner)
    }

    /// Ends the claim of a link, wherever it was in its life.
    pub(crate) fn vacate(&self, peer: ReplicaId, owner: Owner) {
        self.slot(peer).owner.advance(owner, State::Vacant);
        self.placement().remove(owner.shard());
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Refuses every send from now on and asks every shard to shut down.
    pub(crate) fn stop(&self, deadline: Instant) {
        self.stopping.store(true, SeqCst);
        self.mailboxes.iter().for_each(|mailbox| mailbox.tell(Control::Stop(deadline)));
    }

    pub(crate) fn note_leniency(&self, shard: usize, peer: ReplicaId, leniency: Leniency) {
        self.metrics[shard].soft[leniency as usize].add(1);
        self.last_leniency_ms.store(self.environment.unix_ms(), Relaxed);
        self.last_lenient.store(u16::from(peer.get()) + 1, Relaxed);
    }

    /// Whether no link needs leniency, and none has needed it for as long as configured.
    fn safe_to_enforce(&self) -> bool {
        let lenient = self.slots.iter().any(|slot| {
            let owner = slot.owner.load();
            owner.is_up() && !owner.authenticated()
        });
        let since = self.last_leniency_ms.load(Relaxed);
        let quiet_ms = self.environment.unix_ms().saturating_sub(since);
        !lenient && quiet_ms >= self.safe_after_ms.load(Relaxed)
    }

    fn placement(&self) -> std::sync::MutexGuard<'_, Placement> {
        self.placement.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn peer_statuses(&self) -> Vec<PeerStatus> {
        let status = |(id, address): (ReplicaId, &crate::roster::Address)| {
            let slot = self.slot(id);
            let owner = slot.owner.load();
            let link = owner.is_up().then(|| LinkStatus {
                role: owner.role(),
                shard: owner.shard(),
                authenticated: owner.authenticated(),
                incarnation: owner.incarnation(),
                round_trip: slot.round_trip(),
            });
            PeerStatus {
                id,
                address: address.to_string(),
                link,
                since_ms: slot.since_ms.load(Relaxed),
                frames_in: slot.frames_in.get(),
                frames_out: slot.frames_out.get(),
                bytes_in: slot.bytes_in.get(),
                bytes_out: slot.bytes_out.get(),
                outbox: slot.credit.frames(),
                last_reason: slot.last_reason(),
                handshake_seconds: slot.handshakes.get(),
                round_trip_seconds: slot.round_trips.get(),
            }
        };
        let settings = self.settings();
        settings.roster.iter().filter(|(id, _)| *id != self.replica).map(status).collect()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let sum = |field: fn(&ShardMetrics) -> &Counter| {
            self.metrics.iter().map(|shard| field(shard).get()).sum::<u64>()
        };
        let mut handshakes = Vec::new();
        for role in Role::ALL {
            for result in HandshakeResult::ALL {
                let counts = self.metrics.iter().map(|m| &m.handshakes[role as usize]);
                let count = counts.map(|results| results[result as usize].get()).sum();
                handshakes.push((role, result, count));
            }
        }
        let dropped = |reason: Reason| {
            (reason, self.metrics.iter().map(|m| m.dropped[reason as usize].get()).sum())
        };
        let soft = |leniency: Leniency| {
            (leniency, self.metrics.iter().map(|m| m.soft[leniency as usize].get()).sum())
        };
        let mut evictions = Vec::new();
        for lane in Lane::ALL {
            for reason in Eviction::ALL {
                let counts = self.metrics.iter().map(|m| &m.evictions[lane as usize]);
                let count = counts.map(|reasons| reasons[reason as usize].get()).sum();
                evictions.push((lane, reason, count));
            }
        }
        let tags = |tag: Tag| (tag, self.metrics.iter().map(|m| m.tags[tag as usize].get()).sum());
        let mut handshake_seconds =
            Times { sum: sum(|m| &m.handshake_micros) as f64 / 1e6, ..Default::default() };
        for shard in &self.metrics {
            for (count, bucket) in handshake_seconds.counts.iter_mut().zip(&shard.handshake_buckets)
            {
                *count += bucket.get();
            }
        }
        Metrics {
            shards: self.metrics.len(),
            shards_listening: sum(|m| &m.listening) as usize,
            links_up: sum(|m| &m.links_up),
            paused_links: sum(|m| &m.paused),
            preauth_connections: sum(|m| &m.preauth),
            evictions,
            hello_tags: Tag::ALL.map(tags).to_vec(),
            handshakes,
            handshake_seconds,
            frames_in: sum(|m| &m.frames_in),
            frames_out: sum(|m| &m.frames_out),
            bytes_in: sum(|m| &m.bytes_in),
            bytes_out: sum(|m| &m.bytes_out),
            reads: sum(|m| &m.reads),
            writes: sum(|m| &m.writes),
            frames_dropped: Reason::ALL.map(dropped).to_vec(),
            backpressure: self.backpressure.load(Relaxed),
            reconnects: sum(|m| &m.reconnects),
            soft_admissions: Leniency::ALL.map(soft).to_vec(),
            safe_to_enforce: self.safe_to_enforce(),
            last_lenient: (self.last_lenient.load(Relaxed).checked_sub(1))
                .and_then(|id| u8::try_from(id).ok())
                .map(ReplicaId::new),
            accept_errors: sum(|m| &m.accept_errors),
        }
    }
}

/// How many links each shard owns. A link goes to the shard with the fewest, ties in rotation, so
/// that counts differ by at most one as long as links only come.
#[derive(Debug)]
struct Placement {
    links: Box<[usize]>,
    next: usize,
}

impl Placement {
    fn new(shards: usize) -> Self {
        Self { links: vec![0; shards].into(), next: 0 }
    }

    fn fewest(&self) -> usize {
        let shards = self.links.len();
        let in_turn = (0..shards).map(|offset| (self.next + offset) % shards);
        in_turn.min_by_key(|shard| self.links[*shard]).expect("a bus has at least one shard")
    }

    fn add(&mut self, shard: usize) {
        self.links[shard] += 1;
        self.next = (shard + 1) % self.links.len();
    }

    fn remove(&mut self, shard: usize) {
        self.links[shard] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_spread_so_that_counts_differ_by_at_most_one() {
        let mut placement = Placement::new(3);
        for _ in 0..10 {
            let shard = placement.fewest();
            placement.add(shard);
            let (min, max) = (placement.links.iter().min(), placement.links.iter().max());
            assert!(max.expect("shards") - min.expect("shards") <= 1, "{:?}", placement.links);
        }
        placement.remove(1);
        placement.remove(1);
        assert_eq!(placement.fewest(), 1, "the emptied shard is next");
    }
}
