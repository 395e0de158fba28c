//! Checks a file against the chain's rule.

use std::io::{self, BufRead, Read};

use super::chain::{Broken, Chain};
use super::line::WINDOW;

/// Takes every line of a file into a chain that may have begun in an earlier one.
///
/// # Errors
///
/// The outer error is of reading, the inner one names the first broken line.
pub fn verify(mut file: impl BufRead, chain: &mut Chain) -> io::Result<Result<(), Broken>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = file.by_ref().take(WINDOW as u64).read_until(b'\n', &mut line)?;
        let taken = if read == 0 { chain.end_file() } else { chain.take(&line) };
        if read == 0 || taken.is_err() {
            return Ok(taken);
        }
    }
}
