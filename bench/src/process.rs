//! The parent's hold on its child processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::peer::{Answer, Assignment, Order};

/// How long a child may take beyond the time that it was told to run.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running child that is told things on its standard input, one line of JSON each, and says
/// things of type `A` on its standard output.
///
/// Dropping it ends it: its input closes, and if that is not enough it is killed.
#[derive(Debug)]
pub struct Child<A> {
    process: process::Child,
    orders: Option<ChildStdin>,
    answers: Receiver<Result<A>>,
}

impl<A: DeserializeOwned + Send + 'static> Child<A> {
    /// Starts this very program with `subcommand` and tells it its assignment.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(subcommand: &str, assignment: &impl Serialize) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut process = Command::new(program)
            .arg(subcommand)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a child")?;
        let orders = process.stdin.take();
        let output = process.stdout.take();
        let (sender, answers) = mpsc::channel();
        let mut child = Self { process, orders, answers };
        let output = BufReader::new(output.context("a child without output")?);
        thread::spawn(move || {
            let read = |line: std::io::Result<String>| -> Result<A> {
                serde_json::from_str(&line?).context("a child's answer")
            };
            // The receiver goes when the child is dropped; nothing is left to tell then.
            output.lines().map(read).try_for_each(|answer| sender.send(answer))
        });
        child.say(assignment)?;
        Ok(child)
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let orders = self.orders.as_mut().context("a child without input")?;
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        orders.write_all(&line).context("giving an order")
    }

    /// Waits for the next thing it says.
    ///
    /// # Errors
    ///
    /// If it ends, or says nothing within `patience`.
    pub fn hear(&mut self, patience: Duration) -> Result<A> {
        match self.answers.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("no answer within {patience:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("a child has ended"),
        }
    }
}

impl<A> Drop for Child<A> {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            match self.process.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // Both fail only if it has ended in the meantime.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

/// One end of a comparison, running.
#[derive(Debug)]
pub struct Peer(Child<Answer>);

impl Peer {
    /// Starts a child, gives it its assignment, and returns it with its first answer.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or fails at what it was assigned.
    pub fn start(assignment: &Assignment) -> Result<(Self, Answer)> {
        let mut peer = Self(Child::start("peer", assignment)?);
        let first = peer.hear(PATIENCE)?;
        Ok((peer, first))
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    ///
    /// If the child fails at it, ends, or does not answer in time.
    pub fn ask(&mut self, order: Order) -> Result<Answer> {
        self.0.say(&order)?;
        let expected = if let Order::Run(time) = order { time } else { Duration::ZERO };
        self.hear(expected + PATIENCE)
    }

    /// CPU time that the child has used so far.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn cpu(&mut self) -> Result<Duration> {
        match self.ask(Order::Cpu)? {
            Answer::Cpu(time) => Ok(time),
            other => bail!("asked for CPU time, a child said {other:?}"),
        }
    }

    /// Bytes of the child's memory that are resident.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
        Ok(kib.parse::<u64>().context("VmRSS")? << 10)
    }

    fn hear(&mut self, patience: Duration) -> Result<Answer> {
        match self.0.hear(patience)? {
            Answer::Failed(why) => bail!("{why}"),
            answer => Ok(answer),
        }
    }
}
