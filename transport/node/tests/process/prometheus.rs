//! The alert rules and the dashboard of the book, with a real Prometheus server on a real cluster.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringseal_tests::address;
use ringseal_tests::cluster::{PATIENCE, wait_until};
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Process;
use crate::node::{Node, Plan, SECRET, Written};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/alerts.yml");
const DASHBOARD: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/dashboard.json");

/// Small enough that two strangers find out.
const BUS: &str = "outbox_frames = 16\npreauth_connections = 4\nhello_grace = \"10s\"";

/// A Prometheus server that asks the nodes four times a second. It ends with its test.
struct Prometheus {
    process: Process,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts a server with the book's rules, whose waits and windows are cut to a test's, or says on
    /// standard error that there is none.
    fn start(nodes: &[Node]) -> Option<Self> {
        let mut version = Command::new("prometheus");
        let version = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: this test needs Prometheus (Debian's package has the same name)");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let rules = fs::read_to_string(RULES).expect("the book");
        assert!(rules.contains("for: 5m") && rules.contains("[5m]"));
        let waits = rules.lines().filter(|line| !line.trim_start().starts_with("for: "));
        let rules: String = waits.map(|line| line.replace("[5m]", "[4s]") + "\n").collect();
        fs::write(at("alerts.yml"), rules).expect("ours");
        let targets: Vec<_> = nodes.iter().map(|node| format!("'{}'", node.plan.http)).collect();
        let config = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}\n\
             rule_files: [alerts.yml]\nscrape_configs:\n\
             - job_name: ringseal\n  static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        fs::write(at("prometheus.yml"), config).expect("ours");
        let address = address::unused();
        let mut command = Command::new("prometheus");
        command.arg("--log.level=error").arg(format!("--web.listen-address={address}"));
        command.arg(format!("--config.file={}", at("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", at("data").display()));
        let process = Process::spawn(&mut command);
        let mut server = Self { process, address, _directory: directory };
        wait_until("Prometheus serves", || {
            assert!(server.process.is_running(), "Prometheus has ended");
            server.get("/-/ready").is_some()
        });
        Some(server)
    }

    /// Makes a request in the old version of HTTP, whose answers come in one piece.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200").map(|_| body.to_owned())
    }

    fn data(&self, path: &str) -> Value {
        let text = self.get(path).unwrap_or_else(|| panic!("{path} is refused"));
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["data"].clone()
    }

