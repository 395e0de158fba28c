//! Benches and comparisons of the ringseal replica bus.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use ringseal_bench::compare::{self, Plan};
use ringseal_bench::contestant::{self, Contestant};
use ringseal_bench::report::Report;
use ringseal_bench::{dudect, peer, plot, shape};

/// Benches and comparisons of the ringseal replica bus.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every contestant through every shape, side by side, and report medians.
    Compare(CompareArgs),
    /// Test whether checking a MAC takes as long for a near miss as for a random one.
    Dudect {
        /// Measurements to take of each function.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(20_000..=100_000_000))]
        samples: u32,
    },
    /// One end of a comparison: started by it, not by hand.
    #[command(hide = true)]
    Peer,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Rounds, in each of which every contestant takes its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds that each contestant moves frames in each round.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    millis: u64,
    /// Write the medians to this file as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write SVG plots to this directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Only these contestants, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Only these shapes, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    shapes: Vec<String>,
    /// Count system calls in a pass of its own, with perf.
    #[arg(long)]
    syscalls: bool,
    /// One round of 20 ms: shows that everything runs, measures nothing.
    #[arg(long, conflicts_with_all = ["rounds", "millis"])]
    quick: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Compare(args) => compare(&args).map(|()| ExitCode::SUCCESS),
        Command::Dudect { samples } => {
            let constant = dudect::run(samples)?;
            Ok(if constant { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Peer => peer::run().map(|()| ExitCode::SUCCESS),
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    let plan = Plan {
        contestants: contestants(&args.only)?,
        shapes: shapes(&args.shapes)?,
        rounds: if args.quick { 1 } else { args.rounds },
        time: Duration::from_millis(if args.quick { 20 } else { args.millis }),
        syscalls: args.syscalls,
    };
    let report = compare::run(&plan)?;
    print!("{report}");
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report.cells)?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    if let Some(directory) = &args.plots {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        plot::write(&report, directory)?;
    }
    complete(&plan, &report)
}

/// A contestant that measured nothing where it should have is a failure, not a gap in a table.
fn complete(plan: &Plan, report: &Report) -> Result<()> {
    for &shape in &plan.shapes {
        for contestant in plan.contestants.iter().filter(|contestant| contestant.runs(shape)) {
            if report.primary(contestant.name(), shape).is_none_or(|cell| cell.median <= 0.0) {
                bail!("{} measured nothing in {shape}", contestant.name());
            }
        }
    }
    Ok(())
}

fn contestants(names: &[String]) -> Result<Vec<&'static dyn Contestant>> {
    if names.is_empty() {
        return Ok(contestant::ALL.to_vec());
    }
    names.iter().map(|name| contestant::named(name)).collect()
}

fn shapes(names: &[String]) -> Result<Vec<shape::Shape>> {
    if names.is_empty() {
        return shape::ALL.iter().map(|name| name.parse()).collect();
    }
    names.iter().map(|name| name.parse()).collect()
}
