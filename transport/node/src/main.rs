//! The `ringseal` binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use ringseal_node::cli::{Arguments, run};

fn main() -> ExitCode {
    run(Arguments::parse())
}
