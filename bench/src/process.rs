//! The parent's hold on one child process.

use std::io::{BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::peer::{self, Answer, Assignment, Order};

/// How long a child may take beyond the time that it was told to run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running child. Dropping it ends it: its input closes, and if that is not enough it is killed.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<Result<Answer>>,
}

impl Peer {
    /// Starts this very program as a child, gives it its assignment, and returns it with its first
    /// answer.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or fails at what it was assigned.
    pub fn start(assignment: &Assignment) -> Result<(Self, Answer)> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut child = Command::new(program)
            .arg("peer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a child")?;
        let orders = child.stdin.take();
        let output = child.stdout.take().context("a child without output")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            // The receiver goes when the child is dropped; nothing is left to tell then.
            peer::answers(BufReader::new(output)).try_for_each(|answer| sender.send(answer))
        });
        let mut peer = Self { child, orders, answers };
        peer.say(assignment)?;
        let first = peer.hear(PATIENCE)?;
        Ok((peer, first))
    }

    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    ///
    /// If the child fails at it, ends, or does not answer in time.
    pub fn ask(&mut self, order: Order) -> Result<Answer> {
        self.say(&order)?;
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

    fn say(&mut self, what: &impl serde::Serialize) -> Result<()> {
        let orders = self.orders.as_mut().context("a child without input")?;
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        orders.write_all(&line).context("giving an order")
    }

    fn hear(&mut self, patience: Duration) -> Result<Answer> {
        match self.answers.recv_timeout(patience) {
            Ok(Ok(Answer::Failed(why))) => bail!("{why}"),
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("no answer within {patience:?}"),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("a child has ended"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.orders.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // Both fail only if it has ended in the meantime.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}
