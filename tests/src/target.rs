//! A bus under attack: one replica whose peers are strangers, and everything its handler was told.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ringseal::{
    Address, Auth, Bus, Command, Config, Enforcement, Flow, Frame, FrameView, Handler,
    HandshakeResult, Header, KeyRing, Limits, Link, Metrics, Reason, ReplicaId, Role, Roster,
    StartError, Transcript,
};

use crate::address;
use crate::stranger::{PATIENCE, SECRET, secret};

/// The name of every test's cluster.
pub const CLUSTER: &str = "ringseal-tests";

/// Authentication with the cluster's secret.
#[must_use]
pub fn enforce() -> Auth {
    authenticate(Enforcement::Enforce)
}

/// The same, tolerating those who fail.
#[must_use]
pub fn soft() -> Auth {
    authenticate(Enforcement::Soft)
}

fn authenticate(enforcement: Enforcement) -> Auth {
    let keys = KeyRing::new(&secret(SECRET), None);
    Auth::On { keys, enforcement, transcript: Transcript::Current }
}

/// How a replica is set up.
#[derive(Debug)]
pub struct Setup {
    id: u8,
    listen: SocketAddr,
    peers: Vec<(u8, SocketAddr)>,
    auth: Auth,
    limits: Limits,
    shards: usize,
}

impl Setup {
    /// Replica `id` on an address of its own, with one shard, enforced authentication and no peers.
    #[must_use]
    pub fn new(id: u8) -> Self {
        let listen = address::unused();
        let limits = Limits::default();
        Self { id, listen, peers: Vec::new(), auth: enforce(), limits, shards: 1 }
    }

    /// Lists peers that are never dialled.
    #[must_use]
    pub fn callers(mut self, ids: impl IntoIterator<Item = u8>) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        self.peers.extend(ids.into_iter().map(|id| (id, nowhere)));
        self
    }

    /// Lists a peer and where it is to be dialled.
    #[must_use]
    pub fn peer(mut self, id: u8, address: SocketAddr) -> Self {
        self.peers.push((id, address));
        self
    }

    /// Listens there instead.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Authenticates so.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth, ..self }
    }

    /// Runs so many shards.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// Changes the limits.
    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    /// Sets `hello_grace` and `handshake_grace`, in milliseconds.
    #[must_use]
    pub fn graces(self, hello: u64, handshake: u64) -> Self {
        self.limits(|limits| {
            limits.hello_grace = Duration::from_millis(hello);
            limits.handshake_grace = Duration::from_millis(handshake);
        })
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Target {
        self.try_start().expect("the bus starts")
    }

    /// Starts it if it can.
    ///
    /// # Errors
    ///
    /// The bus's.
    pub fn try_start(self) -> Result<Target, StartError> {
        let id = ReplicaId::new(self.id);
        let peer = |(id, address)| (ReplicaId::new(id), Address::from(address));
        let all = self.peers.into_iter().map(peer).chain([(id, self.listen.into())]);
        let roster = Roster::new(all).expect("distinct ids");
        let config = Config::new(CLUSTER, id, roster, self.auth)?;
        let config = config.with_limits(self.limits)?.with_shards(self.shards)?;
        let (told, events) = channel();
        let bus = Bus::start(config, move |_| Witness(told.clone()))?;
        let target = Target { bus, events, unseen: RefCell::default() };
        target.wait("every shard listens", |m| m.shards_listening == m.shards);
        Ok(target)
    }
}

/// What a handler was told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link is up.
    Up {
        /// Whose.
        peer: u8,
        /// Its number.
        incarnation: u64,
        /// Whether the peer has proven itself.
        authenticated: bool,
    },
    /// A frame has come.
    Frame {
        /// From whom.
        peer: u8,
        /// The frame.
        frame: Frame,
    },
    /// A link has ended.
    Down {
        /// Whose.
        peer: u8,
        /// Why.
        reason: Reason,
    },
}

/// Tells everything, and answers every Ping with a Pong.
struct Witness(Sender<Event>);

impl Handler for Witness {
    fn on_link_up(&mut self, link: &mut Link<'_>, incarnation: u64) {
        let (peer, authenticated) = (link.peer().get(), link.authenticated());
        let _ = self.0.send(Event::Up { peer, incarnation, authenticated });
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        if frame.command() == Command::PING {
            let pong = Frame::new(Header::new(Command::PONG), frame.to_frame().into_body());
            let _ = link.send(pong.expect("as large as the Ping"));
        } else {
            let (peer, frame) = (link.peer().get(), frame.to_frame());
            let _ = self.0.send(Event::Frame { peer, frame });
        }
        Flow::Continue
    }

