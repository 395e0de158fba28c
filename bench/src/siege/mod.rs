//! The siege: strangers attack a replica's port while honest replicas join and one link carries
//! traffic.
//!
//! Every row has processes of its own: the target on one core; the honest replicas and the attackers
//! on the other. It is measured without the attack, under it, and without it again once everything is
//! as it was, so that its ratios compare one process with itself. [`all`] lists the
//! attacks; [`Against`] is what is attacked: the bus, or a reference that admits as buses commonly
//! do.

mod attack;
mod attacker;
mod child;
mod cluster;
mod honest;
mod report;
mod shared_cap;
mod target;
mod watch;

use std::fmt;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use attack::{Attack, all};
pub use child::run as run_child;
pub use report::{Report, Row};

use self::attack::Source;
use self::child::{Answer, Assignment, Role};
use self::cluster::{Cluster, PLAIN_AT, TAGGED_AT};
use self::report::{Phase, Recovery};
use self::watch::Watch;
use crate::process::{Child, PATIENCE};

const TARGET_CORE: usize = 1;
const OTHER_CORE: usize = 0;

/// One grace: how long what an attack has left behind may last. It is the bus's default
/// `handshake_grace`, and the reference's.
const GRACE: Duration = Duration::from_secs(10);

/// How long one look at the recovery is.
const LOOK: Duration = Duration::from_millis(250);

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// The bus.
    Ringseal,
    /// The reference: one cap shared by all, taken at accept, the newest turned away.
    SharedCap,
}

impl Against {
    /// Everything that can be attacked.
    pub const ALL: [Self; 2] = [Self::Ringseal, Self::SharedCap];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ringseal => "ringseal",
            Self::SharedCap => "shared-cap",
        }
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Against {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|against| against.as_str() == name);
        found.with_context(|| format!("{name} cannot be attacked; ringseal and shared-cap can"))
    }
}

/// What to run, and for how long.
#[derive(Debug)]
pub struct Plan {
    /// Which attacks.
    pub attacks: Vec<Attack>,
    /// Against what.
    pub against: Vec<Against>,
    /// How long to measure before an attack.
    pub quiet: Duration,
    /// How long to measure under it; longer if it takes longer to open all its connections.
    pub attack: Duration,
}

/// Runs all of it.
///
/// # Errors
///
/// If a child fails at its part. An attack that succeeds is no error: its row says so.
pub fn run(plan: &Plan) -> Result<Report> {
    let mut rows = Vec::new();
    for &against in &plan.against {
        for attack in &plan.attacks {
            progress(&format!("{against}: {}", attack.name));
            let row = besiege(plan, against, attack);
            rows.push(row.with_context(|| format!("{against} under {}", attack.name))?);
        }
    }
    progress("");
    Ok(Report { rows, quiet: plan.quiet, attack: plan.attack })
}

/// Says on a terminal what is going on; says nothing elsewhere.
fn progress(what: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Not being able to say so is no reason to stop.
        write!(terminal, "\r\x1b[K{what}").and_then(|()| terminal.flush()).unwrap_or_default();
    }
}

fn besiege(plan: &Plan, against: Against, attack: &Attack) -> Result<Row> {
    let mut siege = Siege::lay(against, attack)?;
    siege.phase(plan.quiet / 4)?;
    let quiet = siege.phase(plan.quiet)?;
    let before = siege.watch.standing()?;
    let mut attacker = (attack.held > 0).then(|| siege.attack(attack)).transpose()?;
    let under = siege.phase(attack.at_least(plan.attack))?;
    let account = match &mut attacker {
        Some(attacker) => match ask(attacker)? {
            Answer::Attacker(account) => account,
            other => bail!("an attacker said {other:?}"),
        },
        None => attacker::Account::default(),
    };
    let growth = siege.watch.standing()?.peak.saturating_sub(before.resident);
    drop(attacker);
    let quiet_after = siege.recover(&quiet, before.descriptors)?;
    let recovery = Recovery { quiet_after, after: siege.phase(plan.quiet)? };
    Ok(Row::new(against, attack, (quiet, under), (account, growth), recovery))
}

/// The target and its honest replicas, running.
struct Siege {
    /// First, so that it is dropped first: the target should see its links close.
    honest: Child<Answer>,
    _target: Child<Answer>,
    watch: Watch,
    address: SocketAddr,
    hellos: Vec<Vec<u8>>,
}

impl Siege {
    fn lay(against: Against, attack: &Attack) -> Result<Self> {
        let cluster = Cluster::generate()?;
        let role = Role::Target { against, cluster: cluster.clone() };
        let (target, Answer::Listening(listening)) = start(TARGET_CORE, role)? else {
            bail!("a target that does not say where it listens")
        };
        // Those who share an address with the attacker share whatever it brings on that address.
        let tagged_at = if attack.source == Source::Replica { PLAIN_AT } else { TAGGED_AT };
        let role = Role::Honest { cluster, target: listening.address, tagged_at };
        let (honest, _) = start(OTHER_CORE, role)?;
        let watch = Watch::new(target.id(), listening.thread);
        let address = listening.address;
        Ok(Self { honest, _target: target, watch, address, hellos: Vec::new() })
    }

    fn attack(&mut self, attack: &Attack) -> Result<Child<Answer>> {
        let (attack, hellos) = (attack.clone(), std::mem::take(&mut self.hellos));
        let role = Role::Attacker { attack, target: self.address, hellos };
        start(OTHER_CORE, role).map(|(attacker, _)| attacker)
    }

    /// Lets everybody go on for `time` and says what happened meanwhile.
    fn phase(&mut self, time: Duration) -> Result<Phase> {
        self.account()?;
        let (began, cpu) = (Instant::now(), self.watch.cpu()?);
        thread::sleep(time);
        let account = self.account()?;
        let (elapsed, cpu) = (began.elapsed(), self.watch.cpu()?.saturating_sub(cpu));
        self.hellos.clone_from(&account.hellos);
        Ok(Phase::new(&account, elapsed, cpu))
    }

    fn account(&mut self) -> Result<honest::Account> {
        match ask(&mut self.honest)? {
            Answer::Honest(account) => Ok(*account),
            other => bail!("honest replicas said {other:?}"),
        }
    }

    /// Looks again and again until everything is as it was in quiet times, for two graces at most.
    fn recover(&mut self, quiet: &Phase, descriptors: usize) -> Result<Option<Duration>> {
        let began = Instant::now();
        loop {
            let look = self.phase(LOOK)?;
            let after = began.elapsed();
            let descriptors_gone = self.watch.standing()?.descriptors <= descriptors + SLACK;
            if look.is_as_quiet_as(quiet) && descriptors_gone {
                return Ok(Some(after));
            }
            if after > 2 * GRACE {
                return Ok(None);
            }
        }
    }
}

/// By how many descriptors a moment may differ from another while replicas join and leave.
const SLACK: usize = 8;

fn start(core: usize, role: Role) -> Result<(Child<Answer>, Answer)> {
    let mut child = Child::start("siege-child", &Assignment { core, role })?;
    let answer = hear(&mut child)?;
    Ok((child, answer))
}

fn ask(child: &mut Child<Answer>) -> Result<Answer> {
    child.say(&())?;
    hear(child)
}

fn hear(child: &mut Child<Answer>) -> Result<Answer> {
    match child.hear(PATIENCE)? {
        Answer::Failed(why) => bail!("{why}"),
        answer => Ok(answer),
    }
}
