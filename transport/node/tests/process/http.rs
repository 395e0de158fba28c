//! What a node says over HTTP: every path, every field and every name.

use std::collections::BTreeSet;

use ringseal_tests::address;
use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::child::{Process, ringseal};
use crate::node::{Node, Plan, Written, ask};

const ROLES: [&str; 2] = ["dialer", "acceptor"];
const RESULTS: [&str; 11] = [
    "ok",
    "unknown_command",
    "cluster_mismatch",
    "directional_rule",
    "auth_required",
    "mac_mismatch",
    "challenge_abandoned",
    "malformed",
    "timeout",
    "evicted",
    "io",
];
const REASONS: [&str; 9] = [
    "eof",
    "reset",
    "protocol_error",
    "superseded",
    "duplicate",
    "keepalive",
    "shutdown",
    "reload",
    "io",
];

/// Replica 1 of three, of which no other runs.
fn alone() -> Node {
    let roster: Vec<_> = (0..3).map(|id| (id, address::unused())).collect();
    Node::start(Plan::new(1, &roster))
}

#[test]
fn a_node_alone_is_healthy_and_not_ready_and_says_why() {
    let node = alone();
    assert_eq!(node.get("/health").status, 200);
    let answer = node.get("/health/ready");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, "1 of 3 replicas are here, ourselves included; a majority is 2\n");

    let stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    wait_until("two of three are a majority", || node.get("/health/ready").status == 200);
    drop(stranger);
    wait_until("one of three is none", || node.get("/health/ready").status == 503);
    node.stop();
}

