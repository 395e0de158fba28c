//! The inside of the `ringseal` binary: a replica to run, a demo, and tools.

#![forbid(unsafe_code)]

pub mod audit;
pub mod cli;
pub mod config;
pub mod demo;
pub mod echo;
pub mod http;
pub mod keygen;
pub mod logging;
pub mod manual;
pub mod metrics;
pub mod node;
pub mod page;
pub mod probe;
pub mod status;
pub mod top;
pub mod units;
