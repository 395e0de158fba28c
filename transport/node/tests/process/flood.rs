//! What a flood of strangers leaves in the log.

use std::time::Instant;

use ringseal_tests::address;
use ringseal_tests::cluster::wait_until;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};

use crate::node::{Node, Plan};

const FLOOD: u64 = 300;

#[test]
fn a_flood_is_counted_whole_and_logged_in_a_few_lines() {
    let began = Instant::now();
    let node = Node::start(Plan::for_a_stranger());
    let elsewhere = Credentials { cluster: "elsewhere", ..TRUE };
    let source = address::unused().ip();
    for _ in 0..FLOOD {
        let mut stranger = Stranger::connect_from(source, node.plan.address());
        stranger.write(elsewhere.hello(0).as_bytes());
        stranger.read_header().expect("a refusal");
    }
    let refused = "ringseal_handshakes_total{role=\"acceptor\",result=\"cluster_mismatch\"}";
    node.wait_for_metric(refused, |count| count == FLOOD);

    // Another reason has lines of its own, however many there were for this one.
    let mut stranger = Stranger::connect_from(source, node.plan.address());
    stranger.write(TRUE.plain_hello(0).as_bytes());
    stranger.expect_end();
    wait_until("it is told", || node.process.stderr().contains("auth_required"));

    wait_until("the rest is summed up", || stands_for(&node) == FLOOD);
    let lines = about(&node).len() as u64;
    assert!(lines <= 6 + began.elapsed().as_secs(), "{lines} lines");
    node.stop();
}

/// The lines about the flood.
fn about(node: &Node) -> Vec<String> {
    let text = node.process.stderr();
    text.lines().filter(|line| line.contains("cluster_mismatch")).map(str::to_owned).collect()
}

/// How many refusals the lines tell of: each of itself, if it is one, and of those suppressed before.
fn stands_for(node: &Node) -> u64 {
    let count = |line: &String| {
        let (_, suppressed) = line.split_once("suppressed=").expect("every line says it");
        let suppressed: u64 = suppressed.trim().parse().expect("a number");
        suppressed + u64::from(line.contains("handshake failed"))
    };
    about(node).iter().map(count).sum()
}
