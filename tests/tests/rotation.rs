//! A cluster changes its secret under traffic, one replica at a time, with no refused handshake.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringseal::HandshakeResult::{ChallengeAbandoned, MacMismatch};
use ringseal::{
    Auth, Command, Enforcement, Frame, Header, KeyRing, Mesh, ReplicaId, Role, Transcript,
};
use ringseal_tests::address;
use ringseal_tests::stranger::secret;
use ringseal_tests::target::{Event, Setup, Target, eventually};

const IDS: [u8; 3] = [1, 2, 3];
const OLD: u8 = 0x01;
const NEW: u8 = 0x02;

/// The three steps: the current secret and the previous one.
const STEPS: [(u8, Option<u8>); 3] = [(OLD, Some(NEW)), (NEW, Some(OLD)), (NEW, None)];

/// A replica and the thread that keeps sending to its peers.
struct Node {
    id: u8,
    target: Target,
    quiet: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

impl Node {
    fn start(id: u8, addresses: &BTreeMap<u8, SocketAddr>, keys: (u8, Option<u8>)) -> Self {
        let previous = keys.1.map(secret);
        let auth = Auth::On {
            keys: KeyRing::new(&secret(keys.0), previous.as_ref()),
            enforcement: Enforcement::Enforce,
            transcript: Transcript::Current,
        };
        let mut setup = Setup::new(id).listen(addresses[&id]).auth(auth).limits(|limits| {
            limits.reconnect_period = Duration::from_millis(100);
        });
        for (peer, address) in addresses.iter().filter(|(peer, _)| **peer != id) {
            setup = setup.peer(*peer, *address);
        }
        let target = setup.start();
        let quiet = Arc::new(AtomicBool::new(false));
        let (mesh, hush) = (target.bus.mesh().clone(), quiet.clone());
        let sender = thread::spawn(move || keep_sending(&mesh, &hush));
        Self { id, target, quiet, sender }
    }

    /// Waits until every link is up and has brought a frame, and checks what came so far.
    fn settle(&self) {
        let linked = |target: &Target| target.bus.peers().iter().all(|peer| peer.link.is_some());
        eventually(&format!("every link of {} is up", self.id), || linked(&self.target));
        let before: Vec<_> = self.target.bus.peers().iter().map(|peer| peer.frames_in).collect();
        eventually(&format!("{} hears from everybody", self.id), || {
            let now = self.target.bus.peers();
            now.iter().zip(&before).all(|(peer, before)| peer.frames_in > *before)
        });
        self.expect_no_refusals();
    }

    fn expect_no_refusals(&self) {
        for role in Role::ALL {
            for result in [MacMismatch, ChallengeAbandoned] {
                let count = self.target.metrics().handshakes(role, result);
                assert_eq!(count, 0, "{}: {result} as {role:?}", self.id);
            }
        }
    }

    fn stop(self) {
        self.expect_no_refusals();
        self.quiet.store(true, SeqCst);
        self.sender.join().expect("the sender is well");
        expect_order(self.id, &self.target.rest());
        self.target.shutdown();
    }
}

/// Sends numbered frames to every peer until told to be quiet. A number is used once it is accepted.
fn keep_sending(mesh: &Mesh, quiet: &AtomicBool) {
    let mut next = [0_u32; 256];
    while !quiet.load(SeqCst) {
        for id in IDS.into_iter().filter(|id| *id != mesh.replica().get()) {
            let mut header = Header::new(Command::PREPARE);
            header.set_view(next[usize::from(id)]);
            let frame = Frame::new(header, vec![id; 200].into()).expect("small");
            if mesh.send(ReplicaId::new(id), frame).is_ok() {
                next[usize::from(id)] += 1;
            }
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Within a link, numbers follow one another without a gap.
fn expect_order(id: u8, events: &[Event]) {
    let mut last: BTreeMap<u8, u32> = BTreeMap::new();
    let mut frames = 0;
    for event in events {
        match event {
            Event::Up { peer, authenticated, .. } => {
                assert!(authenticated, "{id}: every link is authenticated");
                last.remove(peer);
            }
            Event::Frame { peer, frame } => {
                let number = frame.header().view();
                if let Some(last) = last.insert(*peer, number) {
                    assert_eq!(number, last + 1, "{id} hears {peer} out of order");
                }
                frames += 1;
            }
            Event::Down { .. } => {}
        }
    }
    assert!(frames > 0, "{id} has heard something");
}

#[test]
fn three_steps_change_the_secret_with_no_refused_handshake() {
    let addresses: BTreeMap<_, _> = IDS.map(|id| (id, address::unused())).into();
    let start = |id, keys| Node::start(id, &addresses, keys);
    let mut nodes: Vec<_> = IDS.iter().map(|id| start(*id, (OLD, None))).collect();
    nodes.iter().for_each(Node::settle);
    for step in STEPS {
        for id in IDS {
            nodes.remove(0).stop();
            nodes.push(start(id, step));
            nodes.iter().for_each(Node::settle);
        }
    }
    nodes.into_iter().for_each(Node::stop);
}
