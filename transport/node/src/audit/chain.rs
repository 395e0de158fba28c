//! The rule that makes lines a chain.

use std::fmt;

use blake3::{Hash, Hasher};

use super::line::{GENESIS, Parsed, WINDOW};

/// What is known of a chain after some of its lines.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// How many lines of the present file were taken, whole or not.
    line: u64,
    /// How many lines were whole, over all files.
    whole: u64,
    cuts: u64,
    /// What the first line names as the one before it.
    before: Option<Hash>,
    last: Option<Hash>,
    /// The bytes since the last whole line, if there are any, and the first line of them.
    remnant: Option<Remnant>,
}

#[derive(Clone, Debug)]
struct Remnant {
    line: u64,
    bytes: u64,
    hash: Hasher,
}

/// The first line that breaks a chain, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line that is not one of ours, and no mark of a cut below it.
    #[error("line {line} is broken: it is not a line of an audit log, and no cut is marked there")]
    NoLine {
        /// Its number, from 1.
        line: u64,
    },
    /// A line that does not continue the one before.
    #[error(
        "line {line} is broken: it does not follow the line before, so one of the two has been \
         altered, or lines between them are gone"
    )]
    NoSuccessor {
        /// Its number, from 1.
        line: u64,
    },
    /// A mark of a cut that names other bytes than those above it.
    #[error("line {line} is broken: it marks a cut, but not of what stands above it")]
    WrongCut {
        /// Its number, from 1.
        line: u64,
    },
    /// The file ends within a line.
    #[error(
        "line {line} is broken: the file ends within it, as after a crash; a node that starts on it \
         marks the cut and goes on"
    )]
    CutOff {
        /// Its number, from 1.
        line: u64,
    },
}

impl Chain {
    /// Takes the next line, with its end if it has one.
    ///
    /// # Errors
    ///
    /// [`Broken`] when it does not continue the chain.
    pub fn take(&mut self, line: &[u8]) -> Result<(), Broken> {
        self.line += 1;
        let number = self.line;
        let Some(text) = line.strip_suffix(b"\n") else {
            let too_long = line.len() >= WINDOW;
            let (no_line, cut_off) =
                (Broken::NoLine { line: number }, Broken::CutOff { line: number });
            return Err(if too_long { no_line } else { cut_off });
        };
        let Some(parsed) = Parsed::new(text) else {
            let new = || Remnant { line: number, bytes: 0, hash: Hasher::new() };
            let remnant = self.remnant.get_or_insert_with(new);
            remnant.bytes += line.len() as u64;
            remnant.hash.update(line);
            return Ok(());
        };
        let expected = self.remnant.take();
        match (parsed.cut, expected) {
            (None, Some(remnant)) => return Err(Broken::NoLine { line: remnant.line }),
            (Some((bytes, hash)), expected) => {
                let found = expected.map_or_else(
                    || (0, Hasher::new().finalize()),
                    |remnant| (remnant.bytes, remnant.hash.finalize()),
                );
                if found != (bytes, hash) {
                    return Err(Broken::WrongCut { line: number });
                }
                self.cuts += 1;
            }
            (None, None) => {}
        }
        self.before.get_or_insert(parsed.prev);
        if self.last.is_some_and(|last| last != parsed.prev) {
            return Err(Broken::NoSuccessor { line: number });
        }
        self.whole += 1;
        self.last = Some(blake3::hash(text));
        Ok(())
    }

    /// Ends a file; the next one must go on where it ends.
    ///
    /// # Errors
    ///
    /// [`Broken`] when what stands at its end is no line and marked by none.
    pub fn end_file(&mut self) -> Result<(), Broken> {
        self.line = 0;
        match self.remnant.take() {
            Some(remnant) => Err(Broken::NoLine { line: remnant.line }),
            None => Ok(()),
        }
    }

    /// How many whole lines there were, over all files.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.whole
    }

    /// How many cuts were marked.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// The hash of the line that comes before the first, unless the first begins the chain.
    fn before(&self) -> Option<Hash> {
        self.before.filter(|before| *before != GENESIS)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = self.last else { return writeln!(f, "0 lines") };
        writeln!(f, "{} lines, each follows the one before", self.whole)?;
        if self.cuts > 0 {
            writeln!(f, "{} cuts by a crash, each marked", self.cuts)?;
        }
        match self.before() {
            Some(before) => writeln!(f, "the first line follows {before}")?,
            None => writeln!(f, "the first line begins the log")?,
        }
        writeln!(f, "the last line is {last}")
    }
}
