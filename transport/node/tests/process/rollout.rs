//! A cluster of processes turns authentication on, changes its secret and turns authentication off
//! again, all by reload and under traffic.
//!
//! The traffic comes from one more replica, in this process: it sends numbered frames to each of the
//! others and is reloaded like them.

use std::collections::BTreeMap;
use std::fs;

use ringseal::Enforcement::{self, Enforce, Soft};
use ringseal_tests::cluster::wait_until;
use ringseal_tests::fleet::{Orders, Ship};
use rustix::process::Signal;

use crate::node::{Node, Plan};
use crate::plain::PlainPeer;

const CLUSTER: &str = "fleet";

/// The replica in this process, the five others, and those of them that start as plain peers.
const OURS: u8 = 2;
const OTHERS: [u8; 5] = [0, 1, 3, 4, 5];
const PLAIN: [u8; 2] = [1, 4];

const OLD: u8 = b'o';
const NEW: u8 = b'n';

struct Fleet {
    orders: Orders,
    handler: &'static str,
    ours: Ship,
    nodes: BTreeMap<u8, Node>,
    plain: BTreeMap<u8, PlainPeer>,
}

impl Fleet {
    fn launch(orders: Orders, handler: &'static str, plain: &[u8]) -> Self {
        let ours = Ship::launch(OURS, &orders);
        let (nodes, others) = (BTreeMap::new(), BTreeMap::new());
        let mut fleet = Self { orders, handler, ours, nodes, plain: others };
        for id in OTHERS {
            if plain.contains(&id) { fleet.start_plain(id) } else { fleet.start_node(id) }
        }
        fleet
    }

    fn start_plain(&mut self, id: u8) {
        let peer = PlainPeer::start(CLUSTER, id, &self.orders.roster);
        self.plain.insert(id, peer);
    }

    fn start_node(&mut self, id: u8) {
        let roster: Vec<_> = self.orders.roster.iter().map(|(id, at)| (*id, *at)).collect();
        let plan = Plan { cluster: CLUSTER, handler: self.handler, ..Plan::new(id, &roster) };
        let plan = plan.bus("hello_grace = \"500ms\"").auth(auth(&self.orders));
        self.nodes.insert(id, Node::start(plan));
    }

    /// Gives one replica the orders that now hold, by SIGHUP if it is a process.
    fn reload(&mut self, id: u8) {
        let Some(node) = self.nodes.get_mut(&id) else {
            assert_eq!(id, OURS, "plain peers know no reload");
            return self.ours.reload(&self.orders);
        };
        node.plan.auth = auth(&self.orders);
        let said = |node: &Node| node.process.stderr().matches("were reloaded").count();
        let before = said(node);
        fs::write(node.config(), node.plan.to_toml()).expect("the file is ours");
        node.process.signal(Signal::HUP);
        wait_until("the node reloads", || said(node) > before);
    }

    /// Reloads these replicas, one at a time; after each of them everybody is linked with everybody.
    fn enter(&mut self, enforcement: Option<Enforcement>, order: &[u8]) {
        self.orders.enforcement = enforcement;
        for id in order {
            self.reload(*id);
            self.settle();
        }
    }

    /// Waits until every link is up and traffic flows to every replica, and back if it is returned.
    fn settle(&self) {
        self.nodes.values().for_each(Node::wait_for_all);
        wait_until("our links are up", || self.ours.links().len() == OTHERS.len());
        let before = OTHERS.map(|id| self.arrived(id));
        wait_until("frames arrive", || {
            OTHERS.iter().zip(before).all(|(id, before)| self.arrived(*id) >= before + 10)
        });
    }

    /// How many of our frames a replica has returned, or swallowed.
    fn arrived(&self, id: u8) -> u64 {
        match self.handler {
            "echo" => self.ours.traffic(id).1,
            _ => self.nodes[&id].peer(OURS)["frames_in"].as_u64().expect("a count"),
        }
    }

    /// Waits until every node has authenticated everybody, and so have we.
    fn expect_authenticated(&self) {
        wait_until("every link is authenticated", || {
            let of_node = |node: &Node| {
                let answer = node.peers();
                let peers = answer["peers"].as_array().expect("a list");
                peers.iter().all(|peer| peer["state"] == "up" && peer["authenticated"] == true)
            };
            let ours = self.ours.bus.peers();
            self.nodes.values().all(of_node)
                && ours.iter().all(|peer| peer.link.is_some_and(|link| link.authenticated))
        });
    }

