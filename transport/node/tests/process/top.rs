//! `ringseal top` in a real terminal.

use std::process::{self, Command, Stdio};

use ringseal_tests::address;
use ringseal_tests::cluster::{wait_for, wait_until};

use crate::child::{ringseal, run};
use crate::node::{Node, Plan};

/// A terminal of a given size that runs one command, by way of a tmux server of its own.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// Starts the command, or says on standard error that there is no tmux.
    fn start(name: &str, command: &[&str]) -> Option<Self> {
        let socket = format!("ringseal-{}-{name}", process::id());
        let version = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: this test needs tmux (Debian's package has the same name)");
            return None;
        }
        let terminal = Self { socket };
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", "130", "-y", "20", "-s", "top"];
        terminal.tmux(&[&new[..], command].concat()).expect("tmux starts");
        Some(terminal)
    }

    /// What tmux answers, if it does what it is asked to.
    fn tmux(&self, arguments: &[&str]) -> Option<String> {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.socket]).args(arguments).env_remove("TMUX");
        let output = tmux.stdin(Stdio::null()).output().expect("tmux runs");
        let text = String::from_utf8(output.stdout).expect("text");
        output.status.success().then_some(text)
    }

    /// What stands on the screen, as long as the command runs.
    fn screen(&self) -> Option<String> {
        self.tmux(&["capture-pane", "-p", "-t", "top"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "top", key]).expect("the command runs");
    }

    /// Waits until the screen is as it should be.
    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        wait_for(what, || self.screen().filter(|screen| is_so(screen)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_shows_links_and_handshakes_and_goes_when_told_to() {
    let roster: Vec<_> = (0..2).map(|id| (id, address::unused())).collect();
    let nodes: Vec<_> = (0..2).map(|id| Node::start(Plan::new(id, &roster))).collect();
    nodes.iter().for_each(Node::wait_for_all);
    let at: Vec<_> = nodes.iter().map(|node| node.plan.http.to_string()).collect();
    let nobody = address::unused().to_string();
    let binary = env!("CARGO_BIN_EXE_ringseal");
    let top = [binary, "top", "--http", &at[0], "--http", &at[1], "--http", &nobody];
    let Some(terminal) = Terminal::start("top", &top) else { return };

    let screen = terminal.wait("both nodes answer", |screen| screen.matches("1/1 up").count() == 2);
    assert!(screen.contains("ringseal top · ringseal-tests"), "{screen}");
    let screen = terminal.wait("the third does not", |screen| screen.contains("nobody listens"));
    let rows: Vec<Vec<&str>> = screen
        .lines()
        .filter(|line| line.contains("bound"))
        .map(|line| line.trim_matches('│').split_whitespace().take(6).collect())
        .collect();
    let expected =
        [["0", "1", "up", "outbound", "0", "yes"], ["1", "0", "up", "inbound", "0", "yes"]];
    assert_eq!(rows, expected, "{screen}");

    terminal.press("s");
    terminal.wait("the order shows", |screen| screen.contains("links by peer"));
    terminal.press("r");
    terminal.wait("the order shows", |screen| screen.contains("links by peer, reversed"));
    terminal.press("h");
    let screen = terminal.wait("the handshakes", |screen| screen.contains("handshakes by result"));
    let ok = screen.lines().filter(|line| line.starts_with("│ok")).count();
    assert_eq!(ok, 2, "one end dialled and one accepted: {screen}");
    terminal.press("l");

    let mut nodes = nodes.into_iter();
    let mut first = nodes.next().expect("two");
    first.end();
    terminal.wait("its end shows", |screen| screen.contains("0/1 up") && screen.contains("down"));
    terminal.press("q");
    wait_until("top has ended, and its terminal with it", || terminal.screen().is_none());
    nodes.for_each(|node| drop(node.stop()));
}

#[test]
fn top_without_a_terminal_says_what_to_use_instead() {
    let ended = run(ringseal().args(["top", "--http", "127.0.0.1:9600"]));
    ended.failed(1, &["terminal", "GET /peers"]);
}
