//! The `ringseal` binary as its users meet it: real processes, real sockets, real signals.

mod audit;
mod bad_config;
mod browser;
mod child;
mod cluster;
mod commands;
mod demo;
mod echo;
mod environment;
mod http;
mod node;
mod packaging;
mod page;
mod policies;
mod ports;
mod prometheus;
mod reasons;
mod secrets;
mod signals;
mod top;