    /// Nobody was refused for what it could not prove, by anybody, as either side of a handshake.
    fn expect_no_refusals(&self) {
        assert_eq!(self.ours.refusals(), 0);
        for (id, node) in &self.nodes {
            let text = node.get("/metrics").body;
            for reason in ["auth_required", "mac_mismatch", "challenge_abandoned"] {
                let result = format!("result=\"{reason}\"");
                let of = |line: &&str| {
                    line.starts_with("ringseal_handshakes_total") && line.contains(&result)
                };
                let lines: Vec<_> = text.lines().filter(of).collect();
                assert_eq!(lines.len(), 2, "both roles are counted");
                assert!(lines.iter().all(|line| line.ends_with(" 0")), "{id}: {lines:?}");
            }
        }
    }

    /// When the links that each node has now began.
    fn beginnings(&self) -> Vec<u64> {
        let of_node = |node: &Node| {
            let answer = node.peers();
            let peers = answer["peers"].as_array().expect("a list").clone();
            peers.into_iter().map(|peer| peer["since_ms"].as_u64().expect("a time"))
        };
        self.nodes.values().flat_map(of_node).collect()
    }

    fn end(self) {
        self.ours.sink();
        self.nodes.into_values().for_each(|node| drop(node.stop()));
        self.plain.into_values().for_each(PlainPeer::stop);
    }
}

/// The table `cluster.auth` that says what the orders do.
fn auth(orders: &Orders) -> String {
    let Some(enforcement) = orders.enforcement else { return "enabled = false".to_owned() };
    let secret = |byte: u8| char::from(byte).to_string().repeat(32);
    let (current, previous) = orders.keys;
    let previous = previous.map(|byte| format!("previous_shared_secret = \"{}\"\n", secret(byte)));
    format!(
        "enforcement = \"{enforcement}\"\nsafe_after = \"0s\"\nshared_secret = \"{}\"\n{}",
        secret(current),
        previous.unwrap_or_default()
    )
}

fn orders(enforcement: Option<Enforcement>) -> Orders {
    let mut orders = Orders::new(6);
    orders.enforcement = enforcement;
    orders.keys = (OLD, None);
    orders
}

#[test]
fn a_cluster_of_processes_moves_from_off_over_soft_to_enforce_and_back() {
    let mut fleet = Fleet::launch(orders(None), "echo", &PLAIN);
    fleet.settle();

    fleet.enter(Some(Soft), &[5, OURS, 0, 3]);
    for node in fleet.nodes.values() {
        assert_eq!(node.metric("ringseal_safe_to_enforce"), 0, "two peers know no authentication");
    }
    for id in PLAIN {
        fleet.plain.remove(&id).expect("it runs").stop();
        fleet.start_node(id);
        fleet.settle();
    }
    fleet.expect_authenticated();
    for node in fleet.nodes.values() {
        node.wait_for_metric("ringseal_safe_to_enforce", |safe| safe == 1);
    }

    fleet.enter(Some(Enforce), &[3, 1, 0, 5, OURS, 4]);
    fleet.expect_authenticated();
    fleet.enter(Some(Soft), &[OURS, 4, 5, 1, 3, 0]);
    fleet.expect_authenticated();
    fleet.enter(None, &[0, 5, 1, OURS, 4, 3]);
    fleet.expect_no_refusals();

    for id in PLAIN {
        fleet.nodes.remove(&id).expect("it runs").stop();
        fleet.start_plain(id);
        fleet.settle();
    }
    let (_, disordered) = fleet.ours.harm();
    assert_eq!(disordered, 0, "on every link frames came back in order and without a gap");
    fleet.expect_no_refusals();
    fleet.end();
}

#[test]
fn processes_change_their_secret_by_reload_and_lose_no_frame() {
    let mut fleet = Fleet::launch(orders(Some(Enforce)), "sink", &[]);
    fleet.settle();
    fleet.expect_authenticated();
    let first = fleet.beginnings();
    for (keys, order) in [
        ((OLD, Some(NEW)), [0, 1, OURS, 3, 4, 5]),
        ((NEW, Some(OLD)), [4, OURS, 0, 5, 3, 1]),
        ((NEW, None), [5, 4, 3, OURS, 1, 0]),
    ] {
        assert_eq!(fleet.beginnings(), first, "as long as both secrets are held, every link stays");
        fleet.orders.keys = keys;
        for id in order {
            fleet.reload(id);
            fleet.settle();
        }
    }
    wait_until("every link is made anew with the new secret", || {
        fleet.beginnings().iter().zip(&first).all(|(now, first)| now > first)
    });
    fleet.settle();
    fleet.expect_authenticated();
    fleet.expect_no_refusals();

    fleet.ours.fall_silent();
    for id in OTHERS {
        let (accepted, _) = fleet.ours.traffic(id);
        wait_until("all that was accepted arrives", || fleet.arrived(id) == accepted);
    }
    assert_eq!(fleet.ours.harm(), (0, 0), "lost, disordered");
    fleet.end();
}
