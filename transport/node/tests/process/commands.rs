//! `check`, `keygen`, `probe`, and command lines that are wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use ringseal_tests::address;

use crate::child::{Ended, ringseal, run, run_with};
use crate::node::{Node, Plan, SECRET, Written};

#[test]
fn check_prints_what_will_be_used_with_secrets_redacted() {
    let plan = Plan::for_a_stranger();
    let shown = run_with("check", &plan.write().file()).succeeded();
    let own_address = format!("listen = \"{}\"", plan.address());
    for part in [
        "name = \"ringseal-tests\"",
        "replica = 1",
        "[[cluster.replicas]]\nid = 0\n",
        &own_address,
        "shared_secret = \"(redacted, 32 bytes)\"",
        "enforcement = \"enforce\"           # default",
        "shards = 1\n",
        "reconnect_period = \"100ms\"\n",
        "max_message_size = \"64MiB\"        # default",
        "handler = \"echo\"\n",
        &format!("listen = \"{}\"\n", plan.http),
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn check_accepts_what_it_has_printed() {
    let first = run_with("check", &Plan::for_a_stranger().write().file()).succeeded();
    let with_secret = first.replace("(redacted, 32 bytes)", SECRET);
    let second = run_with("check", &Written::new(&with_secret).file()).succeeded();
    let plain = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap_or("").trim().to_owned()).collect()
    };
    assert_eq!(plain(&first), plain(&second));
}

#[test]
fn check_warns_on_standard_error_where_authentication_is_off() {
    let ended = run_with("check", &Plan::for_a_stranger().auth("enabled = false").write().file());
    assert_eq!(ended.status, Some(0));
    assert!(ended.stderr.starts_with("ringseal: warning: authentication is off"), "{ended:?}");
}

/// The warnings of `check` where 512 descriptors may be open, without what begins each.
fn warnings(plan: &Plan) -> Vec<String> {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 512 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ringseal")]);
    let written = plan.write();
    let ended = run(command.args(["check", "--config"]).arg(written.file()));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines = ended.stderr.lines().map(|line| line.strip_prefix("ringseal: warning: "));
    lines.map(|line| line.expect("a warning").to_owned()).collect()
}

#[test]
fn check_warns_of_what_is_legal_and_unwise_and_of_nothing_else() {
    let roster: Vec<_> = (0..3).map(|id| (id, address::unused())).collect();
    let good = Plan::new(1, &roster).bus("preauth_connections = 100");
    assert_eq!(warnings(&good), Vec::<String>::new());

    let soft = format!("shared_secret = \"{SECRET}\"\nenforcement = \"soft\"");
    let mut unwise = good.clone().auth(soft).bus("");
    unwise.replicas.truncate(2);
    unwise.replicas[1].1 = "192.88.99.1:7000".parse().expect("an address");
    let found = warnings(&unwise);
    let parts = [
        "cluster.auth.enforcement",
        "public address 192.88.99.1:7000",
        "2 replicas: it survives the loss of 0, as 1 would",
        "bus.preauth_connections",
    ];
    assert_eq!(found.len(), parts.len(), "{found:?}");
    for (warning, part) in found.iter().zip(parts) {
        assert!(warning.contains(part), "{part:?} is not in {warning:?}");
    }
}

#[test]
fn keygen_prints_another_64_hex_digits_each_time() {
    let secrets = [(); 3].map(|()| run(ringseal().arg("keygen")).succeeded());
    for secret in &secrets {
        let digits = secret.strip_suffix('\n').expect("one line");
        assert_eq!(digits.len(), 64);
        assert!(digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{digits}");
    }
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2] && secrets[0] != secrets[2]);
}

#[test]
fn keygen_writes_a_private_file_once_and_a_node_can_use_it() {
    let plan = Plan::for_a_stranger().auth("shared_secret_file = \"cluster.key\"");
    let written = plan.write();
    let file = written.beside("cluster.key");
    let keygen = || run(ringseal().arg("keygen").arg("--out").arg(&file));
    assert_eq!(keygen().succeeded(), "", "the secret is in the file alone");
    let secret = fs::read_to_string(&file).expect("it was written");
    assert_eq!(secret.trim_end().len(), 64);
    let mode = fs::metadata(&file).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    keygen().failed(1, &["cluster.key", "never overwritten"]);
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), secret);

    let shown = run_with("check", &written.file()).succeeded();
    assert!(shown.contains("shared_secret_file = \"cluster.key\" # 64 bytes"), "{shown}");
}

