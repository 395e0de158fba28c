//! Where wall-clock time and randomness come from.

use std::fmt;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// The outside world as the bus sees it. The default is the system's; a simulation brings its own.
pub trait Environment: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;

    /// Fills `bytes` with randomness fit for nonces.
    ///
    /// # Errors
    ///
    /// The system's error when it has no randomness to give; the handshake at hand then fails.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The system's clock and CSPRNG.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Environment for System {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::from)
    }
}
