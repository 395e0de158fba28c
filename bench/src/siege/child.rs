//! The children of a siege: the target, the honest replicas and the attacker, a process each.
//!
//! The first line of standard input is an [`Assignment`], every further line asks for an account;
//! each is answered by one [`Answer`] on standard output. All lines are JSON. The process ends when
//! its standard input does, so no child outlives its parent.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::attack::Attack;
use super::cluster::Cluster;
use super::target::Listening;
use super::{Against, attacker, honest, shared_cap, target};
use crate::measure;

/// What a child is for.
#[derive(Serialize, Deserialize)]
pub(super) struct Assignment {
    /// The core that it stays on.
    pub(super) core: usize,
    /// What it does there.
    pub(super) role: Role,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Role {
    Target { against: Against, cluster: Cluster },
    Honest { cluster: Cluster, target: SocketAddr, tagged_at: Ipv4Addr },
    Attacker { attack: Attack, target: SocketAddr, hellos: Vec<Vec<u8>> },
}

/// What a child says: once when it is ready, and then whenever it is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Listening(Listening),
    Honest(Box<honest::Account>),
    Attacker(attacker::Account),
    /// It could not be done.
    Failed(String),
}

/// The child's whole life.
///
/// # Errors
///
/// If it cannot read or write its standard streams. What fails in its role is an answer.
pub fn run() -> Result<()> {
    let mut lines = std::io::stdin().lines();
    let Some(first) = lines.next() else { return Ok(()) };
    let assignment: Assignment = serde_json::from_str(&first?).context("the assignment")?;
    if !measure::pin(assignment.core) {
        eprintln!("not pinned: there is no core {}", assignment.core);
    }
    match start(assignment) {
        Ok(mut account) => {
            say(account())?;
            for line in lines {
                line?;
                say(account())?;
            }
        }
        Err(error) => say(Err(error))?,
    }
    // The threads of a role never return: ending the process ends them.
    std::process::exit(0)
}

fn start(assignment: Assignment) -> Result<Box<dyn FnMut() -> Result<Answer>>> {
    raise_descriptor_limit().context("raising the limit of descriptors")?;
    Ok(match assignment.role {
        Role::Target { against: Against::Ringseal, cluster } => {
            let (bus, listening) = target::start(&cluster, assignment.core)?;
            Box::new(move || {
                let _runs_as_long_as_this = &bus;
                Ok(Answer::Listening(listening))
            })
        }
        Role::Target { against: Against::SharedCap, cluster } => {
            let listening = shared_cap::start(&cluster)?;
            Box::new(move || Ok(Answer::Listening(listening)))
        }
        Role::Honest { cluster, target, tagged_at } => {
            let mut account = honest::start(&cluster, target, tagged_at)?;
            Box::new(move || account().map(Box::new).map(Answer::Honest))
        }
        Role::Attacker { attack, target, hellos } => {
            let mut account = attacker::start(attack, target, hellos)?;
            Box::new(move || Ok(Answer::Attacker(account())))
        }
    })
}

/// Ten thousand strangers need as many descriptors, more than most systems give unasked.
fn raise_descriptor_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn say(answer: Result<Answer>) -> Result<()> {
    let answer = answer.unwrap_or_else(|error| Answer::Failed(format!("{error:#}")));
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    out.write_all(b"\n")?;
    out.flush().context("answering")
}
