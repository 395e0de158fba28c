//! The book's reference pages against the program, and its first steps as they stand there.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use ringseal_tests::address;
use ringseal_tests::cluster::wait_until;
use rustix::process::Signal;

use crate::child::{Process, ringseal, run};
use crate::node::{Node, Plan, SECRET, Written, ask};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

fn chapter(name: &str) -> String {
    fs::read_to_string(format!("{DOCS}/{name}")).expect("a chapter")
}

#[test]
fn the_reference_of_keys_is_what_the_parser_asks_for() {
    let printed = run(ringseal().arg("reference")).succeeded();
    let chapter = chapter("operations/configuration.md");
    let (_, rest) = chapter.split_once("<!-- keys: begin -->\n").expect("where it begins");
    let (page, _) = rest.split_once("<!-- keys: end -->").expect("where it ends");
    assert!(
        page.trim() == printed.trim(),
        "put what `ringseal reference` prints between the marks"
    );
}

/// Every key with another value than it has in [`every_key`]; the two forms of a secret are one.
const CHANGES: [(&str, &str); 24] = [
    ("cluster.name", "\"other\""),
    ("cluster.replica", "2"),
    ("cluster.listen", "\"127.0.0.1:1\""),
    ("cluster.replicas", "[{ id = 1, address = \"127.0.0.1:1\" }]"),
    ("cluster.auth.enabled", "false"),
    ("cluster.auth.enforcement", "\"soft\""),
    ("cluster.auth.shared_secret", "\"another secret that is long enough to be one\""),
    ("cluster.auth.previous_shared_secret", "\"yet another secret that is long enough\""),
    ("cluster.auth.transcript", "\"pr3425\""),
    ("cluster.auth.retired_links", "\"keep\""),
    ("cluster.auth.safe_after", "\"1s\""),
    ("bus.max_message_size", "\"1MiB\""),
    ("bus.outbox_frames", "7"),
    ("bus.outbox_bytes", "\"128MiB\""),
    ("bus.receive_budget", "\"128MiB\""),
    ("bus.shards", "2"),
    ("bus.spin", "\"1us\""),
    ("bus.handshake_grace", "\"9s\""),
    ("bus.hello_grace", "\"2s\""),
    ("bus.reconnect_period", "\"2s\""),
    ("bus.preauth_connections", "7"),
    ("node.handler", "\"echo\""),
    ("http.listen", "\"127.0.0.1:1\""),
    ("audit.max_size", "\"1MiB\""),
];

/// A configuration with one key changed.
fn every_key(plan: &Plan, change: Option<(&str, &str)>) -> String {
    let (listen, http) = (plan.address(), plan.http);
    let values = [
        ("cluster.name", "\"ringseal-tests\"".to_owned()),
        ("cluster.replica", "1".to_owned()),
        ("cluster.listen", format!("\"{listen}\"")),
        (
            "cluster.replicas",
            "[{ id = 1, address = \"127.0.0.1:1\" }, { id = 2, address = \"127.0.0.1:2\" }]"
                .to_owned(),
        ),
        ("cluster.auth.shared_secret", format!("\"{SECRET}\"")),
        ("bus.shards", "1".to_owned()),
        ("node.handler", "\"sink\"".to_owned()),
        ("http.listen", format!("\"{http}\"")),
        ("audit.file", "\"audit.jsonl\"".to_owned()),
    ];
    let changed = |key: &str| change.filter(|(changed, _)| *changed == key);
    let mut lines: Vec<String> = values
        .iter()
        .map(|(key, value)| format!("{key} = {}\n", changed(key).map_or(&**value, |(_, to)| to)))
        .collect();
    if let Some((key, to)) = change.filter(|(key, _)| values.iter().all(|(known, _)| known != key))
    {
        lines.push(format!("{key} = {to}\n"));
    }
    lines.concat()
}

