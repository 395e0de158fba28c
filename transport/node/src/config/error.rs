//! What can be wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A configuration that cannot be used: which key, what it holds, what it may hold.
///
/// No error shows what a secret holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// The text is no TOML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A key holds what it may not.
    #[error("{key} is {found}; it may be {allowed}")]
    Value {
        /// The key.
        key: Key,
        /// What it holds.
        found: String,
        /// What it may hold.
        allowed: String,
    },
    /// A key that is needed is not there.
    #[error("{key} is missing; it may be {allowed}")]
    Missing {
        /// The key.
        key: Key,
        /// What it may hold.
        allowed: String,
    },
    /// Two keys are given of which there may be one.
    #[error("{first} and {second} are both given; only one of the two may be")]
    Conflict {
        /// One of the keys.
        first: Key,
        /// The other.
        second: Key,
    },
    /// A key that means nothing.
    #[error("{key} is not a known key; its table may hold {allowed}")]
    UnknownKey {
        /// The key.
        key: Key,
        /// The keys of its table.
        allowed: String,
    },
    /// A variable of ours that names no key.
    #[error(
        "the environment variable {name} names no key; the nearest that does is {nearest} \
         (a key's path in capitals, joined by two underscores)"
    )]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The known variable that begins most like it.
        nearest: String,
    },
    /// A variable that is not text.
    #[error("the environment variable {name} is not UTF-8; it may be any UTF-8 text")]
    NotText {
        /// The variable.
        name: String,
    },
    /// A secret is too short to keep anything.
    #[error(
        "{key} holds {len} bytes; it may hold {least} or more, best made by `ringseal keygen`",
        least = ringseal::Secret::MIN_LEN
    )]
    ShortSecret {
        /// The key that holds or names the secret.
        key: Key,
        /// Its length.
        len: usize,
    },
    /// A secret's file cannot be used.
    #[error(
        "{key} names {}, which cannot be used: {source}; it may name a file that holds {least} to \
         {most} bytes, as `ringseal keygen --out` writes it",
        path.display(),
        least = ringseal::Secret::MIN_LEN,
        most = super::secret::MAX_LEN
    )]
    SecretFile {
        /// The key.
        key: Key,
        /// The file as it was looked for.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl ConfigError {
    /// The path of the key at fault, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Value { key, .. }
            | Self::Missing { key, .. }
            | Self::UnknownKey { key, .. }
            | Self::Conflict { first: key, .. }
            | Self::ShortSecret { key, .. }
            | Self::SecretFile { key, .. } => Some(&key.path),
            Self::Unreadable(_)
            | Self::Syntax { .. }
            | Self::UnknownVariable { .. }
            | Self::NotText { .. } => None,
        }
    }
}

/// A [`ConfigError`] and the file it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", file.display())]
pub struct LoadError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub source: Box<ConfigError>,
}

/// A key by its path, and the environment variable that set it, if one did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The path as the file spells it, such as `bus.shards`.
    pub path: String,
    /// The variable, such as `RINGSEAL_BUS__SHARDS`.
    pub variable: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.variable {
            Some(variable) => write!(f, " (set by {variable})"),
            None => Ok(()),
        }
    }
}
