//! The `ringseal` binary as its users meet it: real processes, real sockets, real signals.

mod audit;
mod bad_config;
mod book;
mod browser;
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
mod packaging;
mod page;
mod plain;
mod policies;
mod ports;
mod prometheus;
mod reasons;
mod rollout;
mod secrets;
mod signals;
mod top;
