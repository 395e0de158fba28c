//! The rounds: A B C, A B C, and so on, each in fresh processes.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::contestant::{Contestant, Scene};
use crate::material::Material;
use crate::measure::{Latencies, Outcome};
use crate::peer::{Answer, Assignment, Order, Role};
use crate::process::Peer;
use crate::report::{Cell, Curve, Machine, Metric, Report};
use crate::shape::Shape;
use crate::stats::Spread;
use crate::syscalls::Counter;

/// The server has the last core of a small machine, the client the first.
const CLIENT_CORE: usize = 0;
const SERVER_CORE: usize = 1;

/// What to compare, and for how long.
pub struct Plan {
    /// Who takes part.
    pub contestants: Vec<&'static dyn Contestant>,
    /// In what.
    pub shapes: Vec<Shape>,
    /// How often each contestant has its turn.
    pub rounds: u32,
    /// How long a turn is.
    pub time: Duration,
    /// Whether to count system calls in a pass of their own.
    pub syscalls: bool,
}

/// Runs all of it.
///
/// # Errors
///
/// If any contestant fails: a comparison with a gap is none.
pub fn run(plan: &Plan) -> Result<Report> {
    ensure!(!plan.contestants.is_empty() && !plan.shapes.is_empty(), "nothing to compare");
    let material = Material::generate()?;
    let mut report = Report::new(Machine::this());
    for &shape in &plan.shapes {
        let scene = Scene { shape, material: material.clone() };
        let mut field = Field::new(plan, scene);
        for round in 1..=plan.rounds {
            progress(&format!("{shape}: round {round} of {}", plan.rounds));
            field.round(plan.time)?;
        }
        if plan.syscalls && !matches!(shape, Shape::Idle { .. }) {
            progress(&format!("{shape}: counting system calls"));
            field.count_syscalls(plan.time, &mut report.notes)?;
        }
        field.into_report(&mut report)?;
    }
    if cfg!(debug_assertions) {
        report.notes.push("a debug build: these numbers mean nothing".to_owned());
    }
    progress("");
    Ok(report)
}

/// Says on a terminal what is going on; says nothing elsewhere.
fn progress(what: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        // Not being able to say so is no reason to stop.
        write!(terminal, "\r\x1b[K{what}").and_then(|()| terminal.flush()).unwrap_or_default();
    }
}

/// One shape's contestants and what they have measured so far.
struct Field {
    scene: Scene,
    contestants: Vec<&'static dyn Contestant>,
    values: Vec<BTreeMap<Metric, Vec<f64>>>,
    latencies: Vec<Option<Latencies>>,
}

impl Field {
    fn new(plan: &Plan, scene: Scene) -> Self {
        let takes_part = |contestant: &&dyn Contestant| contestant.runs(scene.shape);
        let contestants: Vec<_> = plan.contestants.iter().copied().filter(takes_part).collect();
        let values = contestants.iter().map(|_| BTreeMap::new()).collect();
        let latencies = contestants.iter().map(|_| None).collect();
        Self { scene, contestants, values, latencies }
    }

    fn round(&mut self, time: Duration) -> Result<()> {
        for at in 0..self.contestants.len() {
            let name = self.contestants[at].name();
            let turn = take_turn(name, &self.scene, time)
                .with_context(|| format!("{name} in {}", self.scene.shape))?;
            for (metric, value) in turn.values {
                self.values[at].entry(metric).or_default().push(value);
            }
            match (&mut self.latencies[at], turn.latencies) {
                (Some(all), Some(more)) => all.add(&more)?,
                (none @ None, first) => *none = first,
                (Some(_), None) => {}
            }
        }
        Ok(())
    }

