//! Cost as work grows: more links, more shards, more handshakes at once, more links that rest.
//!
//! It is the comparison again, with shapes that differ in one number only. `limit` and `ring-echo`
//! stand beside the bus where growth changes what the sockets allow.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::compare::{self, Plan};
use crate::contestant;
use crate::report::Report;

/// Traffic over more and more links, on one shard and on two.
const LINKS: &[&str] = &[
    "echo-256-w16",
    "links2-256-w16",
    "links6-256-w16",
    "links16-256-w16",
    "links64-256-w16",
    "links2x2-256-w16",
    "links6x2-256-w16",
    "links16x2-256-w16",
    "links64x2-256-w16",
];

/// Handshakes at once, up to as many as a replica has peers.
const CONNECTS: &[&str] = &["connect", "connect-4", "connect-16", "connect-64", "connect-255"];

/// Links that rest, on one shard and on two.
const IDLE: &[&str] = &["idle-0", "idle-16", "idle-64", "idle-240", "idle-0x2", "idle-240x2"];

/// What to measure, and for how long.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Rounds, in each of which every contestant takes its turn.
    #[arg(long, default_value_t = Self::DEFAULT.rounds, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Milliseconds that each contestant moves frames in each round.
    #[arg(long, default_value_t = Self::DEFAULT.millis, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub millis: u64,
    /// Milliseconds that links rest in each round.
    #[arg(long, default_value_t = Self::DEFAULT.idle_millis, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub idle_millis: u64,
    /// One round of 20 ms: shows that everything runs, measures nothing.
    #[arg(long, conflicts_with_all = ["rounds", "millis", "idle_millis"])]
    pub quick: bool,
}

impl ScaleArgs {
    /// What is measured when nothing is said on the command line.
    pub const DEFAULT: Self = Self { rounds: 3, millis: 300, idle_millis: 2000, quick: false };

    /// One short round.
    pub const QUICK: Self = Self { quick: true, ..Self::DEFAULT };

    /// Runs all of it.
    ///
    /// # Errors
    ///
    /// As [`compare::run`].
    pub fn run(&self) -> Result<Report> {
        let mut report = self.measure(LINKS, &["limit", "ringseal", "ring-echo"], self.millis)?;
        report.append(self.measure(CONNECTS, &["limit", "ringseal"], self.millis)?);
        report.append(self.measure(IDLE, &["ringseal"], self.idle_millis)?);
        Ok(report)
    }

    fn measure(&self, shapes: &[&str], contestants: &[&str], millis: u64) -> Result<Report> {
        compare::run(&Plan {
            contestants: contestants
                .iter()
                .map(|name| contestant::named(name))
                .collect::<Result<_>>()?,
            shapes: shapes.iter().map(|name| name.parse()).collect::<Result<_>>()?,
            rounds: if self.quick { 1 } else { self.rounds },
            time: Duration::from_millis(if self.quick { 20 } else { millis }),
            syscalls: false,
        })
    }
}
