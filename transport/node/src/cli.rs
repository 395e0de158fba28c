//! The command line: what can be asked for, and how a failure ends the process.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use ringseal::Address;

use crate::config::{self, LoadError, Settings};
use crate::{audit, demo, keygen, manual, node, probe, top};

/// A replica bus: authenticated links between the replicas of a cluster.
#[derive(Debug, Parser)]
#[command(name = "ringseal", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole authenticated cluster on loopback in this process; needs no configuration
    Demo {
        /// How many replicas
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=16))]
        replicas: u8,
        /// How long to carry traffic
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        seconds: u32,
    },
    /// Run one replica until SIGINT or SIGTERM
    Node {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validate a configuration and print it as it will be used, secrets redacted
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a fresh 32-byte secret in hex
    Keygen {
        /// Write it to this new file, readable by its owner alone
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make one handshake with a peer and say how it went
    Probe {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The peer's id; it must be higher than ours, for of two replicas the lower id dials
        #[arg(long, value_name = "ID")]
        peer: u8,
    },
    /// Watch one or more running nodes in the terminal
    Top {
        /// Where a node serves HTTP; may be given for every node of the cluster
        #[arg(long, value_name = "ADDR", required = true)]
        http: Vec<Address>,
    },
    /// Print the man page
    #[command(hide = true)]
    Man,
    /// Print the reference of all configuration keys, as the book has it
    #[command(hide = true)]
    Reference,
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// Whose
        shell: Shell,
    },
    /// Read an audit log
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no line was altered or removed; names the first broken line
    Verify {
        /// The files of one log, in the order in which they were written
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// It failed while running: exit status 1.
    Running(String),
    /// The configuration or the command line is wrong: exit status 2.
    Configuration(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(message) | Self::Configuration(message) => f.write_str(message),
        }
    }
}

impl Failure {
    /// A failure while running.
    pub fn running(error: impl fmt::Display) -> Self {
        Self::Running(error.to_string())
    }

    /// A wrong configuration.
    pub fn configuration(error: impl fmt::Display) -> Self {
        Self::Configuration(error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::configuration(error)
    }
}

/// Does what the arguments ask for. A failure is one line on standard error.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let (message, status) = match execute(arguments.command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Running(message)) => (message, 1),
        Err(Failure::Configuration(message)) => (message, 2),
    };
    complain("error", &message);
    ExitCode::from(status)
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo { replicas, seconds } => demo::run(replicas, seconds),
        Command::Node { config } => node::run(|| load(&config)),
        Command::Check { config } => {
            let settings = load(&config)?;
            for warning in &settings.warnings {
                complain("warning", warning);
            }
            print(&settings.effective)
        }
        Command::Keygen { out } => generate(out.as_deref()),
        Command::Probe { config, peer } => probe::run(&load(&config)?, peer),
        Command::Top { http } => top::run(http),
        Command::Man => write_out(&manual::man().map_err(Failure::running)?),
        Command::Reference => print(config::reference().map_err(Failure::configuration)?),
        Command::Completions { shell } => write_out(&manual::completions(shell)),
        Command::Audit(AuditCommand::Verify { files }) => verify(&files),
    }
}

fn load(file: &Path) -> Result<Settings, Failure> {
    let mut settings = config::load(file, std::env::vars_os())?;
    settings.warnings.extend(config::Machine::here().advice(&settings));
    Ok(settings)
}

fn verify(files: &[PathBuf]) -> Result<(), Failure> {
    let mut chain = audit::Chain::default();
    for path in files {
        let name = path.display();
        let unreadable = |error| Failure::Running(format!("cannot read {name}: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let verified = audit::verify(BufReader::new(file), &mut chain).map_err(unreadable)?;
        verified.map_err(|broken| Failure::Running(format!("{name}: {broken}")))?;
    }
    print(chain)
}

fn generate(out: Option<&Path>) -> Result<(), Failure> {
    let secret = keygen::fresh().map_err(Failure::running)?;
    let Some(file) = out else {
        return print(format_args!("{}\n", secret.as_str()));
    };
    keygen::write(&secret, file).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AlreadyExists => "; an existing file is never overwritten",
            _ => "",
        };
        Failure::Running(format!("cannot write {}: {error}{advice}", file.display()))
    })
}

/// Writes to standard output. A reader that has gone away is no failure of ours.
///
/// # Errors
///
/// Standard output cannot be written to.
pub fn print(text: impl fmt::Display) -> Result<(), Failure> {
    write_out(text.to_string().as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Running(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, as far as there is one.
fn complain(kind: &str, message: &str) {
    let message = message.replace('\n', " ");
    let _ = writeln!(io::stderr().lock(), "ringseal: {kind}: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for line in [
            &["ringseal", "demo", "--replicas", "1"][..],
            &["ringseal", "demo", "--replicas", "17"],
            &["ringseal", "demo", "--seconds", "0"],
            &["ringseal", "probe", "--config", "f", "--peer", "256"],
            &["ringseal", "node"],
            &["ringseal", "top"],
            &["ringseal", "top", "--http", "9600"],
            &["ringseal", "audit", "verify"],
            &["ringseal"],
        ] {
            assert_eq!(Arguments::try_parse_from(line).expect_err("wrong").exit_code(), 2);
        }
    }
}
