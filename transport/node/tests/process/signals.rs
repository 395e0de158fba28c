//! What signals do to a running node.

use std::fs;
use std::time::{Duration, Instant};

use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{End, Stranger, TRUE};
use rustix::process::Signal;

use crate::node::{Node, Plan};

/// How long a node may take to end when nothing waits to be written.
const PROMPTLY: Duration = Duration::from_secs(3);

/// Ends a node that has a link, and starts it again on the same ports at once.
fn ends_and_comes_back(signal: Signal) {
    let mut node = Node::start(Plan::for_a_stranger());
    for _ in 0..2 {
        let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
        stranger.send(&patterned(1, 300));
        assert!(stranger.read_frame().expect("the link is up") == patterned(1, 300));
        let began = Instant::now();
        node.process.signal(signal);
        assert_eq!(node.process.wait(), Some(0), "{}", node.process.stderr());
        assert!(began.elapsed() < PROMPTLY, "it took {:?}", began.elapsed());
        assert_eq!(stranger.expect_end(), End::Eof);
        assert!(node.process.stderr().contains("the node has stopped"));
        node = node.restart();
    }
}

#[test]
fn sigterm_ends_a_node_which_can_be_started_again_at_once() {
    ends_and_comes_back(Signal::TERM);
}

#[test]
fn sigint_ends_a_node_which_can_be_started_again_at_once() {
    ends_and_comes_back(Signal::INT);
}

#[test]
fn a_killed_node_can_be_started_again() {
    let mut node = Node::start(Plan::for_a_stranger());
    for number in 0..3 {
        let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
        stranger.send(&patterned(number, 300));
        assert!(stranger.read_frame().expect("the link is up") == patterned(number, 300));
        node.kill();
        node = node.revive();
    }
    node.stop();
}

#[test]
fn sighup_reloads_and_ends_neither_the_node_nor_its_links() {
    let mut node = Node::start(Plan::for_a_stranger());
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    let good = node.plan.to_toml();
    let unreadable = good.replace("replica = 1", "replica = 256");
    for (number, (text, said)) in [
        (&good, "were reloaded"),
        (&unreadable, "cluster.replica is 256"),
        (&good, "were reloaded"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = node.process.stderr().matches(said).count();
        fs::write(node.config(), text).expect("the file is ours");
        node.process.signal(Signal::HUP);
        wait_until("the node says so", || node.process.stderr().matches(said).count() > before);
        let frame = patterned(number as u64, 300);
        stranger.send(&frame);
        assert!(stranger.read_frame().expect("the link is up") == frame);
    }
    assert!(node.process.is_running());
    node.stop();
}
