//! Clocks, latencies, and what one measured run hands back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// CPU time that this process has used, user and system, all threads.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).expect("a timespec's nanoseconds are below 1e9");
    Duration::new(time.tv_sec.unsigned_abs(), nanos)
}

/// Keeps the calling thread, and the threads it starts from now on, on one core.
///
/// Returns whether that was possible: on a machine with fewer cores the run goes on unpinned.
#[must_use]
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// What the client's end of one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Frames that made the whole way, or connections, or handshakes.
    pub operations: u64,
    /// Wall time of the run, in nanoseconds.
    pub elapsed_ns: u64,
    /// CPU time of this process during the run, in nanoseconds.
    pub cpu_ns: u64,
    /// How long single operations took, if the shape times them.
    pub latencies: Option<Latencies>,
}

/// Measures one run: made when it starts, finished when the last operation is done.
#[derive(Debug)]
pub struct Run {
    started: Instant,
    cpu: Duration,
}

impl Run {
    /// Starts both clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { cpu: cpu_time(), started: Instant::now() }
    }

    /// Stops both clocks.
    #[must_use]
    pub fn finish(self, operations: u64, latencies: Option<Latencies>) -> Outcome {
        let elapsed = self.started.elapsed();
        let cpu = cpu_time().saturating_sub(self.cpu);
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Outcome { operations, elapsed_ns: nanos(elapsed), cpu_ns: nanos(cpu), latencies }
    }
}

/// A latency histogram in nanoseconds, three significant digits, up to a minute.
///
/// It crosses from a child to its parent as pairs of value and count.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    const LONGEST_NS: u64 = 60_000_000_000;

    /// An empty histogram.
    ///
    /// # Errors
    ///
    /// Never with these bounds; the histogram's constructor is fallible.
    pub fn new() -> Result<Self> {
        let inner = Histogram::new_with_bounds(1, Self::LONGEST_NS, 3);
        inner.map(Self).context("the latency histogram's bounds")
    }

    /// Counts one operation; what took longer than a minute counts as a minute.
    pub fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// Adds another run's operations.
    ///
    /// # Errors
    ///
    /// Never: all histograms have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("adding histograms of the same bounds")
    }

    /// Nanoseconds below which `quantile` (0 to 1) of the operations lie.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// The slowest operation, in nanoseconds.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// How many operations were timed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Latencies {
    type Error = anyhow::Error;

    fn try_from(pairs: Vec<(u64, u64)>) -> Result<Self> {
        let mut latencies = Self::new()?;
        for (value, count) in pairs {
            latencies.0.record_n(value, count).context("a latency beyond a minute")?;
        }
        Ok(latencies)
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        let values = latencies.0.iter_recorded();
        values.map(|at| (at.value_iterated_to(), at.count_at_value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_survive_the_way_to_the_parent() {
        let mut latencies = Latencies::new().expect("fixed bounds");
        for micros in 1..1000 {
            latencies.record(Duration::from_micros(micros));
        }
        let text = serde_json::to_string(&latencies).expect("pairs of numbers");
        let back: Latencies = serde_json::from_str(&text).expect("pairs of numbers");
        assert_eq!(back.count(), 999);
        assert_eq!(back.quantile(0.5), latencies.quantile(0.5));
    }
}
