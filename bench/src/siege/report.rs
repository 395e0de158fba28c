//! What came out: a row for every attack, and whether it held.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::attack::{Attack, Source};
use super::{Against, GRACE, attacker, honest};
use crate::report::Aligned;

/// By how much the slowest joins may be slower than in quiet times.
const SLOWER_MS: f64 = 50.0;

/// How long a replica of the plain protocol may take to join, dialling again as often as it must.
const PLAIN_MS: f64 = 2000.0;

/// The least share of the quiet frames per CPU-second that may be left.
const LEAST_FRAMES: f64 = 0.9;

/// By how much memory may grow, in bytes.
const MOST_MEMORY: u64 = 16 << 20;

/// Something that is expected of a target under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The attack itself: as many connections were opened as it is named for.
    Attack,
    /// Every join of a replica that shows a tag succeeds, at its only attempt.
    Joins,
    /// 99 % of them within [`SLOWER_MS`] of the quiet value.
    P99,
    /// Every replica of the plain protocol joins within [`PLAIN_MS`], from its own address.
    Plain,
    /// The established link stays up.
    Link,
    /// It moves at least [`LEAST_FRAMES`] of the frames per CPU-second that it moved in quiet.
    Frames,
    /// Memory grows by less than [`MOST_MEMORY`].
    Memory,
    /// Everything is as quiet as before within one grace.
    Recovery,
}

impl Expectation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Joins => "joins",
            Self::P99 => "p99",
            Self::Plain => "plain",
            Self::Link => "link",
            Self::Frames => "frames",
            Self::Memory => "memory",
            Self::Recovery => "recovery",
        }
    }
}

/// Joins of one kind in one phase.
#[derive(Debug, Clone, Serialize)]
pub struct Joins {
    /// How many were begun.
    pub attempts: u64,
    /// How many succeeded.
    pub joined: u64,
    /// Milliseconds below which half of those lie.
    pub p50_ms: f64,
    /// Milliseconds below which 99 % of those lie.
    pub p99_ms: f64,
    /// The slowest of those, in milliseconds.
    pub max_ms: f64,
    /// Why one did not succeed.
    pub failure: Option<String>,
}

impl Joins {
    fn new(joins: &honest::Joins) -> Self {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        Self {
            attempts: joins.attempts,
            joined: joins.latencies.count(),
            p50_ms: ms(joins.latencies.quantile(0.50)),
            p99_ms: ms(joins.latencies.quantile(0.99)),
            max_ms: ms(joins.latencies.max()),
            failure: joins.failure.clone(),
        }
    }

    fn all_joined(&self) -> bool {
        self.attempts > 0 && self.joined == self.attempts
    }
}

/// What happened during a time with or without strangers.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// How long it was.
    pub seconds: f64,
    /// CPU time of the target's shard.
    pub cpu_seconds: f64,
    /// Frames that the established link carried there and back.
    pub frames: u64,
    /// Whether that link was up at the end.
    pub linked: bool,
    /// Joins of replicas that show a tag.
    pub tagged: Joins,
    /// Joins of replicas of the plain protocol.
    pub plain: Joins,
}

impl Phase {
    pub(super) fn new(account: &honest::Account, time: Duration, cpu: Duration) -> Self {
        Self {
            seconds: time.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            frames: account.frames,
            linked: account.linked,
            tagged: Joins::new(&account.tagged),
            plain: Joins::new(&account.plain),
        }
    }

    fn frames_per_cpu_second(&self) -> f64 {
        if self.cpu_seconds > 0.0 { self.frames as f64 / self.cpu_seconds } else { 0.0 }
    }

    fn cpu_share(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }

    /// The frames per CPU-second as a share of `base`.
    fn frames_left(&self, base: f64) -> f64 {
        if base > 0.0 { self.frames_per_cpu_second() / base } else { 0.0 }
    }

    /// Whether strangers are no longer felt.
    pub(super) fn is_as_quiet_as(&self, quiet: &Self) -> bool {
        self.linked
            && self.tagged.all_joined()
            && self.plain.joined == self.plain.attempts
            && self.tagged.max_ms <= quiet.tagged.max_ms + SLOWER_MS
            && self.frames_left(quiet.frames_per_cpu_second()) >= LEAST_FRAMES
    }
}

/// How a target came to rest after an attack.
#[derive(Debug, Clone)]
pub(super) struct Recovery {
    /// After how long all was quiet; `None` if it was not in all the time that was waited.
    pub(super) quiet_after: Option<Duration>,
    /// What happened during a time after that.
    pub(super) after: Phase,
}