#[test]
fn a_reload_does_with_every_key_what_the_reference_says() {
    let plan = Plan::new(1, &[(1, address::unused()), (2, address::unused())]);
    let node = Node::start_from(Written::new(&every_key(&plan, None)), plan, &[]);
    let chapter = chapter("operations/configuration.md");
    let mut before = node.process.stderr().len();
    for (key, to) in CHANGES {
        fs::write(node.config(), every_key(&node.plan, Some((key, to)))).expect("ours");
        node.process.signal(Signal::HUP);
        let said = || node.process.stderr()[before..].to_owned();
        wait_until(key, || said().contains("reloaded"));
        let said = said();
        let did =
            match (said.contains("nothing was reloaded"), said.contains("waits for a restart")) {
                (true, _) => "changes nothing at all: it takes a restart",
                (false, true) => "leaves it for a restart",
                (false, false) => "takes it",
            };
        let (_, section) = chapter.split_once(&format!("#### `{key}`\n")).expect("the key");
        let row = section.lines().filter(|line| line.starts_with("| ")).nth(1).expect("its row");
        let cells: Vec<&str> = row.split(" | ").collect();
        assert_eq!(cells[cells.len() - 2], did, "{key}: {said}");
        before += said.len();
    }
    node.stop();
}

#[test]
fn every_metric_is_described_with_its_type_and_labels() {
    let plan = Plan::for_a_stranger();
    let text = plan.to_toml() + "[audit]\nfile = \"audit.jsonl\"\n";
    let node = Node::start_from(Written::new(&text), plan, &[]);
    let served = node.get("/metrics").body;
    let mut expected = BTreeSet::new();
    for line in served.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type");
        let samples = served.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            ["{", " ", "_count"].iter().any(|next| rest.starts_with(next))
        });
        let labels: BTreeSet<&str> = samples
            .filter_map(|line| line.split_once('{')?.1.split_once('}'))
            .flat_map(|(labels, _)| labels.split(',').filter_map(|label| label.split('=').next()))
            .filter(|label| *label != "le")
            .collect();
        expected.insert((
            name.to_owned(),
            kind.to_owned(),
            labels.into_iter().map(str::to_owned).collect(),
        ));
    }
    assert!(expected.len() > 15, "{served}");
    let chapter = chapter("operations/metrics.md");
    let rows = chapter.lines().filter(|line| line.starts_with("| `ringseal_"));
    let described: BTreeSet<(String, String, BTreeSet<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let labels = cells[3].split(';').filter_map(|label| label.split('`').nth(1));
            let name = cells[1].trim_matches('`').to_owned();
            (name, cells[2].to_owned(), labels.map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(described, expected);
    node.stop();
}

/// What the chapter has its reader type to make a secret and three configurations, on free ports.
#[test]
fn the_first_steps_make_a_cluster() {
    let chapter = chapter("getting-started.md");
    let steps = chapter.split("```sh\n").filter_map(|rest| Some(rest.split_once("```")?.0));
    let mut script = { steps }.find(|step| step.contains("keygen")).expect("a step").to_owned();
    let ports = ["127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"];
    for port in ports {
        assert!(script.contains(port), "{script}");
        script = script.replace(port, &address::unused().to_string());
    }
    let http: Vec<_> = (0..3).map(|_| address::unused()).collect();
    assert!(script.contains("127.0.0.1:960$id"), "{script}");
    script = script.replace("127.0.0.1:960$id", "HTTP-$id");
    let directory = tempfile::tempdir().expect("a directory");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_ringseal")).parent().expect("its place");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).env("PATH", path).current_dir(&directory);
    assert!(shell.status().expect("a shell").success());
    let mut nodes: Vec<Process> = Vec::new();
    for (id, http) in http.iter().enumerate() {
        let file = directory.path().join(format!("node-{id}.toml"));
        let text = fs::read_to_string(&file).expect("the script has made it");
        fs::write(&file, text.replace(&format!("HTTP-{id}"), &http.to_string())).expect("ours");
        let checked = run(ringseal().arg("check").arg("--config").arg(&file)).succeeded();
        assert!(!checked.contains("warning"), "{checked}");
        nodes.push(Process::spawn(ringseal().arg("node").arg("--config").arg(&file)));
    }
    for http in http {
        wait_until("both links are up", || {
            let answer = ask(http, "GET", "/peers");
            answer.is_some_and(|answer| answer.body.matches("\"authenticated\":true").count() == 2)
        });
    }
}
