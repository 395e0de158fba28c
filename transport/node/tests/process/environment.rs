//! Keys set from the environment: as `check` shows them, and as a running node obeys them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ringseal_tests::address;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Stranger, TRUE};

use crate::child::{ringseal, run};
use crate::node::{Node, Plan, SECRET, Written, ask};

#[test]
fn check_shows_every_key_of_the_environment_and_where_it_came_from() {
    let variables = [
        ("RINGSEAL_CLUSTER__NAME", "payments", "name = \"payments\""),
        ("RINGSEAL_CLUSTER__REPLICA", "3", "replica = 3"),
        ("RINGSEAL_CLUSTER__LISTEN", "0.0.0.0:7003", "listen = \"0.0.0.0:7003\""),
        (
            "RINGSEAL_CLUSTER__REPLICAS",
            "[{ id = 3, address = \"[::1]:7003\" }, { id = 9, address = \"name.example:7009\" }]",
            "address = \"name.example:7009\"",
        ),
        ("RINGSEAL_CLUSTER__AUTH__ENABLED", "true", "enabled = true"),
        ("RINGSEAL_CLUSTER__AUTH__ENFORCEMENT", "soft", "enforcement = \"soft\""),
        (
            "RINGSEAL_CLUSTER__AUTH__SHARED_SECRET",
            SECRET,
            "shared_secret = \"(redacted, 32 bytes)\"",
        ),
        (
            "RINGSEAL_CLUSTER__AUTH__PREVIOUS_SHARED_SECRET",
            "another secret of more than 32 bytes",
            "previous_shared_secret = \"(redacted, 36 bytes)\"",
        ),
        ("RINGSEAL_CLUSTER__AUTH__TRANSCRIPT", "pr3425", "transcript = \"pr3425\""),
        ("RINGSEAL_CLUSTER__AUTH__RETIRED_LINKS", "keep", "retired_links = \"keep\""),
        ("RINGSEAL_CLUSTER__AUTH__SAFE_AFTER", "1h", "safe_after = \"1h\""),
        ("RINGSEAL_BUS__SHARDS", "2", "shards = 2"),
        ("RINGSEAL_BUS__MAX_MESSAGE_SIZE", "1MiB", "max_message_size = \"1MiB\""),
        ("RINGSEAL_BUS__OUTBOX_FRAMES", "9", "outbox_frames = 9"),
        ("RINGSEAL_BUS__OUTBOX_BYTES", "2097152", "outbox_bytes = \"2MiB\""),
        ("RINGSEAL_BUS__RECEIVE_BUDGET", "4 MiB", "receive_budget = \"4MiB\""),
        ("RINGSEAL_BUS__SPIN", "20us", "spin = \"20us\""),
        ("RINGSEAL_BUS__HANDSHAKE_GRACE", "2s", "handshake_grace = \"2s\""),
        ("RINGSEAL_BUS__HELLO_GRACE", "500ms", "hello_grace = \"500ms\""),
        ("RINGSEAL_BUS__RECONNECT_PERIOD", "1m", "reconnect_period = \"1m\""),
        ("RINGSEAL_BUS__PREAUTH_CONNECTIONS", "7", "preauth_connections = 7"),
        ("RINGSEAL_NODE__HANDLER", "echo", "handler = \"echo\""),
        ("RINGSEAL_HTTP__LISTEN", "[::1]:9600", "listen = \"[::1]:9600\""),
    ];
    // An empty file: everything comes from the environment.
    let written = Written::new("");
    let mut command = ringseal();
    command.arg("check").arg("--config").arg(written.file());
    command.envs(variables.map(|(name, value, _)| (name, value)));
    let shown = run(&mut command).succeeded();
    for (name, _, line) in variables {
        let from = format!("# from {name}");
        let found = shown.lines().any(|shown| shown.starts_with(line) && shown.ends_with(&from));
        assert!(found, "{line:?} from {name} is not in\n{shown}");
    }
    assert!(!shown.contains("# default"), "{shown}");
    assert!(!shown.contains(SECRET) && !shown.contains("another secret"), "{shown}");
}

