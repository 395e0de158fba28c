//! One word for one reason, wherever it is said: in the log, the metrics, the audit log, `/peers` and
//! the documentation.

use std::collections::BTreeSet;
use std::fs;

use ringseal::wire::ClusterId;
use ringseal::{Command, HandshakeResult, Header, Reason, ReplicaId};
use ringseal_tests::cluster::wait_until;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};
use rustix::process::Signal;
use serde_json::Value;

use crate::node::{Node, Plan, SECRET, Written};

const REASONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/reasons.md");

fn start(auth: &str, bus: &'static str) -> Node {
    let plan = Plan::for_a_stranger().bus(bus);
    let plan = if auth.is_empty() { plan } else { plan.auth(auth) };
    let written = Written::new(&(plan.to_toml() + "[audit]\nfile = \"audit.jsonl\"\n"));
    Node::start_from(written, plan, &[])
}

/// Waits for an audit line of `event` with this reason, and for the same word in the log.
fn expect_said(node: &Node, event: &str, word: &str) {
    let said = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["event"] == event && line["reason"] == word
    };
    let audit = || fs::read_to_string(node.beside("audit.jsonl")).expect("the log");
    wait_until(&format!("{event} for {word} is in the audit log"), || {
        let text = audit();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().any(said)
    });
    let logged = format!("reason=\"{word}\"");
    wait_until(&logged, || node.process.stderr().contains(&logged));
}

/// A handshake has failed for this reason, which is said of replica 0 if it got as far as that.
fn expect_refusal(node: &Node, result: HandshakeResult, named: bool) {
    let word = result.as_str();
    let metric = format!("ringseal_handshakes_total{{role=\"acceptor\",result=\"{word}\"}}");
    node.wait_for_metric(&metric, |count| count == 1);
    expect_said(node, "refused", word);
    if named {
        wait_until(word, || node.peer(0)["last_reason"] == word);
    }
}

/// A link to replica 0 has ended for this reason.
fn expect_end(node: &Node, reason: Reason) {
    let word = reason.as_str();
    expect_said(node, "ended", word);
    wait_until(word, || node.peer(0)["last_reason"] == word);
    // Nothing was lost with it, and the label is there.
    assert_eq!(node.metric(&format!("ringseal_frames_dropped_total{{reason=\"{word}\"}}")), 0);
}

/// Says this, and leaves when the node does.
fn say(node: &Node, frame: &Header) {
    let mut stranger = Stranger::connect(node.plan.address());
    stranger.write(frame.as_bytes());
    while stranger.read_header().is_ok() {}
}

#[test]
fn a_refusal_has_the_same_word_everywhere() {
    use HandshakeResult::*;
    let node = start("", "hello_grace = \"10s\"\npreauth_connections = 4");
    let hello = |change: fn(&mut Header) -> &mut Header| change(&mut TRUE.hello(0)).clone();
    for (frame, result) in [
        (hello(|h| h.set_command(Command::PING)), UnknownCommand),
        (hello(|h| h.set_cluster(ClusterId::new(7))), ClusterMismatch),
        (hello(|h| h.set_size(300)), Malformed),
        (TRUE.plain_hello(0), AuthRequired),
    ] {
        say(&node, &frame);
        expect_refusal(&node, result, true);
    }
    say(&node, &hello(|h| h.set_replica(ReplicaId::new(9))));
    expect_refusal(&node, DirectionalRule, false);
    let wrong = Credentials { secret: 1, ..TRUE };
    let mut liar = Stranger::connect(node.plan.address());
    assert!(liar.try_prove(&wrong, 0, 1).is_err(), "the node's proof is not of that secret");
    drop(liar);
    expect_refusal(&node, ChallengeAbandoned, true);
    let mut forger = Stranger::connect(node.plan.address());
    let mut finish = forger.prove(&TRUE, 0, 1);
    finish.reserved_command_mut()[40] ^= 1;
    forger.write(finish.as_bytes());
    expect_refusal(&node, MacMismatch, true);
    drop(Stranger::connect(node.plan.address()));
    expect_refusal(&node, Io, false);
    let evicted = "ringseal_handshakes_total{role=\"acceptor\",result=\"evicted\"}";
    let mut waiting = Vec::new();
    wait_until("somebody has to go", || {
        waiting.push(Stranger::connect(node.plan.address()));
        node.metric(evicted) > 0
    });
    expect_said(&node, "refused", Evicted.as_str());
    node.stop();

    let hasty = start("", "hello_grace = \"50ms\"");
    let _silent = Stranger::connect(hasty.plan.address());
    expect_refusal(&hasty, Timeout, false);
    hasty.stop();
}

#[test]
fn the_end_of_a_link_has_the_same_word_everywhere() {
    let mut node = start("", "hello_grace = \"10s\"");
    let join = |node: &Node| {
        let stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
        wait_until("the link is up", || node.is_linked(0));
        stranger
    };
    drop(join(&node));
    expect_end(&node, Reason::Eof);
    join(&node).reset();
    expect_end(&node, Reason::Reset);
    let mut rude = join(&node);
    rude.write(TRUE.hello(0).as_bytes());
    expect_end(&node, Reason::ProtocolError);
    drop(rude);

    let first = join(&node);
    let second = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    expect_said(&node, "refused", Reason::Duplicate.as_str());
    drop(second);
    let other = "shared_secret = \"another secret that is long enough to be one\"";
    fs::write(node.config(), node.plan.clone().auth(other).to_toml()).expect("ours");
    node.process.signal(Signal::HUP);
    expect_end(&node, Reason::Reload);
    drop(first);
    fs::write(node.config(), node.plan.to_toml()).expect("ours");
    node.process.signal(Signal::HUP);
    wait_until("the secret is back", || {
        node.process.stderr().matches("were reloaded").count() == 2
    });
    let _last = join(&node);
    node.end();
    expect_said(&node, "ended", Reason::Shutdown.as_str());

    let soft = start(
        &format!("shared_secret = \"{SECRET}\"\nenforcement = \"soft\""),
        "hello_grace = \"10s\"",
    );
    let mut plain = Stranger::connect(soft.plan.address());
    plain.write(TRUE.plain_hello(0).as_bytes());
    wait_until("the link is up", || soft.is_linked(0));
    expect_said(&soft, "admitted", HandshakeResult::AuthRequired.as_str());
    let _true = Stranger::join(soft.plan.address(), &TRUE, 0, 1);
    expect_said(&soft, "ended", Reason::Superseded.as_str());
    wait_until("/peers says so", || soft.peer(0)["last_reason"] == Reason::Superseded.as_str());
    soft.stop();
}

/// The words in the first column of the table of a section.
fn documented(section: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(REASONS).expect("the book");
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).expect("the section");
    let section = rest.split("\n## ").next().expect("its text");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').step_by(2));
    words.map(str::to_owned).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let refusals = HandshakeResult::ALL.map(HandshakeResult::as_str);
    let refusals = refusals.into_iter().filter(|word| *word != "ok").map(str::to_owned);
    assert_eq!(documented("What a refusal means"), refusals.collect());
    let ends = Reason::ALL.map(|reason| reason.as_str().to_owned());
    assert_eq!(documented("Why a link ended"), ends.into());
}
