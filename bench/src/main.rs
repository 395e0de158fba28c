//! Benches and comparisons of the ringseal replica bus.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use ringseal_bench::compare::{self, Plan};
use ringseal_bench::contestant::{self, Contestant};
use ringseal_bench::count::{self, Piece};
use ringseal_bench::output::Output;
use ringseal_bench::page::PageArgs;
use ringseal_bench::report::Report;
use ringseal_bench::scale::ScaleArgs;
use ringseal_bench::siege::{self, Against, Attack};
use ringseal_bench::{dudect, growth, peer, plot, shape};

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
    /// Measure the bus as work grows: links, shards, handshakes at once, links that rest.
    Scale {
        #[command(flatten)]
        scale: ScaleArgs,
        #[command(flatten)]
        output: Output,
    },
    /// Run compare and scale and write the book's page of benchmarks.
    Page(PageArgs),
    /// Test whether checking a MAC takes as long for a near miss as for a random one.
    Dudect {
        /// Measurements to take of each function.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(20_000..=100_000_000))]
        samples: u32,
    },
    /// Attack a replica's port while honest replicas join and one link carries traffic.
    ///
    /// Fails if the bus does not hold; what the reference does is for comparison only.
    Siege(SiegeArgs),
    /// Count the instructions of the smallest pieces of work, and compare with the committed figures.
    Instructions {
        /// Where the figures are.
        #[arg(long, value_name = "FILE", default_value = "bench/instructions.toml")]
        file: PathBuf,
        /// Write the figures instead.
        #[arg(long)]
        write: bool,
    },
    /// A piece of work for callgrind to watch: started by `instructions`, not by hand.
    #[command(hide = true)]
    Count {
        /// The piece; without one, says what the CPU can do.
        piece: Option<Piece>,
        /// How many of it.
        #[arg(long, default_value_t = 1)]
        times: usize,
    },
    /// One end of a comparison: started by it, not by hand.
    #[command(hide = true)]
    Peer,
    /// One part in a siege: started by it, not by hand.
    #[command(hide = true)]
    SiegeChild,
}

#[derive(Debug, Args)]
struct CompareArgs {
    /// Rounds, in each of which every contestant takes its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Milliseconds that each contestant moves frames in each round.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    millis: u64,
    #[command(flatten)]
    output: Output,
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

#[derive(Debug, Args)]
struct SiegeArgs {
    /// Milliseconds to measure before each attack, and again after it.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    quiet_millis: u64,
    /// Milliseconds to measure under each attack; more if it takes more to open its connections.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    attack_millis: u64,
    /// How many connections a second the largest attacks open.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    per_second: u32,
    /// Write every number to this file as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Only these attacks, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Only against these, separated by commas: ringseal, shared-cap.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    against: Vec<Against>,
    /// A few attacks of few connections for a moment: shows that everything runs, measures nothing.
    #[arg(long, conflicts_with_all = ["quiet_millis", "attack_millis"])]
    quick: bool,
}

/// What a quick siege runs.
const QUICK: [&str; 3] = ["silent-300", "replayed-hello", "resets"];

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
        Command::Scale { scale, output } => {
            output.write(&scale.run()?, growth::write).map(|()| ExitCode::SUCCESS)
        }
        Command::Page(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Dudect { samples } => {
            let constant = dudect::run(samples)?;
            Ok(if constant { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Siege(args) => besiege(&args),
        Command::SiegeChild => siege::run_child().map(|()| ExitCode::SUCCESS),
        Command::Instructions { file, write } => {
            count::check(&file, write).map(|()| ExitCode::SUCCESS)
        }
        Command::Count { piece: Some(piece), times } => {
            count::work(piece, times).map(|()| ExitCode::SUCCESS)
        }
        Command::Count { piece: None, .. } => {
            println!("cpu: {}", count::cpu());
            Ok(ExitCode::SUCCESS)
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
    let mut report = compare::run(&plan)?;
    if !plan.syscalls {
        report.notes.push("syscalls: not measured (--syscalls counts them)".to_owned());
    }
    args.output.write(&report, plot::write)?;
    complete(&plan, &report)
}

fn besiege(args: &SiegeArgs) -> Result<ExitCode> {
    let plan = siege::Plan {
        attacks: attacks(args)?,
        against: if args.against.is_empty() { Against::ALL.to_vec() } else { args.against.clone() },
        quiet: Duration::from_millis(if args.quick { 200 } else { args.quiet_millis }),
        attack: Duration::from_millis(if args.quick { 200 } else { args.attack_millis }),
    };
    let report = siege::run(&plan)?;
    print!("{report}");
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report.rows)?;
        std::fs::write(file, text + "\n").with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &args.markdown {
        std::fs::write(file, report.to_string()).with_context(|| file.display().to_string())?;
    }
    let held = if args.quick { report.ran() } else { report.held() };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn attacks(args: &SiegeArgs) -> Result<Vec<Attack>> {
    let attacks = match (args.only.is_empty(), args.quick) {
        (true, false) => siege::all(args.per_second),
        (true, true) => Attack::named(&QUICK, args.per_second)?,
        (false, _) => Attack::named(&args.only, args.per_second)?,
    };
    let small = |attack: Attack| if args.quick { attack.small() } else { attack };
    Ok(attacks.into_iter().map(small).collect())
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
