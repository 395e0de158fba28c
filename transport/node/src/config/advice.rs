//! What is legal and unwise, and what can never work although each of its values is right.

use std::net::{IpAddr, SocketAddr};

use ringseal::{Address, Enforcement, ReplicaId};
use rustix::process::{Resource, getrlimit};

use super::Settings;
use super::error::{ConfigError, Key};
use super::leaf::quoted;

/// What addresses are used for, to find those that are in each other's way.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    pub(super) replica: ReplicaId,
    pub(super) replicas: &'a [(ReplicaId, Address)],
    /// Where the bus listens, if not at its own address of the roster.
    pub(super) listen: Option<&'a Address>,
    pub(super) http: Option<&'a Address>,
}

impl Addresses<'_> {
    /// Refuses addresses that can never do what they are for. `key` makes a key of a path.
    pub(super) fn check(&self, key: impl Fn(&str) -> Key) -> Result<(), ConfigError> {
        let wrong = |path: &str, address: &Address, allowed: String| ConfigError::Value {
            key: key(path),
            found: quoted(&address.to_string()),
            allowed,
        };
        for (at, (id, address)) in self.replicas.iter().enumerate() {
            let path = format!("cluster.replicas[{at}].address");
            if port(address) == 0 && *id != self.replica {
                let allowed = "an address with a port that is not 0, for nobody can dial that";
                return Err(wrong(&path, address, allowed.to_owned()));
            }
            let twin = self.replicas[..at].iter().find(|(_, other)| other == address);
            if let Some((other, _)) = twin.filter(|_| port(address) != 0) {
                let allowed = format!("an address that no other replica has; replica {other} does");
                return Err(wrong(&path, address, allowed));
            }
        }
        match (self.http, self.bus()) {
            (Some(http), Some(bus)) if collide(http, bus) => {
                let allowed = format!("an address apart from the replica port's, which is {bus}");
                Err(wrong("http.listen", http, allowed))
            }
            _ => Ok(()),
        }
    }

    /// Where the bus listens.
    fn bus(&self) -> Option<&Address> {
        let own = || self.replicas.iter().find(|(id, _)| *id == self.replica);
        self.listen.or_else(|| own().map(|(_, address)| address))
    }

    /// What should be known about the addresses.
    pub(super) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if let Some(bus) = self.bus()
            && bus.socket().is_some_and(|socket| is_public(socket.ip()))
        {
            advice.push(format!(
                "the replica port listens on the public address {bus}: frames are not encrypted, \
                 and strangers can keep replicas waiting; let only the cluster's addresses through"
            ));
        }
        let replicas = self.replicas.len();
        if replicas.is_multiple_of(2) {
            advice.push(format!(
                "the cluster has {replicas} replicas: it survives the loss of {}, as {} would; an \
                 odd number is better",
                (replicas - 1) / 2,
                replicas - 1
            ));
        }
        advice
    }
}

/// What should be known about the enforcement of authentication.
pub(super) fn about_enforcement(enforcement: Enforcement) -> Option<String> {
    (enforcement == Enforcement::Soft).then(|| {
        "authentication is soft (cluster.auth.enforcement): whoever reaches the port is admitted; \
         set \"enforce\" once ringseal_safe_to_enforce is 1 on every node"
            .to_owned()
    })
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Socket(socket) => socket.port(),
        Address::Name { port, .. } => *port,
    }
}

/// Whether one process cannot listen on both.
fn collide(one: &Address, other: &Address) -> bool {
    let sockets = |one: SocketAddr, other: SocketAddr| {
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
    };
    let same_place = match (one.socket(), other.socket()) {
        (Some(one), Some(other)) => sockets(one, other),
        _ => one == other,
    };
    same_place && port(one) == port(other) && port(one) != 0
}