    /// Where perf cannot count, that becomes a note and the metric stays away.
    fn count_syscalls(&mut self, time: Duration, notes: &mut Vec<String>) -> Result<()> {
        for at in 0..self.contestants.len() {
            let name = self.contestants[at].name();
            let mut ends = Ends::start(name, &self.scene)?;
            ends.run(time / 8)?;
            match ends.count(time) {
                Ok(counts) => {
                    for (metric, value) in counts {
                        self.values[at].entry(metric).or_default().push(value);
                    }
                }
                Err(error) => {
                    let note = format!("syscalls: not measured ({error:#})");
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn into_report(self, report: &mut Report) -> Result<()> {
        let shape = self.scene.shape;
        let measured = self.contestants.iter().zip(self.values).zip(self.latencies);
        for ((contestant, values), latencies) in measured {
            for (metric, values) in values {
                let spread = Spread::of(&values).context("a metric without values")?;
                report.cells.push(Cell::new(contestant.name(), shape, metric, spread));
            }
            if let Some(latencies) = latencies {
                report.curves.push(Curve { contestant: contestant.name(), shape, latencies });
            }
        }
        Ok(())
    }
}

/// What one turn measured.
struct Turn {
    values: Vec<(Metric, f64)>,
    latencies: Option<Latencies>,
}

/// One contestant's turn: fresh processes, a short warm-up, one measured run.
fn take_turn(contestant: &str, scene: &Scene, time: Duration) -> Result<Turn> {
    let mut ends = Ends::start(contestant, scene)?;
    if matches!(scene.shape, Shape::Idle { .. }) {
        return Ok(Turn { values: ends.idle(time)?, latencies: None });
    }
    ends.run(time / 8)?;
    let before = ends.server_cpu()?;
    let outcome = ends.run(time)?;
    let after = ends.server_cpu()?;
    let server_cpu = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    let values = values(&outcome, server_cpu);
    debug_assert!(values.iter().any(|(metric, _)| *metric == Metric::primary(scene.shape)));
    Ok(Turn { values, latencies: outcome.latencies })
}

fn values(outcome: &Outcome, server_cpu: Option<Duration>) -> Vec<(Metric, f64)> {
    let operations = outcome.operations as f64;
    let client_cpu = outcome.cpu_ns as f64 / operations;
    let Some(server_cpu) = server_cpu else {
        return vec![(Metric::Cpu, client_cpu)];
    };
    let mut values = vec![
        (Metric::Throughput, operations * 1e9 / outcome.elapsed_ns as f64),
        (Metric::CpuClient, client_cpu),
        (Metric::CpuServer, server_cpu.as_nanos() as f64 / operations),
    ];
    if let Some(latencies) = &outcome.latencies {
        values.push((Metric::LatencyP50, latencies.quantile(0.50) as f64));
        values.push((Metric::LatencyP99, latencies.quantile(0.99) as f64));
        values.push((Metric::LatencyMax, latencies.max() as f64));
    }
    values
}

/// Both ends of one measurement.
struct Ends {
    /// First, so that it is dropped first: the server should see its links close.
    client: Option<Peer>,
    server: Option<Peer>,
}

impl Ends {
    fn start(contestant: &str, scene: &Scene) -> Result<Self> {
        let assignment = |role, core| Assignment {
            contestant: contestant.to_owned(),
            scene: scene.clone(),
            role,
            core,
        };
        if scene.shape.in_memory() {
            let (alone, _) = Peer::start(&assignment(Role::Alone, CLIENT_CORE))?;
            return Ok(Self { client: Some(alone), server: None });
        }
        let (server, answer) = Peer::start(&assignment(Role::Server, SERVER_CORE))?;
        let Answer::Listening(address) = answer else { bail!("a server said {answer:?}") };
        let mut ends = Self { client: None, server: Some(server) };
        if !matches!(scene.shape, Shape::Idle { links: 0, .. }) {
            let (client, _) = Peer::start(&assignment(Role::Client(address), CLIENT_CORE))?;
            ends.client = Some(client);
        }
        Ok(ends)
    }

    fn run(&mut self, time: Duration) -> Result<Outcome> {
        match self.client.as_mut().context("no client to run")?.ask(Order::Run(time))? {
            Answer::Outcome(outcome) if outcome.operations > 0 => Ok(outcome),
            Answer::Outcome(_) => bail!("nothing was moved"),
            other => bail!("told to run, a client said {other:?}"),
        }
    }

    /// Lets the server rest after a little traffic.
    fn idle(&mut self, time: Duration) -> Result<Vec<(Metric, f64)>> {
        if self.client.is_some() {
            self.run(time / 8)?;
        }
        let server = self.server.as_mut().context("no server to rest")?;
        let before = server.cpu()?;
        thread::sleep(time);
        let used = server.cpu()?.saturating_sub(before);
        let share = 100.0 * used.as_secs_f64() / time.as_secs_f64();
        Ok(vec![(Metric::Memory, server.resident()? as f64), (Metric::IdleCpu, share)])
    }

    fn server_cpu(&mut self) -> Result<Option<Duration>> {
        self.server.as_mut().map(Peer::cpu).transpose()
    }

    /// Runs once more with the system calls of both ends counted, per operation.
    fn count(&mut self, time: Duration) -> Result<Vec<(Metric, f64)>> {
        let client = self.client.as_ref().context("no client to count")?;
        let client = Counter::start(client.id())?;
        let server = self.server.as_ref().map(|server| Counter::start(server.id())).transpose()?;
        let operations = self.run(time)?.operations as f64;
        let mut counts = vec![(Metric::SyscallsClient, client.finish()? as f64 / operations)];
        if let Some(server) = server {
            counts.push((Metric::SyscallsServer, server.finish()? as f64 / operations));
        }
        Ok(counts)
    }
}