    fn on_link_down(&mut self, peer: ReplicaId, reason: Reason, _lost: u64) {
        let _ = self.0.send(Event::Down { peer: peer.get(), reason });
    }
}

/// A replica under attack. Dropping it stops it.
#[derive(Debug)]
pub struct Target {
    /// The bus itself.
    pub bus: Bus,
    events: Receiver<Event>,
    unseen: RefCell<Vec<Event>>,
}

impl Target {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.bus.local_addr()
    }

    /// What it has counted.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.bus.metrics()
    }

    /// How many handshakes it has counted as the acceptor, with this result.
    #[must_use]
    pub fn accepted(&self, result: HandshakeResult) -> u64 {
        self.metrics().handshakes(Role::Acceptor, result)
    }

    /// How many handshakes it has counted as the dialer, with this result.
    #[must_use]
    pub fn dialed(&self, result: HandshakeResult) -> u64 {
        self.metrics().handshakes(Role::Dialer, result)
    }

    /// Waits until the counters are as they must become.
    pub fn wait(&self, what: &str, is: impl Fn(&Metrics) -> bool) {
        let mut last = self.metrics();
        let deadline = Instant::now() + PATIENCE;
        while !is(&last) {
            assert!(Instant::now() < deadline, "never came: {what}\n{last:?}");
            thread::sleep(Duration::from_micros(200));
            last = self.metrics();
        }
    }

    /// Waits until the acceptor has counted exactly these results and no others.
    pub fn wait_accepted(&self, expected: &[(HandshakeResult, u64)]) {
        self.wait_handshakes(Role::Acceptor, expected);
    }

    /// Waits until exactly these results have been counted in `role` and no others.
    pub fn wait_handshakes(&self, role: Role, expected: &[(HandshakeResult, u64)]) {
        let total: u64 = expected.iter().map(|(_, count)| count).sum();
        let counted = |m: &Metrics| {
            m.handshakes.iter().filter(|(r, _, _)| *r == role).map(|(_, _, n)| n).sum::<u64>()
        };
        self.wait(&format!("{role:?} counts {expected:?}"), |m| counted(m) >= total);
        let metrics = self.metrics();
        let nonzero = |(r, result, count): &(Role, HandshakeResult, u64)| {
            (*r == role && *count > 0).then_some((*result, *count))
        };
        let mut found: Vec<_> = metrics.handshakes.iter().filter_map(nonzero).collect();
        let mut expected = expected.to_vec();
        expected.retain(|(_, count)| *count > 0);
        found.sort_by_key(|(result, _)| *result as u8);
        expected.sort_by_key(|(result, _)| *result as u8);
        assert_eq!(found, expected, "{role:?}");
    }

    /// The first event not yet asked for that `take` accepts; others wait for their turn.
    pub fn event<T>(&self, what: &str, take: impl Fn(&Event) -> Option<T>) -> T {
        let mut unseen = self.unseen.borrow_mut();
        let deadline = Instant::now() + PATIENCE;
        let mut at = 0;
        loop {
            while at < unseen.len() {
                if let Some(taken) = take(&unseen[at]) {
                    unseen.remove(at);
                    return taken;
                }
                at += 1;
            }
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => unseen.push(event),
                Err(_) => panic!("never told: {what}\n{unseen:?}\n{:?}", self.metrics()),
            }
        }
    }

    /// Waits for `peer`'s link; returns its number and whether it is authenticated.
    pub fn up(&self, peer: u8) -> (u64, bool) {
        self.event(&format!("link to {peer} up"), |event| match event {
            Event::Up { peer: p, incarnation, authenticated } if *p == peer => {
                Some((*incarnation, *authenticated))
            }
            _ => None,
        })
    }

    /// Waits for the end of `peer`'s link; returns the reason.
    pub fn down(&self, peer: u8) -> Reason {
        self.event(&format!("link to {peer} down"), |event| match event {
            Event::Down { peer: p, reason } if *p == peer => Some(*reason),
            _ => None,
        })
    }

    /// Waits for the next frame of `peer`.
    pub fn frame(&self, peer: u8) -> Frame {
        self.event(&format!("a frame of {peer}"), |event| match event {
            Event::Frame { peer: p, frame } if *p == peer => Some(frame.clone()),
            _ => None,
        })
    }

    /// Everything that was told and nobody has asked for.
    #[must_use]
    pub fn rest(&self) -> Vec<Event> {
        let mut unseen = self.unseen.borrow_mut();
        unseen.extend(self.events.try_iter());
        unseen.drain(..).collect()
    }

    /// Shuts down in order; a handler that has panicked fails the test.
    pub fn shutdown(self) {
        self.bus.shutdown(Duration::from_secs(5)).expect("a clean end");
    }
}

/// Waits until something that nobody announces is so.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