#[test]
fn keygen_that_cannot_write_says_so() {
    let written = Plan::for_a_stranger().write();
    let file = written.beside("no/such/directory/cluster.key");
    run(ringseal().arg("keygen").arg("--out").arg(&file)).failed(1, &["cluster.key", "directory"]);
}

/// Probes from replica 1, which does not run itself. Replica 2 does, replica 3 does not.
fn probe(plan: &Plan, peer: &str) -> Ended {
    let written = plan.write();
    run(ringseal().arg("probe").arg("--config").arg(written.file()).args(["--peer", peer]))
}

/// The plans of replicas 1 and 2 of a cluster of four.
fn plans() -> (Plan, Plan) {
    let roster: Vec<_> = (0..4).map(|id| (id, address::unused())).collect();
    (Plan::new(1, &roster), Plan::new(2, &roster))
}

#[test]
fn probe_makes_one_handshake_and_says_how_long_it_took() {
    let (one, two) = plans();
    let node = Node::start(two);
    let shown = probe(&one, "2").succeeded();
    let expected = format!("replica 2 at {}: ok, authenticated, ", node.plan.address());
    assert!(shown.starts_with(&expected) && shown.ends_with("s\n"), "{shown:?}");
    let counted = "ringseal_handshakes_total{role=\"acceptor\",result=\"ok\"}";
    assert_eq!(node.wait_for_metric(counted, |count| count > 0), 1);
    node.stop();
}

#[test]
fn probe_with_the_wrong_secret_fails_with_the_reason() {
    let (one, two) = plans();
    let node = Node::start(two);
    let wrong = "another secret that is long enough, but wrong";
    let ended = probe(&one.auth(format!("shared_secret = \"{wrong}\"")), "2");
    ended.failed(1, &["secret"]);
    assert!(ended.stdout.contains(": mac_mismatch, "), "{ended:?}");
    let refused = "ringseal_handshakes_total{role=\"acceptor\",result=\"challenge_abandoned\"}";
    assert_eq!(node.wait_for_metric(refused, |count| count > 0), 1);
    node.stop();
}

#[test]
fn probe_of_another_cluster_fails_with_the_reason() {
    let (one, two) = plans();
    let node = Node::start(two);
    let ended = probe(&Plan { cluster: "another", ..one }, "2");
    ended.failed(1, &["cluster"]);
    assert!(ended.stdout.contains(": cluster_mismatch, "), "{ended:?}");
    node.stop();
}

#[test]
fn probe_of_nobody_fails_with_the_address() {
    let (one, _) = plans();
    let ended = probe(&one, "3");
    ended.failed(1, &["refused"]);
    let expected = format!("replica 3 at {}: io, ", one.replicas[3].1);
    assert!(ended.stdout.starts_with(&expected), "{ended:?}");
}

#[test]
fn probe_of_an_id_that_we_never_dial_is_a_wrong_command_line() {
    let (one, _) = plans();
    probe(&one, "0").failed(2, &["--peer is 0;", "above our own, 1", "from replica 0"]);
    probe(&one, "1").failed(2, &["--peer is 1;", "above our own, 1"]);
    probe(&one, "9").failed(2, &["--peer is 9;", "cluster.replicas lists: 0, 1, 2, 3"]);
}

#[test]
fn a_wrong_command_line_is_refused_with_the_usage() {
    let lines: [(&[&str], &str); 12] = [
        (&[], "Usage"),
        (&["nod"], "'nod'"),
        (&["node"], "--config"),
        (&["check"], "--config"),
        (&["check", "--config"], "--config"),
        (&["probe", "--config", "f"], "--peer"),
        (&["probe", "--config", "f", "--peer", "256"], "0..=255"),
        (&["probe", "--config", "f", "--peer", "two"], "'two'"),
        (&["demo", "--replicas", "1"], "2..=16"),
        (&["demo", "--seconds", "0"], "1..=86400"),
        (&["demo", "--colour"], "--colour"),
        (&["keygen", "--out"], "--out"),
    ];
    for (line, part) in lines {
        let ended = run(ringseal().args(line));
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{line:?}: {ended:?}");
        assert!(ended.stderr.contains(part), "{part:?} is not in {ended:?}");
    }
}

#[test]
fn help_and_version_are_answers() {
    let help = run(ringseal().arg("--help")).succeeded();
    for command in ["demo", "node", "check", "keygen", "probe"] {
        assert!(help.contains(command), "{help}");
    }
    let version = run(ringseal().arg("--version")).succeeded();
    assert_eq!(version, format!("ringseal {}\n", env!("CARGO_PKG_VERSION")));
}