/// Whether an address is one that the whole Internet can reach.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let shared = first == 100 && second & 0xc0 == 64;
            let elsewhere = ip.is_multicast() || ip.is_documentation() || ip.is_broadcast();
            let near = ip.is_loopback() || ip.is_private() || ip.is_link_local();
            !(near || shared || elsewhere || ip.is_unspecified())
        }
        // Global unicast is 2000::/3, of which 2001:db8::/32 is for documentation.
        IpAddr::V6(ip) => {
            ip.segments()[0] & 0xe000 == 0x2000 && ip.segments()[..2] != [0x2001, 0xdb8]
        }
    }
}

/// What the machine gives a node.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// How many cores it may use.
    pub cores: usize,
    /// How many bytes of memory it may lock; `None` for no limit.
    pub locked_memory: Option<u64>,
    /// How many descriptors it may have; `None` for no limit.
    pub descriptors: Option<u64>,
}

/// What a shard locks while it starts, in bytes.
const LOCKED_PER_SHARD: u64 = 512 << 10;
/// What a shard holds beside its connections.
const DESCRIPTORS_PER_SHARD: u64 = 16;
/// What HTTP, the audit log, signals and standard streams hold.
const OTHER_DESCRIPTORS: u64 = 300;

impl Machine {
    /// This one, as this process may use it.
    #[must_use]
    pub fn here() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            locked_memory: getrlimit(Resource::Memlock).current,
            descriptors: getrlimit(Resource::Nofile).current,
        }
    }

    /// What should be known about running a node with these settings here.
    #[must_use]
    pub fn advice(&self, settings: &Settings) -> Vec<String> {
        let mut advice = Vec::new();
        let (shards, cores) = (settings.bus.shards(), self.cores);
        if shards > cores {
            advice.push(format!(
                "bus.shards is {shards}, and there are {cores} cores here: some shards share a core"
            ));
        }
        let shards = shards as u64;
        let locked = shards * LOCKED_PER_SHARD;
        if let Some(limit) = self.locked_memory.filter(|limit| *limit < locked) {
            let (limit, locked) = (limit >> 10, locked >> 10);
            advice.push(format!(
                "{limit} KiB of memory may be locked here (`ulimit -l`), and {shards} shards may \
                 need {locked} KiB to start"
            ));
        }
        let waiting = settings.preauth_connections as u64 + DESCRIPTORS_PER_SHARD;
        let replicas = settings.replicas.len() as u64;
        let needed = shards * waiting + replicas + OTHER_DESCRIPTORS;
        if let Some(limit) = self.descriptors.filter(|limit| *limit < needed) {
            advice.push(format!(
                "{limit} descriptors may be open here (`ulimit -n`), and {needed} may be needed when \
                 strangers fill every place (bus.preauth_connections, on each of {shards} shards)"
            ));
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_is_what_the_internet_can_reach() {
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2a00::1", "::ffff:8.8.8.8"] {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
            "192.0.2.1",
            "0.0.0.0",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(private.parse().expect("an address")), "{private}");
        }
    }

    #[test]
    fn the_limits_of_a_machine_are_compared_with_what_may_be_needed() {
        let text = "[cluster]\nname = \"a\"\nreplica = 0\nauth.enabled = false\n\
                    replicas = [{ id = 0, address = \"127.0.0.1:1\" }]\n\
                    [bus]\nshards = 4\npreauth_connections = 100\n";
        let draft = super::super::parse(text, [("", ""); 0]).expect("right");
        let settings = draft.complete(std::path::Path::new("")).expect("no file");
        let roomy = Machine { cores: 4, locked_memory: None, descriptors: Some(765) };
        assert_eq!(roomy.advice(&settings), Vec::<String>::new());
        let tight = Machine { cores: 3, locked_memory: Some(1 << 20), descriptors: Some(764) };
        let advice = tight.advice(&settings);
        for (advice, part) in advice.iter().zip(["3 cores", "2048 KiB", "765 may be needed"]) {
            assert!(advice.contains(part), "{advice}");
        }
        assert_eq!(advice.len(), 3);
    }
}
