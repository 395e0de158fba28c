//! One end of a measurement: a child process that does what its parent says over its pipes.
//!
//! The first line of standard input is an [`Assignment`], every further line an [`Order`]; each is
//! answered by one [`Answer`] on standard output. All lines are JSON. The process ends when its
//! standard input does, so no child outlives its parent.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::contestant::{self, Client, Scene};
use crate::measure::{self, Outcome};

/// What a child is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The contestant's name.
    pub contestant: String,
    /// What both ends know.
    pub scene: Scene,
    /// Which end this is.
    pub role: Role,
    /// The core that it stays on.
    pub core: usize,
}

/// Which end a child is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Role {
    /// Accepts, and answers.
    Server,
    /// Dials, and measures.
    Client(SocketAddr),
    /// Has both sides in its own memory.
    Alone,
}

/// What a parent asks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Order {
    /// Say how much CPU time the process has used so far.
    Cpu,
    /// Move frames for this long (clients only).
    Run(Duration),
}

/// What a child says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    /// A server listens here.
    Listening(SocketAddr),
    /// A client has its links.
    Ready,
    /// CPU time since the process started.
    Cpu(Duration),
    /// How a run went.
    Outcome(Outcome),
    /// It could not be done.
    Failed(String),
}

/// The child's whole life.
///
/// # Errors
///
/// If its orders cannot be read or its answers cannot be written. What fails in the contestant
/// itself is an [`Answer::Failed`].
pub fn run() -> Result<()> {
    let mut orders = std::io::stdin().lines();
    let Some(first) = orders.next() else { return Ok(()) };
    let assignment: Assignment = serde_json::from_str(&first?).context("the assignment")?;
    if !measure::pin(assignment.core) {
        eprintln!("not pinned: there is no core {}", assignment.core);
    }
    let mut client = match start(&assignment) {
        Ok((answer, client)) => {
            say(&answer)?;
            client
        }
        Err(error) => return say(&Answer::Failed(format!("{error:#}"))),
    };
    for order in orders {
        let answer = match serde_json::from_str(&order?).context("an order")? {
            Order::Cpu => Ok(Answer::Cpu(measure::cpu_time())),
            Order::Run(time) => match &mut client {
                Some(client) => client.run(time).map(Answer::Outcome),
                None => Err(anyhow!("a server cannot run")),
            },
        };
        say(&answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))))?;
    }
    // Servers never return: ending the process ends them.
    std::process::exit(0)
}

fn start(assignment: &Assignment) -> Result<(Answer, Option<Box<dyn Client>>)> {
    let contestant = contestant::named(&assignment.contestant)?;
    match assignment.role {
        Role::Server => Ok((Answer::Listening(serve(assignment.clone())?), None)),
        Role::Client(server) => {
            Ok((Answer::Ready, Some(contestant.dial(&assignment.scene, server)?)))
        }
        Role::Alone => Ok((Answer::Ready, Some(contestant.alone(&assignment.scene)?))),
    }
}

/// Starts the server on a thread of its own, on the same core, and waits until it listens.
fn serve(assignment: Assignment) -> Result<SocketAddr> {
    let (listening, listens) = mpsc::channel();
    let failed = listening.clone();
    thread::spawn(move || {
        let served = contestant::named(&assignment.contestant).and_then(|contestant| {
            contestant.serve(&assignment.scene, &mut |address| {
                listening.send(Ok(address)).context("the parent has gone")
            })
        });
        let Err(error) = served;
        eprintln!("the server has ended: {error:#}");
        // Nobody waits any more if it had listened already.
        failed.send(Err(error)).unwrap_or_default();
    });
    match listens.recv() {
        Ok(result) => result,
        Err(_) => bail!("the server's thread panicked"),
    }
}

fn say(answer: &Answer) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    out.flush().context("answering")
}
