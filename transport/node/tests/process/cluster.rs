//! Replicas as separate processes that are killed and started again while traffic runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use ringseal::SendErrorKind;
use ringseal_tests::address;
use ringseal_tests::cluster::{self, Net, wait_until};
use ringseal_tests::frames::{HEADER, number_of, numbered};
use ringseal_tests::journal::Event;
use ringseal_tests::script::Listen;

use crate::node::{Node, Plan};

/// The replica in this process: one of the others dials it, it dials the other two.
const OURS: u8 = 1;
const ECHOES: [u8; 2] = [0, 2];
const SINK: u8 = 3;
const OTHERS: [u8; 3] = [0, 2, 3];

#[test]
fn three_processes_form_a_full_mesh_and_are_ready() {
    let roster: Vec<_> = (0..3).map(|id| (id, address::unused())).collect();
    let nodes: Vec<_> = (0..3).map(|id| Node::start(Plan::new(id, &roster))).collect();
    for node in &nodes {
        node.wait_for_all();
        assert_eq!(node.get("/health/ready").status, 200);
        assert_eq!(node.metric("ringseal_links_up"), 2);
        for peer in (0..3).filter(|peer| *peer != node.plan.id) {
            let shown = node.peer(peer);
            let direction = if node.plan.id < peer { "outbound" } else { "inbound" };
            assert_eq!((&shown["direction"], &shown["shard"]), (&direction.into(), &0.into()));
            assert_eq!(shown["authenticated"], true, "{shown}");
        }
    }
    for node in nodes {
        let process = node.stop();
        assert_eq!(process.stdout(), "", "everything it has to say is in the log");
    }
}

#[test]
fn processes_that_are_killed_and_restarted_under_traffic_are_linked_again_and_keep_order() {
    let net = Net::new(&[0, OURS, 2, SINK]);
    let mut nodes = start(&net);
    let ours = net.start(OURS, || Listen);
    wait_for_mesh(&ours, &nodes);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whatever fails below, the traffic ends and with it the scope.
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| carry_traffic(&ours, &stop));
        for round in 0..2 {
            for victim in OTHERS {
                wait_for_flow(&ours, &nodes);
                let mut node = nodes.remove(&victim).expect("it runs");
                node.kill();
                if round == 0 {
                    survive_without(victim, &ours, &nodes);
                }
                nodes.insert(victim, node.revive());
                wait_for_mesh(&ours, &nodes);
            }
        }
        wait_for_flow(&ours, &nodes);
    });

    for node in nodes.values() {
        assert_eq!(node.get("/health/ready").status, 200);
    }
    for peer in ECHOES {
        let links = expect_order(&ours, peer);
        assert!(links >= 3, "{peer} was linked {links} times");
    }
    for node in nodes.into_values() {
        node.stop();
    }
    ours.shutdown();
}

fn start(net: &Net) -> BTreeMap<u8, Node> {
    let roster: Vec<(u8, SocketAddr)> = (0..4).map(|id| (id, net.address(id))).collect();
    let start = |id| {
        let handler = if id == SINK { "sink" } else { "echo" };
        let plan = Plan { cluster: "tests", handler, ..Plan::new(id, &roster) };
        (id, Node::start(plan))
    };
    OTHERS.map(start).into()
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Sends every peer its own sequence of numbers, of which none is skipped: a number is used up when
/// its frame is accepted.
fn carry_traffic(ours: &cluster::Node, stop: &AtomicBool) {
    let mut next = BTreeMap::from(OTHERS.map(|peer| (peer, 0)));
    while !stop.load(SeqCst) {
        for (peer, number) in &mut next {
            let size = HEADER + usize::try_from(*number % 700).expect("small");
            match ours.send((*peer).into(), numbered((*peer).into(), *number, size)) {
                Ok(()) => *number += 1,
                Err(error) => assert!(
                    matches!(error.kind, SendErrorKind::NotConnected | SendErrorKind::Backpressure),
                    "{error:?}"
                ),
            }
        }
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until everyone sees everyone.
fn wait_for_mesh(ours: &cluster::Node, nodes: &BTreeMap<u8, Node>) {
    // A process that has just been started knows no link but those it has now.
    for node in nodes.values() {
        node.wait_for_all();
    }
    for peer in OTHERS {
        ours.wait_for_link(peer);
    }
}

/// Waits until frames go to each node, and come back from those that return them.
fn wait_for_flow(ours: &cluster::Node, nodes: &BTreeMap<u8, Node>) {
    for (id, node) in nodes {
        if *id == SINK {
            let received = || node.peer(OURS)["frames_in"].as_u64().expect("a count");
            let before = received();
            wait_until("the sink takes frames", || received() >= before + 50);
        } else {
            ours.journal.wait_count(*id, ours.journal.count_from(*id) + 50);
        }
    }
}

/// Everyone notices that one is gone, stays ready, and goes on with the rest.
fn survive_without(victim: u8, ours: &cluster::Node, nodes: &BTreeMap<u8, Node>) {
    for node in nodes.values() {
        wait_until("the loss is noticed", || !node.is_linked(victim));
        assert_eq!(node.get("/health/ready").status, 200, "three of four are a majority");
        let reason = node.peer(victim)["last_reason"].clone();
        assert!(["eof", "reset", "io"].contains(&reason.as_str().expect("a reason")), "{reason}");
    }
    wait_for_flow(ours, nodes);
}

/// On each link the numbers that came back follow on each other without a gap, and no later link
/// brings back what an earlier one was given. Returns how many links there were.
fn expect_order(ours: &cluster::Node, peer: u8) -> usize {
    let mut links = 0;
    let mut last = None;
    let mut gap_allowed = true;
    ours.journal.look(|events| {
        for event in events {
            match event {
                Event::Up { peer: up, .. } if *up == peer => {
                    links += 1;
                    gap_allowed = true;
                }
                Event::Frame { peer: from, frame } if *from == peer => {
                    let (sent_to, number) = number_of(frame.header());
                    assert_eq!(sent_to, u32::from(peer));
                    let follows = match last {
                        None => true,
                        Some(last) if gap_allowed => number > last,
                        Some(last) => number == last + 1,
                    };
                    assert!(follows, "link {links} to {peer}: {number} after {last:?}");
                    last = Some(number);
                    gap_allowed = false;
                }
                _ => {}
            }
        }
    });
    links
}