/// One attack on one target.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was attacked.
    pub against: Against,
    /// How.
    pub attack: String,
    /// Connections that the attacker established.
    pub opened: u64,
    /// Connections that it could not establish.
    pub failed: u64,
    /// Established ones that the target closed.
    pub closed: u64,
    /// Before the attack.
    pub quiet: Phase,
    /// During the attack.
    pub under: Phase,
    /// After it, once everything was quiet. The frames of both quiet times together are what those
    /// under attack are compared with, so that a machine that drifts counts half.
    pub after: Phase,
    /// Frames per CPU-second under attack, as a share of those in the quiet times around it.
    pub frames_left: f64,
    /// By how many bytes resident memory grew at most.
    pub memory_growth: u64,
    /// Seconds from the attack's end until everything was quiet, if that came.
    pub quiet_after: Option<f64>,
    /// What was expected and did not hold.
    pub broken: Vec<Expectation>,
}

impl Row {
    pub(super) fn new(
        against: Against,
        attack: &Attack,
        (quiet, under): (Phase, Phase),
        (account, memory_growth): (attacker::Account, u64),
        recovery: Recovery,
    ) -> Self {
        let attacker::Account { opened, failed, closed } = account;
        let Recovery { quiet_after, after } = recovery;
        let quiet_after = quiet_after.map(|time| time.as_secs_f64());
        let base = f64::midpoint(quiet.frames_per_cpu_second(), after.frames_per_cpu_second());
        let frames_left = under.frames_left(base);
        // Strangers at a plain replica's own address cannot be told from it.
        let plain_counts = attack.source != Source::Replica;
        let expectations = [
            (Expectation::Attack, opened >= attack.least),
            (Expectation::Joins, under.tagged.all_joined()),
            (Expectation::P99, under.tagged.p99_ms <= quiet.tagged.p99_ms + SLOWER_MS),
            (
                Expectation::Plain,
                !plain_counts || under.plain.all_joined() && under.plain.max_ms <= PLAIN_MS,
            ),
            (Expectation::Link, under.linked),
            (Expectation::Frames, frames_left >= LEAST_FRAMES),
            (Expectation::Memory, memory_growth < MOST_MEMORY),
            (Expectation::Recovery, quiet_after.is_some_and(|after| after <= GRACE.as_secs_f64())),
        ];
        let broken = expectations.into_iter().filter(|(_, held)| !held).map(|(what, _)| what);
        Self {
            against,
            attack: attack.name.clone(),
            opened,
            failed,
            closed,
            broken: broken.collect(),
            quiet,
            under,
            after,
            frames_left,
            memory_growth,
            quiet_after,
        }
    }

    fn cells(&self) -> Vec<String> {
        let Self { quiet, under, .. } = self;
        let broken: Vec<_> = self.broken.iter().map(|what| what.as_str()).collect();
        vec![
            self.attack.clone(),
            self.opened.to_string(),
            format!("{}/{}", under.tagged.joined, under.tagged.attempts),
            times(&quiet.tagged),
            times(&under.tagged),
            format!("{}/{}", under.plain.joined, under.plain.attempts),
            times(&under.plain),
            format!("{:.2}", self.frames_left),
            format!("{:.0} / {:.0}", 100.0 * quiet.cpu_share(), 100.0 * under.cpu_share()),
            format!("{:.1}", self.memory_growth as f64 / f64::from(1 << 20)),
            self.quiet_after.map_or("never".into(), |after| format!("{after:.1}")),
            if broken.is_empty() { "held".into() } else { format!("**{}**", broken.join(", ")) },
        ]
    }
}

fn times(joins: &Joins) -> String {
    if joins.joined == 0 {
        return "-".into();
    }
    format!("{:.1} / {:.1} / {:.1}", joins.p50_ms, joins.p99_ms, joins.max_ms)
}

/// The outcome of a siege. Its [`Display`](fmt::Display) is Markdown.
#[derive(Debug)]
pub struct Report {
    /// Every attack on every target.
    pub rows: Vec<Row>,
    pub(super) quiet: Duration,
    pub(super) attack: Duration,
}

impl Report {
    /// Whether the bus did all that is expected of it, in every row.
    #[must_use]
    pub fn held(&self) -> bool {
        let mut rows = self.rows.iter().filter(|row| row.against == Against::Ringseal);
        rows.all(|row| row.broken.is_empty())
    }

    /// Whether everything took part in every row, whatever came of it: strangers connected, and
    /// before them replicas had joined and frames had been carried.
    #[must_use]
    pub fn ran(&self) -> bool {
        self.rows.iter().all(|row| {
            let Row { quiet, broken, .. } = row;
            !broken.contains(&Expectation::Attack)
                && quiet.frames > 0
                && quiet.tagged.all_joined()
                && quiet.plain.all_joined()
        })
    }
}