#[test]
fn a_cluster_of_one_is_ready() {
    let node = Node::start(Plan::new(7, &[(7, address::unused())]));
    assert_eq!(node.get("/health/ready").status, 200);
    assert_eq!(node.peers()["peers"], json!([]));
    node.stop();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let node = alone();
    for path in ["/index.html", "/peer", "/peers/", "/health/", "/metrics?", "/../etc/passwd"] {
        let expected = if path == "/metrics?" { 200 } else { 404 };
        assert_eq!(node.get(path).status, expected, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = ask(node.plan.http, method, "/health").expect("an answer");
        assert_eq!(answer.status, 405, "{method}");
    }
    node.stop();
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

const PEER: [&str; 14] = [
    "id",
    "address",
    "state",
    "direction",
    "shard",
    "authenticated",
    "since_ms",
    "frames_in",
    "frames_out",
    "bytes_in",
    "bytes_out",
    "outbox",
    "rtt_us",
    "last_reason",
];

#[test]
fn peers_has_exactly_the_documented_fields() {
    let node = alone();
    let answer = node.get("/peers");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let fields = ["cluster", "replica", "safe_to_enforce", "last_lenient", "peers"];
    assert_eq!(keys(&answer), BTreeSet::from(fields));
    assert_eq!(answer["last_lenient"], Value::Null);
    assert_eq!((&answer["cluster"], &answer["replica"]), (&json!("ringseal-tests"), &json!(1)));
    assert_eq!(answer["safe_to_enforce"], false, "ten minutes have not passed yet");
    let peers = answer["peers"].as_array().expect("a list");
    let ids: Vec<_> = peers.iter().map(|peer| peer["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids, [0, 2], "every replica but ourselves");
    for peer in peers {
        assert_eq!(keys(peer), BTreeSet::from(PEER));
        let id = peer["id"].as_u64().expect("an id");
        let direction = if id < 1 { "inbound" } else { "outbound" };
        assert_eq!(peer["address"], node.plan.replicas[id as usize].1.to_string());
        assert_eq!((&peer["state"], &peer["direction"]), (&json!("down"), &json!(direction)));
        assert_eq!((&peer["shard"], &peer["authenticated"]), (&Value::Null, &json!(false)));
        assert!(peer["since_ms"].as_u64().is_some_and(|since| since > 1_600_000_000_000), "{peer}");
        for count in ["frames_in", "frames_out", "bytes_in", "bytes_out", "outbox"] {
            assert_eq!(peer[count], 0, "{count} of {peer}");
        }
    }
    assert_eq!(node.peer(0)["last_reason"], Value::Null, "it has not tried yet");
    wait_until("a dial fails", || node.peer(2)["last_reason"] == "io");
    node.stop();
}

#[test]
fn peers_follows_a_link_from_its_start_to_its_end() {
    let node = alone();
    let down = node.peer(0);
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    for number in 0..20 {
        stranger.send(&patterned(number, 1000));
        assert!(stranger.read_frame().expect("the link is up") == patterned(number, 1000));
    }
    wait_until("all is counted", || node.peer(0)["frames_out"] == 20);
    let up = node.peer(0);
    assert_eq!(keys(&up), BTreeSet::from(PEER));
    for (key, value) in [
        ("state", json!("up")),
        ("direction", json!("inbound")),
        ("shard", json!(0)),
        ("authenticated", json!(true)),
        ("frames_in", json!(20)),
        ("outbox", json!(0)),
    ] {
        assert_eq!(up[key], value, "{key} of {up}");
    }
    let count = |peer: &Value, key: &str| peer[key].as_u64().expect("a number");
    assert!(count(&up, "bytes_in") >= 20_000 && count(&up, "bytes_out") >= 20_000, "{up}");
    assert!(count(&up, "since_ms") >= count(&down, "since_ms"), "{down} {up}");

    drop(stranger);
    wait_until("the end is noticed", || !node.is_linked(0));
    let down = node.peer(0);
    assert_eq!((&down["last_reason"], &down["shard"]), (&json!("eof"), &Value::Null));
    assert_eq!((&down["authenticated"], &down["direction"]), (&json!(false), &json!("inbound")));
    assert!(count(&down, "since_ms") >= count(&up, "since_ms"), "{up} {down}");
    node.stop();
}

#[test]
fn every_metric_is_there_from_the_start_with_its_labels() {
    let node = alone();
    let answer = node.get("/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let mut names: Vec<String> = [
        "ringseal_links_up",
        "ringseal_peers",
        "ringseal_handshake_seconds_bucket{le=\"+Inf\"}",
        "ringseal_handshake_seconds_count",
        "ringseal_handshake_seconds_sum",
        "ringseal_peer_handshake_seconds_count{peer=\"0\"}",
        "ringseal_peer_handshake_seconds_sum{peer=\"2\"}",
        "ringseal_preauth_connections",
        "ringseal_frames_total{direction=\"in\"}",
        "ringseal_frames_total{direction=\"out\"}",
        "ringseal_bytes_total{direction=\"in\"}",
        "ringseal_bytes_total{direction=\"out\"}",
        "ringseal_backpressure_total",
        "ringseal_reconnects_total",
        "ringseal_soft_admissions_total{reason=\"auth_required\"}",
        "ringseal_soft_admissions_total{reason=\"mac_mismatch\"}",
        "ringseal_safe_to_enforce",
        "ringseal_reads_total",
        "ringseal_paused_links",
    ]
    .map(str::to_owned)
    .into();
    let handshakes = ROLES.iter().flat_map(|role| RESULTS.map(|result| (role, result)));
    names.extend(handshakes.map(|(role, result)| {
        format!("ringseal_handshakes_total{{role=\"{role}\",result=\"{result}\"}}")
    }));
    let reasons = REASONS.iter();
    names.extend(reasons.map(|r| format!("ringseal_frames_dropped_total{{reason=\"{r}\"}}")));
    for name in names {
        let line = format!("{name} ");
        let found = answer.body.lines().filter(|found| found.starts_with(&line)).count();
        assert_eq!(found, 1, "{name} in\n{}", answer.body);
    }
    assert!(answer.body.ends_with('\n'), "{}", answer.body);
    node.stop();
}

#[test]
fn counters_move_with_traffic() {
    const FRAMES: u64 = 100;
    let node = alone();
    let ok = "ringseal_handshakes_total{role=\"acceptor\",result=\"ok\"}";
    let abandoned = "ringseal_handshakes_total{role=\"acceptor\",result=\"challenge_abandoned\"}";
    assert_eq!((node.metric("ringseal_links_up"), node.metric(ok)), (0, 0));
    let _silent = Stranger::connect(node.plan.address());
    node.wait_for_metric("ringseal_preauth_connections", |waiting| waiting == 1);

    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    for number in 0..FRAMES {
        stranger.send(&patterned(number, 500));
        assert!(stranger.read_frame().expect("the link is up") == patterned(number, 500));
    }
    assert_eq!((node.metric("ringseal_links_up"), node.metric(ok)), (1, 1));
    assert!(node.metric("ringseal_handshake_seconds_count") > 0);
    let of_peer =
        |peer| node.metric(&format!("ringseal_peer_handshake_seconds_count{{peer=\"{peer}\"}}"));
    assert_eq!((of_peer(0), of_peer(2)), (1, 0), "those that failed are no measure of a peer");
    for direction in ["in", "out"] {
        let frames = format!("ringseal_frames_total{{direction=\"{direction}\"}}");
        node.wait_for_metric(&frames, |frames| frames == FRAMES);
        let bytes = node.metric(&format!("ringseal_bytes_total{{direction=\"{direction}\"}}"));
        assert!(bytes >= FRAMES * 500, "{bytes} bytes {direction}");
    }
    let reads = node.metric("ringseal_reads_total");
    assert!(reads > 0 && reads <= 2 * FRAMES, "{reads} reads");
    // Nobody listens at replica 2's address.
    node.wait_for_metric("ringseal_reconnects_total", |dials| dials > 0);
    node.wait_for_metric("ringseal_handshakes_total{role=\"dialer\",result=\"io\"}", |failed| {
        failed > 0
    });

    let wrong = Credentials { secret: 1, ..TRUE };
    let mut liar = Stranger::connect(node.plan.address());
    assert!(liar.try_prove(&wrong, 0, 1).is_err(), "the node's proof is not of that secret");
    drop(liar);
    node.wait_for_metric(abandoned, |count| count == 1);
    assert_eq!((node.metric("ringseal_links_up"), node.metric(ok)), (1, 1));
    drop(stranger);
    node.wait_for_metric("ringseal_links_up", |links| links == 0);
    node.stop();
}

#[test]
fn without_the_table_there_is_no_http_and_the_node_runs() {
    let plan = Plan::for_a_stranger();
    let text = plan.to_toml();
    let (without, _) = text.split_once("[http]").expect("the plan has HTTP");
    let written = Written::new(without);
    let mut command = ringseal();
    command.arg("node").arg("--config").arg(written.file());
    let mut process = Process::spawn(&mut command);
    wait_until("the node runs", || process.stderr().contains("the node runs"));
    let mut stranger = Stranger::join(plan.address(), &TRUE, 0, 1);
    stranger.send(&patterned(1, 1000));
    assert!(stranger.read_frame().expect("the link is up") == patterned(1, 1000));
    assert!(ask(plan.http, "GET", "/health").is_none());
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn a_link_that_is_up_has_a_round_trip_and_one_that_is_down_has_none() {
    let node = alone();
    assert_eq!(node.peer(0)["rtt_us"], Value::Null);
    let stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    wait_until("the kernel was asked", || node.peer(0)["rtt_us"].as_u64() > Some(0));
    node.wait_for_metric("ringseal_link_rtt_seconds_count{peer=\"0\"}", |looks| looks > 1);
    assert_eq!(node.metric("ringseal_link_rtt_seconds_count{peer=\"2\"}"), 0);
    drop(stranger);
    wait_until("the link is down", || node.peer(0)["rtt_us"] == Value::Null);
    node.stop();
}
