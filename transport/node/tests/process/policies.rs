//! Authentication off and soft, as the configuration file says it.

use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};

use crate::node::{Node, Plan, SECRET};

/// Joins without a word of proof, and checks that frames pass both ways.
fn join_plainly(node: &Node) -> Stranger {
    let mut stranger = Stranger::connect(node.plan.address());
    stranger.write(TRUE.plain_hello(0).as_bytes());
    for number in 0..10 {
        stranger.send(&patterned(number, 1000));
        assert!(stranger.read_frame().expect("the link is up") == patterned(number, 1000));
    }
    stranger
}

#[test]
fn a_node_without_authentication_links_with_a_plain_stranger() {
    let node = Node::start(Plan::for_a_stranger().auth("enabled = false"));
    let _stranger = join_plainly(&node);
    let peer = node.peer(0);
    assert_eq!((&peer["state"], &peer["authenticated"]), (&"up".into(), &false.into()));
    assert!(node.process.stderr().contains("authentication is off"));
    node.stop();
}

#[test]
fn a_soft_node_admits_and_counts_a_plain_stranger() {
    let auth = format!("enforcement = \"soft\"\nshared_secret = \"{SECRET}\"");
    let node = Node::start(Plan::for_a_stranger().auth(auth));
    let _stranger = join_plainly(&node);
    assert_eq!(node.peer(0)["authenticated"], false);
    assert_eq!(node.metric("ringseal_soft_admissions_total{reason=\"auth_required\"}"), 1);
    assert_eq!(node.metric("ringseal_soft_admissions_total{reason=\"mac_mismatch\"}"), 0);
    assert_eq!(node.peers()["last_lenient"], 0);
    assert_eq!(node.metric("ringseal_safe_to_enforce"), 0);
    assert_eq!(node.peers()["safe_to_enforce"], false);
    node.stop();
}

#[test]
fn a_soft_node_authenticates_who_can() {
    let auth = format!("enforcement = \"soft\"\nshared_secret = \"{SECRET}\"");
    let node = Node::start(Plan::for_a_stranger().auth(auth));
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    stranger.send(&patterned(1, 1000));
    assert!(stranger.read_frame().expect("the link is up") == patterned(1, 1000));
    assert_eq!(node.peer(0)["authenticated"], true);
    assert_eq!(node.metric("ringseal_soft_admissions_total{reason=\"auth_required\"}"), 0);
    node.stop();
}

#[test]
fn an_enforcing_node_refuses_a_plain_stranger_and_counts_it() {
    let node = Node::start(Plan::for_a_stranger());
    let mut stranger = Stranger::connect(node.plan.address());
    stranger.write(TRUE.plain_hello(0).as_bytes());
    // A dialer that expects no answer is given none.
    stranger.expect_end();
    let refused = "ringseal_handshakes_total{role=\"acceptor\",result=\"auth_required\"}";
    node.wait_for_metric(refused, |count| count == 1);
    assert!(!node.is_linked(0));
    node.stop();
}

#[test]
fn both_transcripts_can_be_configured_and_do_not_mix() {
    use ringseal::Transcript::{Current, Pr3425};
    for (word, transcript, other) in [("current", Current, Pr3425), ("pr3425", Pr3425, Current)] {
        let auth = format!("transcript = \"{word}\"\nshared_secret = \"{SECRET}\"");
        let node = Node::start(Plan::for_a_stranger().auth(auth));
        let wrong = Credentials { transcript: other, ..TRUE };
        let mut stranger = Stranger::connect(node.plan.address());
        assert!(stranger.try_prove(&wrong, 0, 1).is_err(), "{word}");
        let right = Credentials { transcript, ..TRUE };
        let mut stranger = Stranger::join(node.plan.address(), &right, 0, 1);
        stranger.send(&patterned(1, 1000));
        assert!(stranger.read_frame().expect("the link is up") == patterned(1, 1000), "{word}");
        node.stop();
    }
}
