//! System calls per operation, counted by `perf stat` from outside.
//!
//! Counting is a pass of its own after the timed rounds, because a tracepoint costs time. Where
//! perf is missing or may not look, the count is reported as not measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Counts the system calls of one process, all its threads, while enabled.
#[derive(Debug)]
pub struct Counter {
    perf: Child,
    acknowledged: BufReader<ChildStdout>,
}

impl Counter {
    /// Attaches to a process and starts counting.
    ///
    /// # Errors
    ///
    /// If perf is not installed, or the kernel does not let it count system calls.
    pub fn start(process: u32) -> Result<Self> {
        let mut perf = Command::new("perf")
            .args(["stat", "--delay", "-1", "--control", "fd:0,1", "-x", ","])
            .args(["-e", "raw_syscalls:sys_enter", "-p", &process.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting perf")?;
        let acknowledged = BufReader::new(perf.stdout.take().context("perf without output")?);
        let mut counter = Self { perf, acknowledged };
        counter.tell("enable")?;
        Ok(counter)
    }

    /// Stops counting and returns the count.
    ///
    /// # Errors
    ///
    /// If perf printed no count.
    pub fn finish(mut self) -> Result<u64> {
        self.tell("disable")?;
        let id = i32::try_from(self.perf.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("perf's process id")?, Signal::INT).context("ending perf")?;
        let mut printed = String::new();
        let mut errors = self.perf.stderr.take().context("perf without errors")?;
        errors.read_to_string(&mut printed)?;
        self.perf.wait().context("waiting for perf")?;
        let count = printed.lines().find(|line| line.contains("raw_syscalls"));
        let count = count.and_then(|line| line.split(',').next()).unwrap_or_default();
        count.parse().with_context(|| format!("perf printed {printed:?}"))
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        let stdin = self.perf.stdin.as_mut().context("perf without input")?;
        writeln!(stdin, "{what}").context("perf has ended")?;
        let mut line = String::new();
        self.acknowledged.read_line(&mut line)?;
        ensure!(line.contains("ack"), "perf cannot count system calls here");
        Ok(())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Both fail only if perf has ended already, as it has after `finish`.
        self.perf.kill().unwrap_or_default();
        self.perf.wait().map(drop).unwrap_or_default();
    }
}
