//! No output of any kind shows a secret.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use ringseal_tests::address;
use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Credentials, Stranger, TRUE};

use crate::child::{ringseal, run, run_with};
use crate::node::{Node, Plan};

const PREVIOUS: &str = "one that was used before, and long";

/// Fails if any part of a secret worth having is in the text, as it stands or in hex.
fn expect_none(what: &str, text: &str, secrets: &[&str]) {
    const PART: usize = 12;
    let text = text.to_lowercase();
    for secret in secrets {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let decimal: Vec<_> = secret.bytes().take(PART).map(|byte| byte.to_string()).collect();
        for form in [secret.to_lowercase(), hex] {
            for part in form.as_bytes().windows(PART) {
                let part = str::from_utf8(part).expect("ASCII");
                assert!(!text.contains(part), "{what} shows {part:?}:\n{text}");
            }
        }
        assert!(!text.contains(&decimal.join(", ")), "{what} shows bytes of a secret:\n{text}");
    }
}

#[test]
fn nothing_that_a_node_writes_or_serves_shows_a_secret() {
    let roster: Vec<_> = (0..3).map(|id| (id, address::unused())).collect();
    let auth =
        format!("shared_secret_file = \"cluster.key\"\nprevious_shared_secret = \"{PREVIOUS}\"");
    let plans = [1, 2].map(|id| Plan::new(id, &roster).auth(auth.clone()));
    let secret = run(ringseal().arg("keygen")).succeeded();
    let secrets = [secret.trim_end(), PREVIOUS];

    let mut nodes = Vec::new();
    for plan in &plans {
        let written = plan.write();
        let file = written.beside("cluster.key");
        fs::write(&file, &secret).expect("the directory is ours");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("the file is ours");
        let checked = run_with("check", &written.file());
        assert_eq!((checked.status, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
        expect_none("check", &(checked.stdout + &checked.stderr), &secrets);
        let environment = [("RUST_LOG", "trace")];
        nodes.push(Node::start_from(written, plan.clone(), &environment));
    }
    for (node, peer) in nodes.iter().zip([2, 1]) {
        wait_until("they are linked", || node.is_linked(peer));
    }
    let at = nodes[1].plan.address();
    // Refusals of several kinds, and a protocol error.
    let wrong_secret = Credentials { secret: 1, ..TRUE };
    assert!(Stranger::connect(at).try_prove(&wrong_secret, 0, 2).is_err());
    let mut plain = Stranger::connect(at);
    plain.write(TRUE.plain_hello(0).as_bytes());
    plain.expect_end();
    Stranger::connect(at).send(&patterned(1, 1000));
    let refused = "ringseal_handshakes_total{role=\"acceptor\",result=\"challenge_abandoned\"}";
    nodes[1].wait_for_metric(refused, |count| count > 0);
    for node in nodes {
        for path in ["/health", "/health/ready", "/metrics", "/peers"] {
            let answer = node.get(path);
            expect_none(path, &(answer.head + &answer.body), &secrets);
        }
        let process = node.stop();
        let log = process.stderr();
        assert!(log.contains("the node runs") && log.contains("link up"), "{log}");
        expect_none("the log", &log, &secrets);
        expect_none("standard output", &process.stdout(), &secrets);
    }
}

#[test]
fn probe_shows_no_secret_whether_it_succeeds_or_not() {
    let roster: Vec<_> = (0..3).map(|id| (id, address::unused())).collect();
    let auth = format!("shared_secret = \"{PREVIOUS}\"");
    let node = Node::start(Plan::new(1, &roster).auth(auth.clone()));
    let wrong = "a wrong one, which is also a secret";
    for (secret, status) in [(PREVIOUS, 0), (wrong, 1)] {
        let plan = Plan::new(0, &roster).auth(format!("shared_secret = \"{secret}\""));
        let written = plan.write();
        let mut command = ringseal();
        command.arg("probe").arg("--config").arg(written.file()).args(["--peer", "1"]);
        let ended = run(command.env("RUST_LOG", "trace"));
        assert_eq!(ended.status, Some(status), "{ended:?}");
        expect_none("probe", &(ended.stdout + &ended.stderr), &[PREVIOUS, wrong]);
    }
    node.stop();
}