#[test]
fn a_node_can_be_configured_by_the_environment_alone() {
    let plan = Plan::for_a_stranger();
    let roster = format!(
        r#"[{{"id": 0, "address": "{}"}}, {{"id": 1, "address": "{}"}}]"#,
        plan.replicas[0].1, plan.replicas[1].1
    );
    let http = plan.http.to_string();
    let environment = [
        ("RINGSEAL_CLUSTER__NAME", plan.cluster),
        ("RINGSEAL_CLUSTER__REPLICA", "1"),
        ("RINGSEAL_CLUSTER__REPLICAS", &roster),
        ("RINGSEAL_CLUSTER__AUTH__SHARED_SECRET", SECRET),
        ("RINGSEAL_BUS__SHARDS", "2"),
        ("RINGSEAL_NODE__HANDLER", "echo"),
        ("RINGSEAL_HTTP__LISTEN", &http),
    ];
    let node = Node::start_from(Written::new(""), plan, &environment);
    expect_echo(&node);
    assert_eq!(listeners(node.plan.address()), 2, "one for each shard");
    node.stop();
}

#[test]
fn the_environment_wins_over_the_file() {
    let wrong = Plan::for_a_stranger();
    let wrong = Plan { id: 0, handler: "sink", ..wrong.auth("enabled = false") };
    let plan = Plan::for_a_stranger();
    let roster = format!(
        "[{{ id = 0, address = \"{}\" }}, {{ id = 1, address = \"{}\" }}]",
        plan.replicas[0].1, plan.replicas[1].1
    );
    let listen = address::unused();
    let (http, listening) = (plan.http.to_string(), listen.to_string());
    let environment = [
        ("RINGSEAL_CLUSTER__REPLICA", "1"),
        ("RINGSEAL_CLUSTER__REPLICAS", &roster),
        ("RINGSEAL_CLUSTER__LISTEN", &listening),
        ("RINGSEAL_CLUSTER__AUTH__ENABLED", "true"),
        ("RINGSEAL_CLUSTER__AUTH__SHARED_SECRET", SECRET),
        ("RINGSEAL_BUS__SHARDS", "3"),
        ("RINGSEAL_BUS__OUTBOX_FRAMES", "7"),
        ("RINGSEAL_NODE__HANDLER", "echo"),
        ("RINGSEAL_HTTP__LISTEN", &http),
    ];
    let written = wrong.write();
    let file_http = wrong.http;
    let plan = Plan { replicas: vec![plan.replicas[0], (1, listen)], ..plan };
    let node = Node::start_from(written, plan, &environment);
    expect_echo(&node);
    assert_eq!(node.peers()["replica"], 1);
    assert_eq!(listeners(listen), 3, "one for each shard");
    assert_eq!(listeners(wrong.replicas[0].1), 0, "the file's address is not used");
    assert!(ask(file_http, "GET", "/health").is_none(), "the file's HTTP address is not used");
    node.stop();
}

/// A stranger with the secret is let in and answered.
fn expect_echo(node: &Node) {
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    stranger.send(&patterned(1, 1000));
    assert!(stranger.read_frame().expect("the link is up") == patterned(1, 1000));
    assert_eq!(node.peer(0)["authenticated"], true);
}

/// How many sockets listen there, as the kernel has it.
fn listeners(address: SocketAddr) -> usize {
    const LISTENING: &str = "0A";
    let sockets = fs::read_to_string("/proc/net/tcp").expect("the kernel lists its sockets");
    let listens = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next().and_then(from_hex) == Some(address) && fields.nth(1) == Some(LISTENING)
    };
    sockets.lines().filter(listens).count()
}

/// An address as `/proc/net/tcp` spells it: the four octets as the machine reads them.
fn from_hex(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?).into())
}