    /// The samples that an expression gives now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.data(&format!("/api/v1/query?query={encoded}"));
        data["result"].as_array().expect("a list").clone()
    }

    fn rules(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/rules");
        let rules = data["groups"][0]["rules"].as_array().expect("a list");
        rules.iter().map(|rule| rule["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn firing(&self) -> BTreeSet<String> {
        let data = self.data("/api/v1/alerts");
        let alerts = data["alerts"].as_array().expect("a list");
        let names = alerts.iter().filter(|alert| alert["state"] == "firing");
        names.map(|alert| alert["labels"]["alertname"].as_str().expect("a name").into()).collect()
    }

    fn expect_alert(&self, seen: &mut BTreeSet<String>, name: &str, mut cause: impl FnMut()) {
        wait_until(name, || {
            cause();
            self.firing().contains(name)
        });
        seen.insert(name.to_owned());
    }
}

/// The expressions of the dashboard, with the variables of Grafana filled in.
fn expressions() -> Vec<String> {
    let text = fs::read_to_string(DASHBOARD).expect("the book");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let filled = targets.map(|target| {
        let expression = target["expr"].as_str().expect("an expression");
        expression.replace("$__rate_interval", "4s").replace("$instance", ".*")
    });
    filled.collect()
}

/// Sends whole frames to a node that returns them, and reads nothing, until the node has no room.
fn flood(node: &Node) -> Stranger {
    let stream = TcpStream::connect(node.plan.address()).expect("connected");
    let mut writing = stream.try_clone().expect("a descriptor");
    let mut stranger = Stranger::new(stream);
    let finish = stranger.prove(&TRUE, 0, node.plan.id);
    stranger.write(finish.as_bytes());
    wait_until("the link is up", || node.is_linked(0));
    writing.set_nonblocking(true).expect("an option of every socket");
    let frame = patterned(1, 60_000);
    let frame = frame.to_bytes();
    let mut sent = 0;
    wait_until("the node has no room", || {
        while let Ok(count) = writing.write(&frame[sent % frame.len()..]) {
            sent += count;
        }
        node.metric("ringseal_backpressure_total") > 0
    });
    stranger
}

#[test]
fn every_expression_has_data_and_every_alert_fires_when_its_cause_is_there() {
    let roster: Vec<_> = (0..4).map(|id| (id, address::unused())).collect();
    let auth =
        format!("shared_secret = \"{SECRET}\"\nenforcement = \"soft\"\nsafe_after = \"0s\"\n");
    let plan = |id| Plan::new(id, &roster).auth(&*auth).bus(BUS);
    let start = |id| {
        let plan = plan(id);
        let text = plan.to_toml() + "[audit]\nfile = \"audit.jsonl\"\n";
        Node::start_from(Written::new(&text), plan, &[])
    };
    let mut nodes: Vec<_> = (1..4).map(start).collect();
    let Some(prometheus) = Prometheus::start(&nodes) else { return };
    let join = |node: &Node| Stranger::join(node.plan.address(), &TRUE, 0, node.plan.id);
    let mut strangers: Vec<_> = nodes.iter().map(join).collect();
    nodes.iter().for_each(Node::wait_for_all);
    wait_until("all is well", || {
        let linked = prometheus.query("count(ringseal_links_up == ringseal_peers)");
        linked.first().is_some_and(|count| count["value"][1] == "3")
            && prometheus.firing().is_empty()
    });
    for expression in expressions() {
        wait_until(&expression, || !prometheus.query(&expression).is_empty());
    }

    let mut seen = BTreeSet::new();
    let wrong = Credentials { secret: 1, ..TRUE };
    prometheus.expect_alert(&mut seen, "RingsealRefusals", || {
        // A first frame that is no Hello is refused by every policy.
        let mut liar = Stranger::connect(nodes[0].plan.address());
        liar.write(wrong.frame(ringseal::Command::PING, 0).as_bytes());
        while liar.read_header().is_ok() {}
    });
    let replica = roster[0].1.ip();
    let mut crowd = Vec::new();
    prometheus.expect_alert(&mut seen, "RingsealReplicasEvicted", || {
        // Some stay, so that the next one finds the lane full.
        crowd.truncate(16);
        crowd.insert(0, Stranger::connect_from(replica, nodes[0].plan.address()));
    });
    drop(crowd);
    drop(strangers.remove(0));
    wait_until("the link is down", || !nodes[0].is_linked(0));
    prometheus.expect_alert(&mut seen, "RingsealLinkDown", || {});
    let flooder = flood(&nodes[0]);
    prometheus.expect_alert(&mut seen, "RingsealBackpressure", || {});
    drop(flooder);
    prometheus.expect_alert(&mut seen, "RingsealFramesLost", || {});

    drop(strangers.remove(0));
    wait_until("the link is down", || !nodes[1].is_linked(0));
    let mut slow = Stranger::connect(nodes[1].plan.address());
    let finish = slow.prove(&TRUE, 0, 2);
    let began = Instant::now();
    wait_until("a slow peer's time is over", || began.elapsed() > Duration::from_millis(600));
    slow.write(finish.as_bytes());
    prometheus.expect_alert(&mut seen, "RingsealHandshakesSlow", || {});

    drop(strangers.remove(0));
    wait_until("the link is down", || !nodes[2].is_linked(0));
    let mut plain = Stranger::connect(nodes[2].plan.address());
    plain.write(TRUE.plain_hello(0).as_bytes());
    prometheus.expect_alert(&mut seen, "RingsealNotSafeToEnforce", || {});
    let last = nodes.pop().expect("three");
    last.process.limit_file_size(Some(1));
    prometheus.expect_alert(&mut seen, "RingsealAuditMissed", || {
        let mut liar = Stranger::connect(last.plan.address());
        liar.write(wrong.frame(ringseal::Command::PING, 0).as_bytes());
        while liar.read_header().is_ok() {}
    });
    last.process.limit_file_size(None);
    last.stop();
    prometheus.expect_alert(&mut seen, "RingsealNodeDown", || {});
    assert_eq!(seen, prometheus.rules(), "every rule was tried");
    for node in nodes {
        node.stop();
    }
}