const HEADINGS: [&str; 12] = [
    "attack",
    "opened",
    "joins",
    "quiet ms",
    "ms",
    "plain joins",
    "plain ms",
    "frames",
    "CPU %",
    "MiB",
    "quiet after s",
    "verdict",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        writeln!(
            f,
            "Linux {}, {cores} cores; {:.1} s quiet and {:.1} s or more under attack for each row.",
            kernel.trim(),
            self.quiet.as_secs_f64(),
            self.attack.as_secs_f64(),
        )?;
        for against in Against::ALL {
            let rows = self.rows.iter().filter(|row| row.against == against);
            let rows: Vec<_> = rows.map(Row::cells).collect();
            if !rows.is_empty() {
                writeln!(f, "\n### {against}\n")?;
                let head = HEADINGS.map(str::to_owned).to_vec();
                write!(f, "{}", Aligned(&[vec![head], rows].concat()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joins(attempts: u64, joined: u64, slowest_ms: f64) -> Joins {
        let (p50_ms, p99_ms, max_ms) = (slowest_ms / 2.0, slowest_ms, slowest_ms);
        Joins { attempts, joined, p50_ms, p99_ms, max_ms, failure: None }
    }

    fn phase() -> Phase {
        Phase {
            seconds: 2.0,
            cpu_seconds: 1.0,
            frames: 1_000_000,
            linked: true,
            tagged: joins(100, 100, 3.0),
            plain: joins(30, 30, 4.0),
        }
    }

    fn listed(name: &str) -> Attack {
        Attack::named(&[name], 1000).expect("it is listed").remove(0)
    }

    fn row(under: Phase, opened: u64, memory: u64, quiet_after: Option<u64>) -> Row {
        let attack = listed("silent-300");
        let account = attacker::Account { opened, failed: 0, closed: 0 };
        let quiet_after = quiet_after.map(Duration::from_secs);
        let recovery = Recovery { quiet_after, after: phase() };
        Row::new(Against::Ringseal, &attack, (phase(), under), (account, memory), recovery)
    }

    #[test]
    fn each_expectation_is_broken_by_its_own_cause() {
        use Expectation::{Attack, Frames, Joins, Link, Memory, P99, Plain, Recovery};
        let broken = |under, opened, memory, after| row(under, opened, memory, after).broken;
        let (ok, quiet) = (phase(), Some(1));
        assert_eq!(broken(ok.clone(), 300, 0, quiet), []);
        assert_eq!(broken(ok.clone(), 299, 0, quiet), [Attack]);
        assert_eq!(broken(ok.clone(), 300, 16 << 20, quiet), [Memory]);
        assert_eq!(broken(ok.clone(), 300, 0, Some(11)), [Recovery]);
        assert_eq!(broken(ok.clone(), 300, 0, None), [Recovery]);
        let under = |change: fn(&mut Phase)| {
            let mut phase = phase();
            change(&mut phase);
            broken(phase, 300, 0, quiet)
        };
        assert_eq!(under(|phase| phase.tagged = joins(100, 99, 3.0)), [Joins]);
        assert_eq!(under(|phase| phase.tagged = joins(0, 0, 0.0)), [Joins]);
        assert_eq!(under(|phase| phase.tagged = joins(100, 100, 53.1)), [P99]);
        assert_eq!(under(|phase| phase.plain = joins(30, 29, 4.0)), [Plain]);
        assert_eq!(under(|phase| phase.plain = joins(30, 30, 2000.1)), [Plain]);
        assert_eq!(under(|phase| phase.linked = false), [Link]);
        assert_eq!(under(|phase| phase.frames = 899_999), [Frames]);
        assert_eq!(under(|phase| phase.cpu_seconds = 0.0), [Frames]);
    }

    #[test]
    fn a_plain_replica_is_not_expected_to_join_from_the_attackers_address() {
        let attack = listed("from-replica-address");
        let under = Phase { plain: joins(30, 0, 0.0), ..phase() };
        let account = attacker::Account { opened: attack.least, failed: 0, closed: 0 };
        let recovery = Recovery { quiet_after: Some(Duration::ZERO), after: phase() };
        let row = Row::new(Against::Ringseal, &attack, (phase(), under), (account, 0), recovery);
        assert_eq!(row.broken, []);
    }

    #[test]
    fn the_table_says_what_was_broken() {
        let under = Phase { tagged: joins(100, 7, 3.0), frames: 500_000, ..phase() };
        let rows = vec![row(under, 300, 0, Some(1)), row(phase(), 300, 0, Some(1))];
        let (quiet, attack) = (Duration::from_secs(1), Duration::from_secs(5));
        let text = Report { rows, quiet, attack }.to_string();
        let line = |what: &str| text.lines().any(|line| line.contains(what));
        assert!(line("7/100") && line("**joins, frames**") && line(" held "), "{text}");
    }
}
