//! The audit log of a real node: what is in it, and what happens to it when things go wrong.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};
use rustix::process::Signal;
use serde_json::Value;

use crate::child::{Ended, ringseal, run};
use crate::node::{Node, Plan, SECRET, Written};

const WRONG: Credentials = Credentials { secret: 1, ..TRUE };

fn plan() -> Plan {
    // What a stranger does to the node comes in the order in which the tests do it.
    Plan::for_a_stranger().bus("hello_grace = \"10s\"")
}

fn written(plan: &Plan, max_size: &str) -> Written {
    let table = format!("[audit]\nfile = \"audit.jsonl\"\nmax_size = \"{max_size}\"\n");
    Written::new(&(plan.to_toml() + &table))
}

fn start(plan: Plan, max_size: &str) -> Node {
    Node::start_from(written(&plan, max_size), plan, &[])
}

/// The lines of the present file.
fn lines(node: &Node) -> Vec<Value> {
    let text = fs::read_to_string(node.beside("audit.jsonl")).expect("the log");
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    // What a crash has cut off is no JSON.
    whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The lines of one event.
fn of(node: &Node, event: &str) -> Vec<Value> {
    lines(node).into_iter().filter(|line| line["event"] == event).collect()
}

fn wait_for(node: &Node, event: &str, count: usize) -> Vec<Value> {
    wait_until(event, || of(node, event).len() >= count);
    of(node, event)
}

fn verify(files: &[PathBuf]) -> Ended {
    run(ringseal().args(["audit", "verify"]).args(files))
}

/// A handshake that fails for the wrong secret, up to the node's verdict.
fn be_refused(node: &Node, before: u64) {
    let mut liar = Stranger::connect(node.plan.address());
    assert!(liar.try_prove(&WRONG, 0, 1).is_err(), "the node's proof is not of that secret");
    drop(liar);
    node.wait_for_metric(ABANDONED, |count| count > before);
}

const ABANDONED: &str =
    "ringseal_handshakes_total{role=\"acceptor\",result=\"challenge_abandoned\"}";

#[test]
fn who_came_who_did_not_and_what_changed_is_in_the_log_as_a_chain() {
    let node = start(plan(), "64MiB");
    be_refused(&node, 0);
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    stranger.send(&patterned(1, 300));
    assert!(stranger.read_frame().is_ok_and(|frame| frame == patterned(1, 300)));
    let second = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    wait_for(&node, "refused", 2);
    drop((second, stranger));
    wait_for(&node, "ended", 1);

    // The reload brings another secret, softer enforcement and a roster without replica 0.
    let other = "another secret that is long enough to be one";
    let keys = format!("shared_secret = \"{other}\"\nprevious_shared_secret = \"{SECRET}\"");
    let changed = node.plan.clone().auth(format!("{keys}\nenforcement = \"soft\""));
    let replicas = changed.replicas[1..].to_vec();
    fs::write(node.config(), Plan { replicas, ..changed }.to_toml()).expect("ours");
    node.process.signal(Signal::HUP);
    wait_for(&node, "replica_left", 1);
    let file = node.beside("audit.jsonl");
    let copy = fs::read_to_string(&file).expect("the log");
    assert!(!copy.contains(other) && !copy.contains(SECRET), "{copy}");

    let shown = lines(&node);
    let words: Vec<_> = shown.iter().map(|line| line["event"].as_str().expect("a word")).collect();
    let expected = [
        "opened",
        "refused",
        "admitted",
        "refused",
        "ended",
        "reloaded",
        "keys_changed",
        "replica_left",
    ];
    assert_eq!(words, expected, "{copy}");
    for (line, part, value) in [
        (1, "reason", "challenge_abandoned"),
        (1, "role", "acceptor"),
        (2, "role", "acceptor"),
        (3, "reason", "duplicate"),
        (4, "reason", "eof"),
        (5, "policy", "soft"),
        (6, "current", "new"),
        (6, "previous", "accepted"),
    ] {
        assert_eq!(shown[line][part], value, "{part} of {}", shown[line]);
    }
    for line in [1, 2, 3, 4, 7] {
        assert_eq!(shown[line]["peer"], 0, "{}", shown[line]);
    }
    for line in [1, 2, 3, 4] {
        let address = shown[line]["address"].as_str().expect("an address");
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    assert_eq!(shown[2]["authenticated"], true);

    let said = verify(std::slice::from_ref(&file)).succeeded();
    assert!(said.contains("8 lines, each follows") && said.contains("begins the log"), "{said}");

    // Anybody who may write the file can change it, and it shows.
    let forged = copy.replacen("duplicate", "superseded", 1);
    let removed: String = copy
        .lines()
        .filter(|line| !line.contains("\"ended\""))
        .fold(String::new(), |text, line| text + line + "\n");
    for (text, line) in [(forged, 5), (removed, 5)] {
        let forged = node.beside("forged.jsonl");
        fs::write(&forged, text).expect("ours");
        verify(&[forged]).failed(1, &["forged.jsonl", &format!("line {line} is broken")]);
    }
    verify(&[node.beside("nothing")]).failed(1, &["cannot read", "nothing"]);
    node.stop();
}

#[test]
fn a_killed_node_goes_on_with_its_log_and_marks_what_was_cut() {
    let plan = plan();
    let mut node = start(plan, "64MiB");
    be_refused(&node, 0);
    wait_for(&node, "refused", 1);
    node.kill();
    let file = node.beside("audit.jsonl");
    let text = fs::read(&file).expect("the log");
    fs::write(&file, &text[..text.len() - 30]).expect("ours");
    verify(std::slice::from_ref(&file)).failed(1, &["line 2", "the file ends within it"]);

    let node = node.revive();
    wait_for(&node, "opened", 2);
    assert_eq!(of(&node, "cut").len(), 1);
    let said = verify(std::slice::from_ref(&file)).succeeded();
    assert!(said.contains("1 cuts by a crash"), "{said}");
    node.stop();
}

#[test]
fn a_full_disk_holds_nobody_up_and_what_is_missed_is_counted() {
    let mut node = start(plan(), "64MiB");
    be_refused(&node, 0);
    wait_for(&node, "refused", 1);
    let len = || fs::metadata(node.beside("audit.jsonl")).expect("the log").len();
    let mut rounds = 1;
    wait_until("something is missed", || {
        let before = len();
        // The next line begins within the limit and does not end there, as on a disk that fills up.
        node.process.limit_file_size(Some(before + 50));
        be_refused(&node, rounds);
        let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
        stranger.send(&patterned(rounds, 300));
        assert!(stranger.read_frame().is_ok_and(|frame| frame == patterned(rounds, 300)));
        drop(stranger);
        wait_until("the link's end is noticed", || !node.is_linked(0));
        // The thread that writes may be waiting for the disk, and then nothing is missed yet.
        let full = Instant::now();
        wait_until("the disk has been full", || full.elapsed() > Duration::from_millis(300));
        node.process.limit_file_size(None);
        wait_until("the log goes on", || len() > before);
        rounds += 1;
        !of(&node, "missed").is_empty()
    });
    let counted = node.metric("ringseal_audit_missed_total");
    node.end();
    let missed = of(&node, "missed").into_iter().map(|line| line["count"].as_u64());
    let missed: u64 = missed.map(|count| count.expect("a count")).sum();
    assert_eq!(counted, missed);
    let written = ["refused", "admitted", "ended"].map(|event| of(&node, event).len() as u64);
    let happened = 1 + 3 * (rounds - 1);
    assert_eq!(written.iter().sum::<u64>() + missed, happened, "{written:?} and {missed}");
    verify(&[node.beside("audit.jsonl")]).succeeded();
}

#[test]
fn a_flood_of_refusals_is_counted_and_full_files_are_put_aside() {
    const FLOOD: u64 = 200;
    let mut node = start(plan(), "4KiB");
    for round in 0..FLOOD {
        be_refused(&node, round);
    }
    node.wait_for_metric(ABANDONED, |count| count == FLOOD);
    node.end();

    let mut files: Vec<_> = (1..)
        .map(|number| node.beside(&format!("audit.jsonl.{number}")))
        .take_while(|file| file.exists())
        .collect();
    files.push(node.beside("audit.jsonl"));
    let text: String =
        files.iter().map(|file| fs::read_to_string(file).expect("the log")).collect();
    let of = |event: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.filter(|line: &Value| line["event"] == event).collect()
    };
    let counts = of("suppressed").into_iter().map(|line| line["count"].as_u64());
    let suppressed: u64 = counts.map(|count| count.expect("a count")).sum();
    let written = of("refused").len() as u64;
    assert_eq!(written + suppressed, FLOOD, "{text}");
    assert!(suppressed > 0 && files.len() > 3, "{written} written to {} files", files.len());
    assert_eq!((of("missed").len(), of("closed").len()), (0, 1));

    assert!(verify(&files).succeeded().contains("begins the log"));
    let (first, rest) = files.split_first().expect("files");
    assert!(verify(rest).succeeded().contains("the first line follows"));
    let backwards: Vec<_> = rest.iter().chain([first]).cloned().collect();
    verify(&backwards).failed(1, &["audit.jsonl.1: line 1 is broken"]);
}
