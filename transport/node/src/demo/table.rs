//! The demo's tables, in 80 columns.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;
use ringseal::ReplicaId;

use super::cluster::Cluster;
use super::strangers::Visit;
use super::traffic::{Outcome, Rate};
use crate::units;

/// How many links the latency table lists one by one.
const MOST_ROWS: usize = 12;
/// The longest bar of the live table, in columns.
const BAR: usize = 26;

/// Who takes part.
pub(super) fn replicas(cluster: &Cluster) -> String {
    let mut text = format!("  {:<9}{:<18}{:>5}   {}\n", "replica", "address", "core", "dials");
    for replica in &cluster.replicas {
        let higher = cluster.replicas.iter().map(|other| other.id).filter(|id| *id > replica.id);
        let dials: Vec<String> = higher.map(|id| id.to_string()).collect();
        let dials = if dials.is_empty() { "nobody".to_owned() } else { dials.join(" ") };
        let (id, address) = (replica.id, replica.bus.local_addr());
        let _ = writeln!(text, "  {id:<9}{address:<18}{:>5}   {dials}", replica.core);
    }
    text
}

/// How the strangers fared.
pub(super) fn strangers(visits: &[Visit], target: ReplicaId) -> String {
    let counts = format!("replica {target} counts");
    let mut text = format!(
        "  {:<18}{:<14}{counts:<20}{:<16}{:>9}\n",
        "stranger", "claims to be", "and tells it", "after"
    );
    for visit in visits {
        let told = visit.told.map_or("nothing".to_owned(), |status| status.to_string());
        let _ = writeln!(
            text,
            "  {:<18}replica {:<6}{:<20}{told:<16}{:>9}",
            visit.stranger,
            visit.claims,
            visit.counted.as_str(),
            units::time(visit.took)
        );
    }
    text
}

/// What the strangers did to the mesh.
pub(super) fn unharmed(cluster: &Cluster) -> String {
    let (up, all) = (cluster.ends_up() / 2, cluster.pairs());
    match up == all {
        true => format!("none got in; all {all} links stayed up"),
        false => format!("none got in, but only {up} of {all} links are up"),
    }
}

/// The live table: one row for each link and direction, as many as `rows` has room for.
pub(super) fn rates(rates: &[Rate], rows: usize) -> Vec<String> {
    let most = rates.iter().map(|rate| rate.frames).fold(1.0, f64::max);
    let mut lines = vec![format!(
        "  {:<9}{:<7}{:<7}{:>11}{:>10}",
        "link", "state", "shard", "frames/s", "MiB/s"
    )];
    let shown = if rates.len() <= rows { rates.len() } else { rows.saturating_sub(1) };
    for rate in &rates[..shown] {
        let link = format!("{} → {}", rate.from, rate.to);
        let (state, shard) = match rate.shard {
            Some(shard) => ("up", shard.to_string()),
            None => ("down", "-".to_owned()),
        };
        let frames = units::count(rate.frames as u64);
        let bar = "▪".repeat((rate.frames / most * BAR as f64) as usize);
        let mib = units::mib(rate.bytes);
        lines.push(format!("  {link:<9}{state:<7}{shard:<7}{frames:>11}{mib:>10}   {bar}"));
    }
    if shown < rates.len() {
        lines.push(format!("  ... and {} more", rates.len() - shown));
    }
    let (frames, bytes) = sum(rates);
    let (frames, mib) = (units::count(frames as u64), units::mib(bytes));
    lines.push(format!("  {:<9}{:<7}{:<7}{frames:>11}{mib:>10}", "all", "", ""));
    lines
}

/// The same in one line, for where there is no terminal.
pub(super) fn summary(rates: &[Rate], elapsed: Duration) -> String {
    let up = rates.iter().filter(|rate| rate.shard.is_some()).count();
    let (frames, bytes) = sum(rates);
    format!(
        "  {:>4} s   {}/{} links up   {:>11} frames/s   {:>9} MiB/s\n",
        elapsed.as_secs_f64().round(),
        up / 2,
        rates.len() / 2,
        units::count(frames as u64),
        units::mib(bytes)
    )
}

fn sum(rates: &[Rate]) -> (f64, f64) {
    rates
        .iter()
        .fold((0.0, 0.0), |(frames, bytes), rate| (frames + rate.frames, bytes + rate.bytes))
}

/// Round-trip times: for each link and direction if they are few, and for all together.
pub(super) fn latencies(cluster: &Cluster) -> String {
    let mut text = format!("  {:<9}{:>12}", "link", "round trips");
    for name in ["p50", "p90", "p99", "p99.9", "max"] {
        let _ = write!(text, "{name:>11}");
    }
    text.push('\n');
    let mut all: Option<Histogram<u64>> = None;
    let mut rows = Vec::new();
    for from in &cluster.replicas {
        for to in cluster.replicas.iter().filter(|to| to.id != from.id) {
            let times = cluster.shared.tally(from.id, to.id).round_trips();
            rows.push(latency(&format!("{} → {}", from.id, to.id), &times));
            match &mut all {
                // One that grows by itself has room for whatever another holds.
                Some(all) => drop(all.add(&*times)),
                None => all = Some(times.clone()),
            }
        }
    }
    if rows.len() <= MOST_ROWS {
        text.extend(rows);
    }
    text.extend(all.map(|all| latency("all", &all)));
    text
}

fn latency(name: &str, times: &Histogram<u64>) -> String {
    let mut line = format!("  {name:<9}{:>12}", units::count(times.len()));
    let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile));
    for nanos in quantiles.into_iter().chain([times.max()]) {
        let _ = write!(line, "{:>11}", units::time(Duration::from_nanos(nanos)));
    }
    line.push('\n');
    line
}

/// What was carried in all, and whether anything went astray.
pub(super) fn totals(outcome: &Outcome) -> String {
    format!(
        "\n  {} frames and {} carried in {}: {} lost, {} out of order\n",
        units::count(outcome.frames),
        units::bytes(outcome.bytes),
        units::time(outcome.elapsed),
        units::count(outcome.lost),
        units::count(outcome.disorder)
    )
}

/// Frames that were sent, that came back, and that came out of order, over all links.
pub(super) fn tallied(cluster: &Cluster) -> (u64, u64, u64) {
    cluster.shared.tallies().fold((0, 0, 0), |(sent, returned, disorder), tally| {
        (
            sent + tally.sent.load(Relaxed),
            returned + tally.returned.load(Relaxed),
            disorder + tally.disorder.load(Relaxed),
        )
    })
}
