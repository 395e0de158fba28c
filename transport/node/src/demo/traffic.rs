//! Carries traffic on every link for a while, and shows it.

use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use ringseal::ReplicaId;

use super::cluster::Cluster;
use super::link::{FRAME_BYTES, WINDOW, starter};
use super::screen::Screen;
use super::{is_set, table};
use crate::cli::{Failure, print};
use crate::units;

/// How often the table is drawn, and how often a line is written where there is no terminal.
const DRAWN_EVERY: Duration = Duration::from_millis(500);
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// How often to look whether it is time for anything.
const TICK: Duration = Duration::from_millis(50);
/// How long the last frames may take to come back.
const LAST_FRAMES: Duration = Duration::from_secs(10);
/// Lines of the terminal that the table leaves alone: heading, sum, and the one with the cursor.
const OTHER_LINES: usize = 5;

/// How fast one direction of one link is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) from: ReplicaId,
    pub(super) to: ReplicaId,
    /// The shard that owns the sending end, if the link is up.
    pub(super) shard: Option<usize>,
    /// Frames per second.
    pub(super) frames: f64,
    /// Bytes per second.
    pub(super) bytes: f64,
}

/// What was carried in all.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) lost: u64,
    pub(super) disorder: u64,
}

impl Outcome {
    /// Whether every frame came back, once and in order.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.lost == 0 && self.disorder == 0 {
            return Ok(());
        }
        Err(Failure::Running(format!(
            "{} frames did not come back and {} came out of order",
            self.lost, self.disorder
        )))
    }
}

/// Carries traffic for `duration`, or until interrupted.
pub(super) fn run(
    cluster: &Cluster,
    screen: &Screen,
    duration: Duration,
    interrupted: &AtomicBool,
) -> Result<Outcome, Failure> {
    print(format_args!(
        "  {} frames of {} under way to every peer, each sent back by it, for {}\n\n",
        WINDOW,
        units::bytes(FRAME_BYTES as u64),
        humantime::format_duration(duration)
    ))?;
    if cfg!(debug_assertions) {
        print("  This is a debug build; a release build is many times faster.\n\n")?;
    }
    let begun = Instant::now();
    let first = sample(cluster);
    cluster.shared.set_running(true);
    for from in &cluster.replicas {
        for to in cluster.replicas.iter().filter(|to| to.id != from.id) {
            // A link that is down this moment begins by itself when it comes up.
            let _ = starter(from.id).map(|frame| from.bus.send(to.id, frame));
        }
    }
    show(cluster, screen, begun, duration, interrupted)?;
    cluster.shared.set_running(false);
    let elapsed = begun.elapsed();
    let last = sample(cluster);
    let lost = collect(cluster);
    let carried = |of: fn(&Sample) -> u64| {
        last.iter().map(of).sum::<u64>().saturating_sub(first.iter().map(of).sum())
    };
    let (_, _, disorder) = table::tallied(cluster);
    let (frames, bytes) = (carried(|sample| sample.frames), carried(|sample| sample.bytes));
    Ok(Outcome { frames, bytes, elapsed, lost, disorder })
}

/// Shows the traffic until its time is over.
fn show(
    cluster: &Cluster,
    screen: &Screen,
    begun: Instant,
    duration: Duration,
    interrupted: &AtomicBool,
) -> Result<(), Failure> {
    let every = if screen.is_terminal() { DRAWN_EVERY } else { WRITTEN_EVERY };
    let (mut before, mut before_at) = (sample(cluster), Instant::now());
    let mut drawn = 0;
    loop {
        let over = begun.elapsed() >= duration || is_set(interrupted);
        if before_at.elapsed() >= every || over && before_at.elapsed() >= TICK {
            let (now, now_at) = (sample(cluster), Instant::now());
            let rates = rates(&before, &now, now_at - before_at);
            (before, before_at) = (now, now_at);
            if screen.is_terminal() {
                let (_, rows) = screen.size();
                let lines = table::rates(&rates, rows.saturating_sub(OTHER_LINES));
                print(screen.redraw(&lines, drawn))?;
                drawn = lines.len();
            } else {
                print(table::summary(&rates, begun.elapsed()))?;
            }
        }
        if over {
            return Ok(());
        }
        let left =
            duration.saturating_sub(begun.elapsed()).min(every.saturating_sub(before_at.elapsed()));
        thread::sleep(left.min(TICK));
    }
}

/// Waits for the frames that are still under way, and says how many do not come.
fn collect(cluster: &Cluster) -> u64 {
    let begun = Instant::now();
    loop {
        let (sent, returned, _) = table::tallied(cluster);
        let missing = sent.saturating_sub(returned);
        if missing == 0 || begun.elapsed() > LAST_FRAMES {
            return missing;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The counters of one direction of one link.
#[derive(Clone, Copy, Debug)]
struct Sample {
    from: ReplicaId,
    to: ReplicaId,
    shard: Option<usize>,
    frames: u64,
    bytes: u64,
}

fn sample(cluster: &Cluster) -> Vec<Sample> {
    let of = |from: ReplicaId, peer: ringseal::PeerStatus| Sample {
        from,
        to: peer.id,
        shard: peer.link.map(|link| link.shard),
        frames: peer.frames_out,
        bytes: peer.bytes_out,
    };
    let replicas = cluster.replicas.iter();
    replicas.flat_map(|from| from.bus.peers().into_iter().map(|peer| of(from.id, peer))).collect()
}

fn rates(before: &[Sample], now: &[Sample], elapsed: Duration) -> Vec<Rate> {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let per_second = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    let rate = |(before, now): (&Sample, &Sample)| Rate {
        from: now.from,
        to: now.to,
        shard: now.shard,
        frames: per_second(before.frames, now.frames),
        bytes: per_second(before.bytes, now.bytes),
    };
    before.iter().zip(now).map(rate).collect()
}
