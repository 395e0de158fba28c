//! The `ringseal` binary as its users meet it: real processes, real sockets, real signals.

mod bad_config;
mod child;
mod cluster;
mod commands;
mod demo;
mod descriptors;
mod echo;
mod environment;
mod flood;
mod http;
mod node;
mod plain;
mod policies;
mod ports;
mod rollout;
mod secrets;
mod signals;
