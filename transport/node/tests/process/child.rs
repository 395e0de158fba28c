//! Child processes that are watched, that end with their test, and whose output is kept.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ringseal_tests::cluster::wait_for;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// The binary under test, to be given arguments. Of our own environment it gets nothing that would
/// configure it.
pub(crate) fn ringseal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringseal"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("RINGSEAL_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let file = || tempfile::tempfile().expect("a temporary file");
        let (stdout, stderr) = (file(), file());
        let to = |file: &File| Stdio::from(file.try_clone().expect("a descriptor"));
        command.stdin(Stdio::null()).stdout(to(&stdout)).stderr(to(&stderr));
        let child = command.spawn().expect("the binary starts");
        Self { child, stdout, stderr }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Keeps its files from growing beyond this many bytes, or sets them free again.
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        let pid = Some(Pid::from_child(&self.child));
        prlimit(pid, Resource::Fsize, limit).expect("the process is there and ours");
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits for its end: its exit status, if no signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait_for("a process ends", || self.child.try_wait().expect("it is our child")).code()
    }

    /// What it has written to standard output.
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has written to standard error.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither does anything to a process whose end was seen already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("process {} wrote:\n{}{}", self.child.id(), self.stdout(), self.stderr());
        }
    }
}

/// A file's whole text. The position stays where it is, for the child writes there.
fn text(file: &File) -> String {
    let len = file.metadata().expect("an open file").len();
    let mut bytes = vec![0; usize::try_from(len).expect("a small file")];
    file.read_exact_at(&mut bytes, 0).expect("it only grows");
    String::from_utf8(bytes).expect("the binary writes UTF-8")
}

/// How a process ended and what it had written.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Expects this exit status, and each of `parts` in the one line on standard error.
    pub(crate) fn failed(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert!(self.stderr.starts_with("ringseal: error: "), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {self:?}");
        }
    }

    /// Expects success, with warnings at most, and returns what was written to standard output.
    pub(crate) fn succeeded(self) -> String {
        let warned = self.stderr.lines().all(|line| line.starts_with("ringseal: warning: "));
        assert!(self.status == Some(0) && warned, "{self:?}");
        self.stdout
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let mut process = Process::spawn(command);
    let status = process.wait();
    Ended { status, stdout: process.stdout(), stderr: process.stderr() }
}

/// Runs a subcommand that reads a configuration.
pub(crate) fn run_with(subcommand: &str, config: &Path) -> Ended {
    run(ringseal().arg(subcommand).arg("--config").arg(config))
}
