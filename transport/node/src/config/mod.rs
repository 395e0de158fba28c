//! The configuration: a TOML file with the environment laid over it.
//!
//! Every key can be set by a variable: `RINGSEAL_` and the key's path in capitals, joined by two
//! underscores, as in `RINGSEAL_CLUSTER__AUTH__SHARED_SECRET`. `cluster.replicas` is set whole, as an
//! inline TOML array or as JSON.
//!
//! ```
//! let text = r#"
//!     [cluster]
//!     name = "orders"
//!     replica = 0
//!     replicas = [{ id = 0, address = "127.0.0.1:7000" }]
//!     auth.enabled = false
//! "#;
//! let environment = [("RINGSEAL_BUS__SHARDS", "many")];
//! let error = ringseal_node::config::parse(text, environment).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "bus.shards (set by RINGSEAL_BUS__SHARDS) is \"many\"; it may be a whole number, not negative",
//! );
//! ```

mod advice;
mod draft;
mod effective;
mod error;
mod leaf;
mod reader;
mod reference;
mod secret;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ringseal::{Address, ReplicaId};
use zeroize::Zeroizing;

pub use advice::Machine;
pub use draft::Draft;
pub use effective::Effective;
pub use error::{ConfigError, Key, LoadError};
pub use reference::reference;

use reader::Sources;

/// Everything that `ringseal node` runs with.
#[derive(Debug)]
pub struct Settings {
    /// What the bus is told.
    pub bus: ringseal::Config,
    /// The cluster's name.
    pub cluster: String,
    /// Every replica of the cluster, this one included.
    pub replicas: Vec<(ReplicaId, Address)>,
    /// What becomes of received frames.
    pub handler: HandlerKind,
    /// Where HTTP is served, if it is.
    pub http: Option<Address>,
    /// The audit log, if there is to be one.
    pub audit: Option<Audit>,
    /// How many strangers may wait on each shard.
    pub preauth_connections: usize,
    /// The same, for people to read.
    pub effective: Effective,
    /// What is not wrong but should be known.
    pub warnings: Vec<String>,
}

/// What becomes of received frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// They are let go.
    Sink,
    /// Each goes back to where it came from.
    Echo,
}

impl HandlerKind {
    const ALL: [Self; 2] = [Self::Sink, Self::Echo];

    /// The word that the configuration uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Echo => "echo",
        }
    }
}

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file.
    pub file: PathBuf,
    /// How large it may become before a new one is begun, in bytes.
    pub max_size: u64,
}

/// Reads a configuration from text and environment, opening no other file.
///
/// Of the environment only variables whose names begin with `RINGSEAL_` are looked at.
///
/// # Errors
///
/// [`ConfigError`] naming the first key that is wrong, what it holds and what it may hold.
pub fn parse<K, V>(
    text: &str,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Draft, ConfigError>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let table = text.parse().map_err(|error: toml::de::Error| {
        // The error's own `Display` quotes the line, which may hold a secret.
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Syntax {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        }
    })?;
    Draft::read(table, Sources::new(environment)?)
}

/// Reads a configuration file and the secrets it names. Relative paths start at the file's directory.
///
/// # Errors
///
/// [`LoadError`]: a [`ConfigError`] and the file it is about.
pub fn load<K, V>(
    file: &Path,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<Settings, LoadError>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let base = file.parent().unwrap_or(Path::new(""));
    let settings = std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(ConfigError::Unreadable)
        .and_then(|text| parse(&text, environment))
        .and_then(|draft| draft.complete(base));
    settings.map_err(|error| LoadError { file: file.to_owned(), source: Box::new(error) })
}
