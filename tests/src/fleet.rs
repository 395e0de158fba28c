//! A cluster whose replicas are reconfigured while they run, and whose traffic is accounted for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringseal::{
    Auth, Bus, Command, Config, Enforcement, Flow, Frame, FrameView, Handler, HandshakeResult,
    Header, KeyRing, Limits, Link, Mesh, ReplicaId, RetiredLinks, Role, Roster, Transcript,
};

use crate::cluster::{DRAIN, wait_until};
use crate::stranger::secret;

/// What one replica is told, for its start and for each reload.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Who is in the roster, by id.
    pub roster: BTreeMap<u8, SocketAddr>,
    /// The policy; `None` for no authentication.
    pub enforcement: Option<Enforcement>,
    /// The current secret and the previous one, each by the byte it is made of.
    pub keys: (u8, Option<u8>),
    /// What becomes of links made with a secret that is gone.
    pub retired: RetiredLinks,
}

impl Orders {
    /// Orders for replicas `0..replicas`, which enforce a first secret.
    #[must_use]
    pub fn new(replicas: u8) -> Self {
        Self {
            roster: (0..replicas).map(|id| (id, crate::address::unused())).collect(),
            enforcement: Some(Enforcement::Enforce),
            keys: (1, None),
            retired: RetiredLinks::Reconnect,
        }
    }

    /// The configuration that these orders make for one replica.
    #[must_use]
    pub fn config(&self, id: u8) -> Config {
        let replicas = self.roster.iter().map(|(id, at)| (ReplicaId::new(*id), (*at).into()));
        let roster = Roster::new(replicas).expect("ids are distinct");
        let previous = self.keys.1.map(secret);
        let auth = match self.enforcement {
            None => Auth::Off,
            Some(enforcement) => Auth::On {
                keys: KeyRing::new(&secret(self.keys.0), previous.as_ref()),
                enforcement,
                transcript: Transcript::Current,
            },
        };
        let limits = Limits {
            reconnect_period: Duration::from_millis(200),
            hello_grace: Duration::from_millis(200),
            ..Limits::default()
        };
        Config::new("fleet", ReplicaId::new(id), roster, auth)
            .and_then(|config| config.with_limits(limits))
            .and_then(|config| config.with_shards(2))
            .and_then(|config| config.with_safe_after(Duration::ZERO))
            .expect("the test's configuration is right")
            .with_retired_links(self.retired)
    }
}

/// A replica that sends numbered frames to every peer all the time and checks those it receives.
#[derive(Debug)]
pub struct Ship {
    /// Its bus.
    pub bus: Bus,
    counts: Arc<Counts>,
    sender: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    hush: AtomicBool,
    lost: AtomicU64,
    disordered: AtomicU64,
    accepted: PerPeer,
    received: PerPeer,
}

#[derive(Debug)]
struct PerPeer(Vec<AtomicU64>);

impl Default for PerPeer {
    fn default() -> Self {
        Self((0..256).map(|_| AtomicU64::new(0)).collect())
    }
}

/// Counts frames; within one link their numbers must follow one another.
struct Tally {
    counts: Arc<Counts>,
    last: BTreeMap<ReplicaId, u32>,
}

impl Handler for Tally {
    fn on_link_up(&mut self, link: &mut Link<'_>, _: u64) {
        self.last.remove(&link.peer());
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let number = frame.header().view();
        let last = self.last.insert(link.peer(), number);
        if last.is_some_and(|last| number != last + 1) {
            self.counts.disordered.fetch_add(1, SeqCst);
        }
        self.counts.received.0[link.peer().index()].fetch_add(1, SeqCst);
        Flow::Continue
    }

    fn on_link_down(&mut self, _: ReplicaId, _: ringseal::Reason, lost: u64) {
        self.counts.lost.fetch_add(lost, SeqCst);
    }
}

