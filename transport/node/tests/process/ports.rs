//! Ports that somebody else has.

use std::net::{SocketAddr, TcpListener};

use crate::child::run_with;
use crate::node::{Node, Plan};

/// Both say which port, and that it is taken.
fn refuses(plan: &Plan, port: SocketAddr) {
    let written = plan.write();
    let ended = run_with("node", &written.file());
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    let error = ended.stderr.lines().last().expect("an error");
    assert!(error.starts_with("ringseal: error: "), "{ended:?}");
    for part in [&port.to_string(), "in use"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    let plan = Plan::for_a_stranger();
    let _taken = TcpListener::bind(plan.address()).expect("the port is free");
    refuses(&plan, plan.address());
}

#[test]
fn the_port_of_another_node_is_an_error_and_the_other_node_goes_on() {
    let node = Node::start(Plan::for_a_stranger());
    let plan = Plan { http: Plan::for_a_stranger().http, ..node.plan.clone() };
    refuses(&plan, plan.address());
    assert_eq!(node.get("/health").status, 200);
    node.stop();
}

#[test]
fn an_http_port_in_use_is_an_error() {
    let plan = Plan::for_a_stranger();
    let _taken = TcpListener::bind(plan.http).expect("the port is free");
    refuses(&plan, plan.http);
}
