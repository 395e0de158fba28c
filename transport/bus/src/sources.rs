//! The addresses from which replicas of the roster connect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ringseal_wire::ReplicaId;

use crate::registry::Shared;
use crate::resolver::Resolver;
use crate::roster::{Address, Roster};
use crate::runtime;

/// How often names are looked up for the sake of those who connect to us.
const PERIOD: Duration = Duration::from_secs(30);

/// How long one name may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses of the other replicas, as far as they are known. It only decides where a newcomer
/// waits, so an address that has moved on meanwhile does no harm.
#[derive(Debug)]
pub(crate) struct Sources {
    us: ReplicaId,
    known: RwLock<Arc<BTreeSet<IpAddr>>>,
    meanings: Mutex<Meanings>,
}

#[derive(Debug)]
struct Meanings {
    roster: Roster,
    /// What the roster's names were last found to mean.
    names: BTreeMap<ReplicaId, BTreeSet<IpAddr>>,
}

impl Sources {
    /// What `us` knows from a roster alone.
    pub(crate) fn new(us: ReplicaId, roster: &Roster) -> Self {
        let meanings = Meanings { roster: roster.clone(), names: BTreeMap::new() };
        let known = RwLock::new(Arc::new(meanings.addresses(us)));
        Self { us, known, meanings: Mutex::new(meanings) }
    }

    /// The addresses that are known now.
    pub(crate) fn known(&self) -> Arc<BTreeSet<IpAddr>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what an address of the roster was found to mean.
    pub(crate) fn found(&self, peer: ReplicaId, address: &Address, sockets: &[SocketAddr]) {
        if matches!(address, Address::Socket(_)) {
            return;
        }
        let ips = sockets.iter().map(|socket| socket.ip().to_canonical()).collect();
        self.change(|meanings| {
            if meanings.roster.get(peer) == Some(address) {
                meanings.names.insert(peer, ips);
            }
        });
    }

    /// Takes on another roster. A name that stays keeps its meaning.
    pub(crate) fn set_roster(&self, roster: &Roster) {
        self.change(|Meanings { roster: before, names }| {
            names.retain(|peer, _| roster.get(*peer) == before.get(*peer));
            before.clone_from(roster);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Meanings)) {
        let mut meanings = self.meanings.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut meanings);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(meanings.addresses(self.us));
    }
}

impl Meanings {
    fn addresses(&self, us: ReplicaId) -> BTreeSet<IpAddr> {
        let others = self.roster.iter().filter(|(peer, _)| *peer != us);
        let literal = others.filter_map(|(_, address)| match address {
            Address::Socket(socket) => Some(socket.ip().to_canonical()),
            Address::Name { .. } => None,
        });
        literal.chain(self.names.values().flatten().copied()).collect()
    }
}

/// Keeps looking up the names of replicas that dial us, for nobody else does.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut resolvers: BTreeMap<ReplicaId, Resolver> = BTreeMap::new();
    loop {
        let settings = shared.settings();
        let callers = settings.roster.iter().filter(|(peer, _)| *peer < shared.replica);
        for (peer, address) in callers.filter(|(_, a)| matches!(a, Address::Name { .. })) {
            let resolver = resolvers.entry(peer).or_default();
            // A name that cannot be looked up keeps the meaning that it had.
            if let Ok(found) = resolver.resolve(address, Instant::now() + PATIENCE).await {
                shared.sources.found(peer, address, &found);
            }
        }
        drop(settings);
        runtime::sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ReplicaId = ReplicaId::new(0);

    const US: ReplicaId = ReplicaId::new(1);

    fn roster(address: &str) -> Roster {
        let ours = (US, "198.51.100.1:7000".parse().expect("an address"));
        let theirs = (PEER, address.parse().expect("an address"));
        Roster::new([ours, theirs]).expect("two replicas")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_literal_address_is_known_however_it_is_written() {
        let sources = Sources::new(US, &roster("[::ffff:192.0.2.7]:7000"));
        assert!(sources.known().iter().eq([&ip("192.0.2.7")]), "our own is no peer's");
        sources.set_roster(&roster("192.0.2.8:7000"));
        assert!(sources.known().iter().eq([&ip("192.0.2.8")]), "it follows the roster");
    }

    #[test]
    fn a_name_is_known_by_what_it_was_found_to_mean_until_the_roster_names_another() {
        let named = roster("replica-0.internal:7000");
        let name = named.get(PEER).expect("listed").clone();
        let sources = Sources::new(US, &named);
        assert!(sources.known().is_empty());
        let found = ["[::ffff:192.0.2.7]:7000", "[2001:db8::7]:7000"];
        sources.found(PEER, &name, &found.map(|text| text.parse().expect("an address")));
        assert!(sources.known().contains(&ip("192.0.2.7")));
        assert!(sources.known().contains(&ip("2001:db8::7")));
        sources.found(PEER, &name, &["192.0.2.9:7000".parse().expect("an address")]);
        assert!(sources.known().iter().eq([&ip("192.0.2.9")]));
        sources.set_roster(&roster("replica-0.elsewhere:7000"));
        assert!(sources.known().is_empty());
        sources.found(PEER, &name, &["192.0.2.3:7000".parse().expect("an address")]);
        assert!(sources.known().is_empty(), "an answer about the old name comes too late");
    }
}
