//! The configuration as it will be used, for people to read.

use std::fmt;

use super::error::Key;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File,
    Variable(String),
}

impl Origin {
    pub(super) fn variable(&self) -> Option<String> {
        match self {
            Self::Variable(name) => Some(name.clone()),
            Self::Default | Self::File => None,
        }
    }
}

impl From<Key> for Origin {
    fn from(key: Key) -> Self {
        key.variable.map_or(Self::File, Self::Variable)
    }
}

/// One key of the effective configuration.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) toml: String,
    pub(super) origin: Origin,
    pub(super) note: Option<String>,
}

impl Entry {
    /// The table that the key is in, and the key.
    fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }
}

/// Everything a node runs with, defaults included and secrets redacted. Displays as TOML, with a
/// comment wherever a value is not the file's.
#[derive(Clone, Debug)]
pub struct Effective(pub(super) Vec<Entry>);

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tables: Vec<&str> = Vec::new();
        for entry in &self.0 {
            let (table, _) = entry.split();
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
        for (at, table) in tables.into_iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            match table.rsplit_once('[') {
                Some((array, _)) => writeln!(f, "{gap}[[{array}]]")?,
                None => writeln!(f, "{gap}[{table}]")?,
            }
            for entry in self.0.iter().filter(|entry| entry.split().0 == table) {
                write_entry(f, entry)?;
            }
        }
        Ok(())
    }
}

fn write_entry(f: &mut fmt::Formatter<'_>, entry: &Entry) -> fmt::Result {
    let line = format!("{} = {}", entry.split().1, entry.toml);
    let from = entry.origin.variable().map(|name| format!("from {name}"));
    let comments: Vec<String> = from.into_iter().chain(entry.note.clone()).collect();
    if comments.is_empty() {
        return writeln!(f, "{line}");
    }
    writeln!(f, "{line:<33} # {}", comments.join("; "))
}
