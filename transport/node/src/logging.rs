//! Logs: to standard error, filtered by `RUST_LOG`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::cli::Failure;

const VARIABLE: &str = "RUST_LOG";

/// Starts logging, at `default` unless `RUST_LOG` says otherwise.
///
/// # Errors
///
/// `RUST_LOG` is no filter.
pub fn start(default: &str) -> Result<(), Failure> {
    let directives = match std::env::var(VARIABLE) {
        Ok(directives) if !directives.is_empty() => directives,
        _ => default.to_owned(),
    };
    let filter = EnvFilter::builder().parse(&directives).map_err(|error| {
        Failure::Configuration(format!(
            "the environment variable {VARIABLE} is {directives:?} ({error}); it may be a level \
             such as info, or a filter such as ringseal=debug"
        ))
    })?;
    // A second subscriber in one process is refused; the first then goes on, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would tell standard error that standard error takes nothing, and panic over it.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    Ok(())
}
