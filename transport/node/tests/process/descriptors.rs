//! A node that strangers would leave without descriptors.

use std::net::SocketAddr;

use ringseal_tests::address;
use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames;
use ringseal_tests::stranger::{Stranger, TRUE, Trap};
use rustix::process::{Resource, Rlimit, prlimit};

use crate::node::{Node, Plan};

const US: u8 = 1;
const LIMIT: u64 = 96;

/// Far more strangers than the process may have descriptors.
const CROWD: usize = 400;

/// Sends a frame to the node and waits for it to come back.
fn echo(link: &mut Stranger) {
    let frame = frames::patterned(7, 300);
    link.send(&frame);
    assert_eq!(link.read_frame().expect("the link is up"), frame);
}

#[test]
fn links_redials_and_http_outlive_a_crowd_that_would_take_every_descriptor() {
    let callee = Trap::open();
    let replicas: [(u8, SocketAddr); 3] =
        [(0, address::unused()), (US, address::unused()), (2, callee.address())];
    let node = Node::start(
        Plan::new(US, &replicas).bus("hello_grace = \"60s\"\nhandshake_grace = \"60s\""),
    );
    let mut dialed = callee.accept();
    dialed.admit(&TRUE, 2);
    let mut caller = Stranger::join(node.plan.address(), &TRUE, 0, US);
    wait_until("both links are up", || node.is_linked(0) && node.is_linked(2));
    let limit = Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) };
    prlimit(Some(node.process.pid()), Resource::Nofile, limit).expect("it is our child");

    let shed = |node: &Node| {
        node.metric("ringseal_evictions_total{lane=\"other\",reason=\"descriptors\"}")
    };
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| Stranger::connect_from(address::unused().ip(), node.plan.address()))
        .collect();
    wait_until("strangers are shed", || shed(&node) > (CROWD as u64) - LIMIT);
    assert!(crowd.last().expect("many").is_open_and_quiet(), "the newest waits");

    echo(&mut caller);
    drop(dialed);
    let mut dialed = callee.accept();
    dialed.admit(&TRUE, 2);
    wait_until("the link is made anew", || node.is_linked(2));
    assert_eq!(node.get("/health").status, 200);

    // The port, too: a replica comes anew, among strangers that still hold what they may.
    drop(caller);
    wait_until("the link is down", || !node.is_linked(0));
    let caller = Stranger::connect_from(address::unused().ip(), node.plan.address());
    let mut caller = caller.join_as_member(&TRUE, 0, US).expect("at the first attempt");
    echo(&mut caller);
    assert_eq!(node.metric("ringseal_accept_errors_total"), 0, "it never came to the last one");
    drop(crowd);
    node.stop();
}
