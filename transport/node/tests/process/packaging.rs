//! What a package brings beside the binary: service, example, man page and completions.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use ringseal_tests::cluster::PATIENCE;

use crate::child::{ringseal, run, run_with};
use crate::node::{Node, Plan, SECRET, Written};

const UNIT: &str = include_str!("../../../../packaging/ringseal.service");
const EXAMPLE: &str = include_str!("../../../../packaging/node.toml");

#[test]
fn a_supervisor_is_told_when_the_node_is_ready_and_when_it_stops() {
    let plan = Plan::for_a_stranger();
    let written = plan.write();
    let socket = written.beside("notify");
    let supervisor = UnixDatagram::bind(&socket).expect("ours");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let told = || {
        let mut bytes = [0; 256];
        let len = supervisor.recv(&mut bytes).expect("the node speaks");
        String::from_utf8_lossy(&bytes[..len]).trim().to_owned()
    };
    let socket = socket.to_str().expect("a plain name");
    let node = Node::start_from(written, plan, &[("NOTIFY_SOCKET", socket)]);
    assert_eq!(told(), "READY=1");
    node.stop();
    assert_eq!(told(), "STOPPING=1");
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let version = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this test needs systemd-analyze");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let unit = directory.path().join("ringseal.service");
    assert!(UNIT.contains("ExecStart=/usr/bin/ringseal node --config /etc/ringseal/node.toml\n"));
    let ours = UNIT.replace("/usr/bin/ringseal", env!("CARGO_BIN_EXE_ringseal"));
    fs::write(&unit, ours).expect("ours");
    // The man page is not installed here.
    let ended = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit));
    let complaints: Vec<_> =
        ended.stderr.lines().filter(|line| line.contains("ringseal.service")).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{ended:?}");
}

#[test]
fn the_example_is_a_right_configuration_with_nothing_unwise() {
    let written = Written::new(&EXAMPLE.replace("/etc/ringseal/", ""));
    let key = written.beside("cluster.key");
    run(ringseal().args(["keygen", "--out"]).arg(&key)).succeeded();
    let ended = run_with("check", &written.file());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    // What may be unwise is the machine.
    assert!(!ended.stderr.contains("cluster") && !ended.stderr.contains("public"), "{ended:?}");
    assert!(!ended.stdout.contains(SECRET));
}

#[test]
fn man_page_and_completions_name_every_command() {
    const COMMANDS: [&str; 7] = ["demo", "node", "check", "keygen", "probe", "top", "audit"];
    let man = run(ringseal().arg("man")).succeeded();
    assert!(man.contains(".TH ringseal 1") && man.contains("EXIT STATUS"), "{man}");
    for command in COMMANDS {
        let heading = format!(".SH \"RINGSEAL {}\"", command.to_uppercase());
        assert!(man.contains(&heading), "{heading} is not in\n{man}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = run(ringseal().args(["completions", shell])).succeeded();
        for command in COMMANDS {
            assert!(script.contains(command), "{command} is not completed by {shell}");
        }
    }
    let ended = run(ringseal().args(["completions", "abacus"]));
    assert!(ended.status == Some(2) && ended.stderr.contains("abacus"), "{ended:?}");
}
