//! The replicas of the demo: one bus each, in one process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use ringseal::{
    Address, Auth, Bus, Config, Enforcement, KeyRing, ReplicaId, Roster, Secret, Transcript,
};
use zeroize::Zeroizing;

use super::is_set;
use super::link::{Shared, Traffic};
use crate::cli::Failure;
use crate::keygen;

/// The cluster's name.
pub(super) const NAME: &str = "demo";

/// A cluster whose replicas are numbered from 0.
pub(super) struct Cluster {
    pub(super) replicas: Vec<Replica>,
    pub(super) shared: Arc<Shared>,
    begun: Instant,
}

/// One replica.
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    pub(super) core: usize,
    pub(super) bus: Bus,
}

impl Cluster {
    /// Starts the replicas, the highest id first: each dials only higher ids, so it needs to know only
    /// ports that are open already, and the kernel can choose them all.
    pub(super) fn start(replicas: u8) -> Result<Self, Failure> {
        let begun = Instant::now();
        let cores: Vec<usize> = core_affinity::get_core_ids()
            .map(|cores| cores.into_iter().map(|core| core.id).collect())
            .filter(|cores: &Vec<usize>| !cores.is_empty())
            .unwrap_or_else(|| vec![0]);
        let secret = keygen::fresh().map_err(Failure::running)?;
        let shared = Arc::new(Shared::new(replicas));
        let any: Address = Address::Socket(([127, 0, 0, 1], 0).into());
        let mut addresses = vec![any; usize::from(replicas)];
        let mut started = Vec::with_capacity(addresses.len());
        for number in (0..replicas).rev() {
            let id = ReplicaId::new(number);
            let core = cores[id.index() % cores.len()];
            let config = configure(id, &addresses, &secret)?.with_cores(vec![core]);
            let inside = shared.clone();
            let bus = Bus::start(config, move |_| Traffic::new(id, inside.clone()));
            let bus = bus.map_err(Failure::running)?;
            addresses[id.index()] = bus.local_addr().into();
            started.push(Replica { id, core, bus });
        }
        started.reverse();
        Ok(Self { replicas: started, shared, begun })
    }

    /// The replica with the highest id, which everyone dials.
    pub(super) fn last(&self) -> &Replica {
        &self.replicas[self.replicas.len() - 1]
    }

    /// How many links a full mesh has.
    pub(super) fn pairs(&self) -> usize {
        self.replicas.len() * (self.replicas.len() - 1) / 2
    }

    /// How many ends of links are up and authenticated; a full mesh has two for each pair.
    pub(super) fn ends_up(&self) -> usize {
        let peers = self.replicas.iter().flat_map(|replica| replica.bus.peers());
        peers.filter(|peer| peer.link.is_some_and(|link| link.authenticated)).count()
    }

    /// Waits for the full mesh, and says how long it took from the start; nothing if interrupted.
    pub(super) fn wait_for_mesh(
        &self,
        deadline: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Option<Duration>, Failure> {
        while !is_set(interrupted) {
            let up = self.ends_up();
            if up == 2 * self.pairs() {
                return Ok(Some(self.begun.elapsed()));
            }
            if self.begun.elapsed() > deadline {
                return Err(Failure::Running(format!(
                    "only {up} of {} ends of links are up; RUST_LOG=info shows why",
                    2 * self.pairs()
                )));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(None)
    }

    /// Ends every replica.
    pub(super) fn shut_down(self, deadline: Duration) -> Result<(), Failure> {
        let ends: Vec<_> = thread::scope(|scope| {
            let end = |replica: Replica| scope.spawn(move || replica.bus.shutdown(deadline));
            let threads: Vec<_> = self.replicas.into_iter().map(end).collect();
            threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for end in ends {
            match end {
                Ok(result) => result.map_err(Failure::running)?,
                Err(_) => return Err(Failure::running("a replica's shutdown has panicked")),
            }
        }
        Ok(())
    }
}

/// What one replica is told. Its key ring is its own, made of the secret that all share.
fn configure(id: ReplicaId, addresses: &[Address], secret: &str) -> Result<Config, Failure> {
    let ids = (0..=u8::MAX).map(ReplicaId::new);
    let roster = Roster::new(ids.zip(addresses.iter().cloned())).map_err(Failure::running)?;
    let secret = Zeroizing::new(secret.as_bytes().to_vec());
    let secret = Secret::new(secret).map_err(Failure::running)?;
    let auth = Auth::On {
        keys: KeyRing::new(&secret, None),
        enforcement: Enforcement::Enforce,
        transcript: Transcript::Current,
    };
    let config = Config::new(NAME, id, roster, auth);
    config.and_then(|config| config.with_shards(1)).map_err(Failure::running)
}
