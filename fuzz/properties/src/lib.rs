//! What must hold for any input.
//!
//! Each function here takes arbitrary bytes and panics if the project breaks one of its promises
//! about them. The fuzz targets call them with what the fuzzer makes up, the ordinary tests with the
//! seeds in `fuzz/seeds`.

#![forbid(unsafe_code)]

mod acceptor;
mod config;
mod deframer;
mod dialer;
mod handshake;
mod header;
mod input;

pub use acceptor::acceptor;
pub use config::config;
pub use deframer::deframer;
pub use dialer::dialer;
pub use header::header;

/// A property of all inputs.
pub type Property = fn(&[u8]);

/// Every property, under the name of its fuzz target and of its directory of seeds.
pub const ALL: [(&str, Property); 5] = [
    ("header", header),
    ("deframer", deframer),
    ("dialer", dialer),
    ("acceptor", acceptor),
    ("config", config),
];
