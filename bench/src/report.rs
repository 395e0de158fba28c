//! What came out: tables to read, cells for JSON, curves for plots.

use std::fmt;
use std::fs;
use std::thread;

use serde::{Serialize, Serializer};

use crate::measure::Latencies;
use crate::shape::Shape;
use crate::stats::Spread;

/// Something that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Operations per second of wall time.
    Throughput,
    /// Latency below which half of the operations lie.
    LatencyP50,
    /// Latency below which 99 % of the operations lie.
    LatencyP99,
    /// The slowest operation.
    LatencyMax,
    /// CPU time per operation of the dialing process.
    CpuClient,
    /// CPU time per operation of the accepting process.
    CpuServer,
    /// CPU time per operation where both sides are one process.
    Cpu,
    /// System calls per operation of the dialing process.
    SyscallsClient,
    /// System calls per operation of the accepting process.
    SyscallsServer,
    /// Resident memory of the accepting process.
    Memory,
    /// What the accepting process takes of a core while nothing happens.
    IdleCpu,
}

impl Metric {
    /// What a shape is there to measure.
    #[must_use]
    pub fn primary(shape: Shape) -> Self {
        match shape {
            Shape::Echo { .. } | Shape::OneWay { .. } | Shape::Connect { .. } => Self::Throughput,
            Shape::RoundTrip { .. } => Self::LatencyP50,
            Shape::HandshakeCpu | Shape::HandshakeHashing | Shape::Parse { .. } => Self::Cpu,
            Shape::Idle { .. } => Self::Memory,
        }
    }

    fn unit(self, shape: Shape) -> String {
        let operation = match shape {
            Shape::Connect { .. } => "connect",
            Shape::HandshakeCpu | Shape::HandshakeHashing => "handshake",
            _ => "frame",
        };
        match self {
            Self::Throughput => format!("{operation}s/s"),
            Self::LatencyP50 | Self::LatencyP99 | Self::LatencyMax => "ns".to_owned(),
            Self::CpuClient | Self::CpuServer | Self::Cpu => format!("ns/{operation}"),
            Self::SyscallsClient | Self::SyscallsServer => format!("1/{operation}"),
            Self::Memory => "bytes".to_owned(),
            Self::IdleCpu => "% of a core".to_owned(),
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::LatencyP50 => "p50",
            Self::LatencyP99 => "p99",
            Self::LatencyMax => "max",
            Self::CpuClient => "CPU, client",
            Self::CpuServer => "CPU, server",
            Self::Cpu => "CPU",
            Self::SyscallsClient => "syscalls, client",
            Self::SyscallsServer => "syscalls, server",
            Self::Memory => "resident, server",
            Self::IdleCpu => "CPU, server",
        }
    }
}

/// One contestant's measurements of one metric in one shape.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// Whose.
    pub contestant: &'static str,
    /// In what.
    #[serde(serialize_with = "as_text")]
    pub shape: Shape,
    /// Of what.
    pub metric: Metric,
    /// In what unit.
    pub unit: String,
    /// The middle of the rounds.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many rounds.
    pub rounds: usize,
}

impl Cell {
    pub(crate) fn new(
        contestant: &'static str,
        shape: Shape,
        metric: Metric,
        spread: Spread,
    ) -> Self {
        let Spread { median, min, max, rounds } = spread;
        Self { contestant, shape, metric, unit: metric.unit(shape), median, min, max, rounds }
    }
}

fn as_text<S: Serializer>(shape: &Shape, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(shape)
}

/// All latencies of one contestant in one shape, all rounds together.
#[derive(Debug)]
pub struct Curve {
    /// Whose.
    pub contestant: &'static str,
    /// In what.
    pub shape: Shape,
    /// How long the operations took.
    pub latencies: Latencies,
}

