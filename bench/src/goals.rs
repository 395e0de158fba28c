//! What the bus is to reach, and whether it did.

use Bound::{AtLeast, AtMost};

use crate::report::{Metric, Report};
use crate::shape::Shape;

/// The contestants that are compared with sockets alone and are no transport anyone would use.
const YARDSTICKS: [&str; 2] = ["limit", "ring-echo"];

const BUS: &str = "ringseal";

/// Something to reach.
struct Goal {
    what: &'static str,
    value: Value,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What is held against the bound.
#[derive(Clone, Copy)]
enum Value {
    /// A contestant's median in a shape, as a multiple of another's.
    Ratio { shape: &'static str, metric: Metric, of: &'static str, to: &'static str },
    /// The bus's, as a multiple of the best that any other transport has.
    ToTheBest { shape: &'static str },
    /// The bus's own, in units of so many of the metric's.
    Plain { shape: &'static str, metric: Metric, unit: (&'static str, f64) },
    /// By how much the resident memory of one shape exceeds that of another, for each of so many.
    Growth { from: &'static str, to: &'static str, each: f64, unit: (&'static str, f64) },
}

/// The bus's throughput in a shape as a multiple of another's.
const fn throughput(shape: &'static str, to: &'static str) -> Value {
    Value::Ratio { shape, metric: Metric::Throughput, of: BUS, to }
}

const fn plain(shape: &'static str, metric: Metric, unit: (&'static str, f64)) -> Value {
    Value::Plain { shape, metric, unit }
}

const fn latency(of: &'static str) -> Value {
    Value::Ratio { shape: "rtt-256", metric: Metric::LatencyP50, of, to: "limit" }
}

const fn cpu(of: &'static str, to: &'static str) -> Value {
    Value::Ratio { shape: "links6-256-w16", metric: Metric::CpuServer, of, to }
}

const fn handshake(of: &'static str) -> Value {
    Value::Ratio { shape: "handshake-cpu", metric: Metric::Cpu, of, to: BUS }
}

const fn growth(
    from: &'static str,
    to: &'static str,
    each: f64,
    unit: (&'static str, f64),
) -> Value {
    Value::Growth { from, to, each, unit }
}

const fn goal(what: &'static str, value: Value, bound: Bound) -> Goal {
    Goal { what, value, bound }
}

const NANOS: (&str, f64) = ("ns", 1.0);
const KIB: (&str, f64) = ("KiB", 1024.0);
const MIB: (&str, f64) = ("MiB", 1_048_576.0);
const SHARE: (&str, f64) = ("% of a core", 1.0);
const CALLS: (&str, f64) = ("syscalls per frame", 1.0);

const GOALS: [Goal; 27] = [
    goal("echo 256 B, window 256", throughput("echo-256-w256", "limit"), AtLeast(0.6)),
    goal("", throughput("echo-256-w256", "tokio"), AtLeast(2.0)),
    goal("", throughput("echo-256-w256", "frame-at-a-time"), AtLeast(8.0)),
    goal("echo 256 B, window 64", throughput("echo-256-w64", "limit"), AtLeast(0.7)),
    goal("echo 4 KiB, window 64", throughput("echo-4096-w64", "limit"), AtLeast(0.7)),
    goal("", throughput("echo-4096-w64", "tokio"), AtLeast(1.5)),
    goal("", throughput("echo-4096-w64", "frame-at-a-time"), AtLeast(4.0)),
    goal("echo 64 KiB, window 16", throughput("echo-65536-w16", "limit"), AtLeast(0.8)),
    goal("", Value::ToTheBest { shape: "echo-65536-w16" }, AtLeast(1.0)),
    goal("one-way 256 B", throughput("oneway-256", "limit"), AtLeast(0.5)),
    goal("", throughput("oneway-256", "frame-at-a-time"), AtLeast(4.0)),
    goal("round trip 256 B, p50", latency("ringseal"), AtMost(1.15)),
    goal("the same, spinning", latency("ringseal-spin"), AtMost(0.85)),
    goal("6 links x 16, CPU per frame of the server", cpu(BUS, "ring-echo"), AtMost(1.15)),
    goal("connect, handshake, frame, close", throughput("connect", "limit"), AtLeast(0.9)),
    goal("handshake in memory, CPU of both sides", handshake("tls"), AtLeast(50.0)),
    goal("", handshake("tls-resumed"), AtLeast(10.0)),
    goal("its hashing", plain("handshake-hashing", Metric::Cpu, NANOS), AtMost(1600.0)),
    goal(
        "parse a 256 B frame of a full buffer",
        plain("parse-256", Metric::Cpu, NANOS),
        AtMost(10.0),
    ),
    goal(
        "echo 256 B, window 256, server",
        plain("echo-256-w256", Metric::SyscallsServer, CALLS),
        AtMost(0.1),
    ),
    goal("idle node, no links", plain("idle-0", Metric::IdleCpu, SHARE), AtMost(1.5)),
    goal("idle node, 240 links", plain("idle-240", Metric::IdleCpu, SHARE), AtMost(1.5)),
    goal(
        "idle node, 240 links, two shards",
        plain("idle-240x2", Metric::IdleCpu, SHARE),
        AtMost(3.0),
    ),
    goal("memory of a node with one shard", plain("idle-0", Metric::Memory, MIB), AtMost(12.0)),
    goal("memory of another shard", growth("idle-0", "idle-0x2", 1.0, MIB), AtMost(12.0)),
    goal("memory of an idle link", growth("idle-0", "idle-240", 240.0, KIB), AtMost(128.0)),
    goal("the same, two shards", growth("idle-0x2", "idle-240x2", 240.0, KIB), AtMost(128.0)),
];

impl Value {
    /// What `report` has of it.
    fn measured(self, report: &Report) -> Option<f64> {
        let median = |contestant: &str, shape: &str, metric: Metric| {
            let shape: Shape = shape.parse().expect("goals name shapes");
            report.cell(contestant, shape, metric).map(|cell| cell.median)
        };
        match self {
            Self::Ratio { shape, metric, of, to } => {
                Some(median(of, shape, metric)? / median(to, shape, metric)?)
            }
            Self::ToTheBest { shape } => {
                let shape: Shape = shape.parse().expect("goals name shapes");
                let others = report.primaries(shape).filter(|cell| {
                    cell.contestant != BUS && !YARDSTICKS.contains(&cell.contestant)
                });
                let best = others.map(|cell| cell.median).reduce(f64::max)?;
                Some(report.primary(BUS, shape)?.median / best)
            }
            Self::Plain { shape, metric, unit } => Some(median(BUS, shape, metric)? / unit.1),
            Self::Growth { from, to, each, unit } => {
                let memory = |shape| median(BUS, shape, Metric::Memory);
                Some((memory(to)? - memory(from)?) / each / unit.1)
            }
        }
    }

    /// What it is counted in.
    fn unit(self) -> String {
        match self {
            Self::Ratio { of, to, .. } if of == BUS || to != BUS => format!("x {to}"),
            Self::Ratio { of, .. } => format!("x less than {of}"),
            Self::ToTheBest { .. } => "x the best other transport".to_owned(),
            Self::Plain { unit, .. } | Self::Growth { unit, .. } => unit.0.to_owned(),
        }
    }

    /// What the sockets alone reach of a goal that is set against another transport.
    fn of_limit(self, report: &Report) -> Option<f64> {
        match self {
            Self::Ratio { shape, metric: Metric::Throughput, to, .. } if to != "limit" => {
                let limit = Self::Ratio { shape, metric: Metric::Throughput, of: "limit", to };
                limit.measured(report)
            }
            _ => None,
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            AtLeast(least) => value >= least,
            AtMost(most) => value <= most,
        }
    }
}

/// The goals as the rows of a table, its heading first.
#[must_use]
pub fn table(report: &Report) -> Vec<Vec<String>> {
    let heading = ["shape", "goal", "reached", "", "limit itself"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for Goal { what, value, bound } in &GOALS {
        let (word, number) = match bound {
            AtLeast(least) => ("at least", least),
            AtMost(most) => ("at most", most),
        };
        let measured = value.measured(report);
        let verdict = measured.map_or("not measured", |measured| match bound.holds(measured) {
            true => "pass",
            false => "**miss**",
        });
        let shown = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
        rows.push(vec![
            (*what).to_owned(),
            format!("{word} {number} {}", value.unit()),
            shown(measured),
            verdict.to_owned(),
            shown(value.of_limit(report)),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cell, Machine};
    use crate::stats::Spread;

    fn report(cells: &[(&'static str, &str, Metric, f64)]) -> Report {
        let mut report = Report::new(Machine::this());
        for &(contestant, shape, metric, median) in cells {
            let spread = Spread { median, min: median, max: median, rounds: 5 };
            let shape = shape.parse().expect("a shape");
            report.cells.push(Cell::new(contestant, shape, metric, spread));
        }
        report
    }

    fn row(report: &Report, goal: &str) -> Vec<String> {
        let rows = table(report);
        let row = rows.into_iter().find(|row| row[1] == goal);
        row.expect("a goal")[1..].to_vec()
    }

    #[test]
    fn a_goal_is_judged_by_the_numbers() {
        let speed = |of, frames| (of, "echo-256-w256", Metric::Throughput, frames);
        let report =
            report(&[speed("limit", 240.0), speed("ringseal", 150.0), speed("tokio", 100.0)]);
        let row = |goal| row(&report, goal);
        assert_eq!(row("at least 0.6 x limit"), ["at least 0.6 x limit", "0.62", "pass", ""]);
        assert_eq!(row("at least 2 x tokio"), ["at least 2 x tokio", "1.50", "**miss**", "2.40"]);
        assert_eq!(row("at least 8 x frame-at-a-time")[2], "not measured");
    }

    #[test]
    fn memory_is_counted_per_link() {
        let memory = |shape, kib: f64| ("ringseal", shape, Metric::Memory, kib * 1024.0);
        let report = report(&[memory("idle-0", 9000.0), memory("idle-240", 9480.0)]);
        assert_eq!(row(&report, "at most 128 KiB")[1..3], ["2.00", "pass"]);
    }

    #[test]
    fn every_goal_is_about_something_that_is_measured() {
        let shape = |name: &str| name.parse::<Shape>().expect("a shape");
        for Goal { value, .. } in &GOALS {
            let (shapes, contestants) = match *value {
                Value::Ratio { shape, of, to, .. } => (vec![shape], vec![of, to]),
                Value::ToTheBest { shape } | Value::Plain { shape, .. } => (vec![shape], vec![BUS]),
                Value::Growth { from, to, .. } => (vec![from, to], vec![BUS]),
            };
            for contestant in contestants {
                let contestant = crate::contestant::named(contestant).expect("a contestant");
                assert!(shapes.iter().all(|name| contestant.runs(shape(name))));
            }
        }
    }
}