impl Ship {
    /// Starts a replica and its traffic.
    #[must_use]
    pub fn launch(id: u8, orders: &Orders) -> Self {
        let counts = Arc::new(Counts::default());
        let theirs = counts.clone();
        let tally = move |_| Tally { counts: theirs.clone(), last: BTreeMap::new() };
        let bus = Bus::start(orders.config(id), tally).expect("the bus starts");
        let (mesh, shared) = (bus.mesh().clone(), counts.clone());
        let sender = Some(thread::spawn(move || keep_sending(&mesh, &shared)));
        Self { bus, counts, sender }
    }

    /// Gives the replica new orders.
    pub fn reload(&self, orders: &Orders) {
        let config = orders.config(self.bus.replica().get());
        self.bus.reload(config).expect("the orders can be followed");
    }

    /// Waits until the links to exactly these peers are up and carry frames both ways.
    pub fn wait_for(&self, peers: &[u8], authenticated: bool) {
        let me = self.bus.replica();
        let others: Vec<u8> = peers.iter().copied().filter(|id| *id != me.get()).collect();
        wait_until(&format!("replica {me} is linked with {others:?}"), || {
            let peers = self.bus.peers();
            let up = peers
                .iter()
                .filter(|peer| peer.link.is_some_and(|link| link.authenticated == authenticated));
            up.map(|peer| peer.id.get()).eq(others.iter().copied())
        });
        let before = self.received(&others);
        wait_until(&format!("replica {me} hears from {others:?}"), || {
            self.received(&others).iter().zip(&before).all(|(now, before)| now > before)
        });
    }

    fn received(&self, peers: &[u8]) -> Vec<u64> {
        let table = &self.counts.received.0;
        peers.iter().map(|id| table[usize::from(*id)].load(SeqCst)).collect()
    }

    /// The links that are up, by peer: their numbers.
    #[must_use]
    pub fn links(&self) -> BTreeMap<u8, u64> {
        let links = self.bus.peers().into_iter();
        links.filter_map(|peer| Some((peer.id.get(), peer.link?.incarnation))).collect()
    }

    /// How many handshakes were refused for want of the right secret, by us or by peers.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        use HandshakeResult::{AuthRequired, ChallengeAbandoned, MacMismatch};
        let metrics = self.bus.metrics();
        let of = |role| {
            [AuthRequired, ChallengeAbandoned, MacMismatch]
                .map(|result| metrics.handshakes(role, result))
                .iter()
                .sum::<u64>()
        };
        Role::ALL.map(of).iter().sum()
    }

    /// How many accepted frames were lost with their link, and how many came out of order.
    #[must_use]
    pub fn harm(&self) -> (u64, u64) {
        (self.counts.lost.load(SeqCst), self.counts.disordered.load(SeqCst))
    }

    /// Stops sending and waits until everything accepted is written.
    pub fn fall_silent(&mut self) {
        self.counts.hush.store(true, SeqCst);
        if let Some(sender) = self.sender.take() {
            sender.join().expect("the sender is well");
        }
        wait_until("the outboxes empty", || self.bus.peers().iter().all(|peer| peer.outbox == 0));
    }

    /// How many frames were accepted for `peer`, and how many of it have come.
    #[must_use]
    pub fn traffic(&self, peer: u8) -> (u64, u64) {
        let of = |table: &PerPeer| table.0[usize::from(peer)].load(SeqCst);
        (of(&self.counts.accepted), of(&self.counts.received))
    }

    /// Ends the replica.
    pub fn sink(mut self) {
        self.fall_silent();
        self.bus.shutdown(DRAIN).expect("a clean shutdown");
    }
}

/// Sends numbered frames to every peer until told to be quiet. A number is used once it is accepted.
fn keep_sending(mesh: &Mesh, counts: &Counts) {
    let mut next = [0_u32; 256];
    while !counts.hush.load(SeqCst) {
        for peer in mesh.peers() {
            let index = peer.id.index();
            let mut header = Header::new(Command::PREPARE);
            header.set_view(next[index]);
            let frame = Frame::new(header, vec![7; 200].into()).expect("small");
            if mesh.send(peer.id, frame).is_ok() {
                next[index] += 1;
                counts.accepted.0[index].fetch_add(1, SeqCst);
            }
        }
        thread::park_timeout(Duration::from_micros(500));
    }
}