/// Where it was measured.
#[derive(Debug)]
pub struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name);
        Self {
            kernel: kernel.trim().to_owned(),
            processor: model.trim().to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The outcome of a comparison.
#[derive(Debug)]
pub struct Report {
    /// Where it was measured.
    pub machine: Machine,
    /// Every metric, by shape and then by contestant.
    pub cells: Vec<Cell>,
    /// Latencies of the shapes that time single operations.
    pub curves: Vec<Curve>,
    /// What a reader should know, such as what was not measured.
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, cells: Vec::new(), curves: Vec::new(), notes: Vec::new() }
    }

    /// Adds what another run on the same machine measured.
    pub fn append(&mut self, other: Self) {
        self.cells.extend(other.cells);
        self.curves.extend(other.curves);
        for note in other.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    /// One measurement.
    #[must_use]
    pub fn cell(&self, contestant: &str, shape: Shape, metric: Metric) -> Option<&Cell> {
        let cells = self.cells.iter();
        cells
            .filter(|cell| cell.shape == shape && cell.metric == metric)
            .find(|cell| cell.contestant == contestant)
    }

    /// The shapes that were run, in order.
    #[must_use]
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes: Vec<_> = self.cells.iter().map(|cell| cell.shape).collect();
        shapes.dedup();
        shapes
    }

    /// The cells that hold a shape's primary metric, one per contestant.
    pub fn primaries(&self, shape: Shape) -> impl Iterator<Item = &Cell> {
        let primary = Metric::primary(shape);
        self.cells.iter().filter(move |cell| cell.shape == shape && cell.metric == primary)
    }

    /// A contestant's primary metric in a shape.
    #[must_use]
    pub fn primary(&self, contestant: &str, shape: Shape) -> Option<&Cell> {
        self.cell(contestant, shape, Metric::primary(shape))
    }

    /// One table for each shape, and the notes.
    #[must_use]
    pub fn tables(&self) -> String {
        Tables(self).to_string()
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, shape: Shape) -> fmt::Result {
        let cells: Vec<_> = self.cells.iter().filter(|cell| cell.shape == shape).collect();
        let mut metrics: Vec<_> = cells.iter().map(|cell| (cell.metric, &cell.unit)).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let Some(base) = self.primaries(shape).next() else { return Ok(()) };

        let mut rows = vec![vec!["contestant".to_owned(), format!("x {}", base.contestant)]];
        let headings = metrics.iter().map(|(metric, unit)| {
            let unit = if **unit == "ns" { " ns" } else { &format!(" {unit}") };
            metric.heading().to_owned() + unit
        });
        rows[0].extend(headings);
        for primary in self.primaries(shape) {
            let ratio = format!("{:.2}", primary.median / base.median);
            let mut row = vec![primary.contestant.to_owned(), ratio];
            row.extend(metrics.iter().map(|&(metric, _)| {
                let mut own = cells.iter().filter(|cell| cell.contestant == primary.contestant);
                own.find(|cell| cell.metric == metric).map_or("-".to_owned(), |cell| spread(cell))
            }));
            rows.push(row);
        }
        writeln!(f, "\n### {shape}\n")?;
        write!(f, "{}", Aligned(&rows))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, processor, cores } = self;
        write!(f, "{processor}, {cores} cores, Linux {kernel}; server on core 1, client on core 0.")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f, "Medians of the rounds, with (minimum to maximum).")?;
        f.write_str(&self.tables())
    }
}

/// What [`Report::tables`] shows.
struct Tables<'a>(&'a Report);

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shape in self.0.shapes() {
            self.0.table(f, shape)?;
        }
        for note in &self.0.notes {
            writeln!(f, "\n{note}")?;
        }
        Ok(())
    }
}

/// Rows, the heading first, as a Markdown table with its columns aligned.
pub(crate) struct Aligned<'a>(pub(crate) &'a [Vec<String>]);

impl fmt::Display for Aligned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.first().map_or(0, Vec::len);
        let width =
            |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (at, row) in self.0.iter().enumerate() {
            for (text, width) in row.iter().zip(&widths) {
                write!(f, "| {text:width$} ")?;
            }
            writeln!(f, "|")?;
            if at == 0 {
                for width in &widths {
                    write!(f, "|{:-<1$}", "", width + 2)?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

fn spread(cell: &Cell) -> String {
    let Cell { median, min, max, .. } = *cell;
    if cell.rounds == 1 {
        return human(median);
    }
    format!("{} ({} to {})", human(median), human(min), human(max))
}

/// A number with about three digits that matter.
fn human(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(contestant: &'static str, median: f64) -> Cell {
        let spread = Spread { median, min: median - 1.0, max: median + 1.0, rounds: 5 };
        Cell::new(contestant, "echo-256-w64".parse().expect("a shape"), Metric::Throughput, spread)
    }

    #[test]
    fn json_has_the_promised_fields() {
        let value = serde_json::to_value([cell("limit", 1e6)]).expect("plain data");
        let expected = serde_json::json!([{
            "contestant": "limit", "shape": "echo-256-w64", "metric": "throughput",
            "unit": "frames/s", "median": 1e6, "min": 999_999.0, "max": 1_000_001.0, "rounds": 5,
        }]);
        assert_eq!(value, expected);
    }

    #[test]
    fn ratios_are_to_the_first_contestant() {
        let mut report = Report::new(Machine::this());
        report.cells = vec![cell("limit", 1000.0), cell("tokio", 500.0)];
        let text = report.to_string();
        assert!(text.contains("x limit"), "{text}");
        assert!(text.lines().any(|line| line.contains("tokio") && line.contains("0.50")), "{text}");
    }
}
