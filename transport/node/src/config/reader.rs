//! Reads keys one by one from a TOML table with the environment laid over it.
//!
//! A key is named once, where it is read: that makes it known to the file and to the environment,
//! and puts it into the effective configuration. What nobody has asked for by the end is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;

use toml::{Table, Value};

use super::effective::{Entry, Origin};
use super::error::{ConfigError, Key};
use super::leaf::{Leaf, describe};

const PREFIX: &str = "RINGSEAL_";

/// What stands beside the file, and what has been found in both so far.
#[derive(Debug)]
pub(super) struct Sources {
    variables: BTreeMap<String, String>,
    /// Every key that was asked for, with what it may hold.
    pub(super) asked: Vec<(String, String)>,
    pub(super) entries: Vec<Entry>,
}

impl Sources {
    /// Picks out the variables that are ours.
    pub(super) fn new<K, V>(
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut variables = BTreeMap::new();
        for (name, value) in environment {
            let name = name.into().to_string_lossy().into_owned();
            if !name.starts_with(PREFIX) {
                continue;
            }
            match value.into().into_string() {
                Ok(value) => variables.insert(name, value),
                Err(_) => return Err(ConfigError::NotText { name: plain(&name) }),
            };
        }
        Ok(Self { variables, asked: Vec::new(), entries: Vec::new() })
    }

    /// Everything that was read, once nothing is left over.
    pub(super) fn finish(self) -> Result<Vec<Entry>, ConfigError> {
        let Some(name) = self.variables.keys().next() else { return Ok(self.entries) };
        let alike = |known: &&String| {
            known.bytes().zip(name.bytes()).take_while(|(known, given)| known == given).count()
        };
        let mut known: Vec<_> = self.asked.iter().map(|(path, _)| variable_of(path)).collect();
        known.sort();
        let nearest = known.iter().max_by_key(alike).cloned().unwrap_or_default();
        Err(ConfigError::UnknownVariable { name: plain(name), nearest })
    }
}

/// A name from outside, without anything that a terminal would take for a command.
fn plain(name: &str) -> String {
    name.chars().take(120).flat_map(char::escape_debug).collect()
}

/// One table of the configuration.
#[derive(Debug)]
pub(super) struct Reader<'s> {
    sources: &'s mut Sources,
    path: String,
    table: Table,
    present: bool,
    /// The variable that this table came from, when it is part of a larger value.
    whole: Option<Origin>,
    known: Vec<&'static str>,
}

impl<'s> Reader<'s> {
    /// The table that all others are in.
    pub(super) fn root(table: Table, sources: &'s mut Sources) -> Self {
        Self { sources, path: String::new(), table, present: true, whole: None, known: Vec::new() }
    }

    /// A table within this one. It can be read from even if it is absent: the environment may have
    /// its keys, and they may have defaults.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Reader<'_>, ConfigError> {
        let path = self.path_of(key);
        self.known.push(key);
        let (table, mut present) = match self.table.remove(key) {
            Some(Value::Table(table)) => (table, true),
            None => (Table::new(), false),
            Some(other) => {
                let allowed = format!("a table of keys, written [{path}]");
                return Err(ConfigError::Value {
                    key: self.key(key),
                    found: kind(&other),
                    allowed,
                });
            }
        };
        let prefix = format!("{}__", variable_of(&path));
        present |= self.sources.variables.keys().any(|name| name.starts_with(&prefix));
        let whole = self.whole.clone();
        Ok(Reader { sources: self.sources, path, table, present, whole, known: Vec::new() })
    }

    /// An array of tables: from the file, or as one value from the environment.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        mut read: impl FnMut(Reader<'_>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let path = self.path_of(key);
        let (value, whole) = match self.raw(key, allowed) {
            (Some(Given::Text(text)), key) => {
                let value = array(&text);
                let wrong = ConfigError::Value {
                    key: key.clone(),
                    found: describe(&Value::String(text)),
                    allowed: allowed.to_owned(),
                };
                (Some(value.ok_or(wrong)?), Origin::from(key))
            }
            (Some(Given::Value(value)), key) => (Some(value), Origin::from(key)),
            (None, _) => (None, Origin::File),
        };
        let key = Key { path: path.clone(), variable: whole.variable() };
        let allowed = allowed.to_owned();
        let items = match value {
            Some(Value::Array(items)) if !items.is_empty() => items,
            None | Some(Value::Array(_)) => return Err(ConfigError::Missing { key, allowed }),
            Some(other) => {
                return Err(ConfigError::Value { key, found: describe(&other), allowed });
            }
        };
        let mut list = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Value::Table(table) = item else {
                let key = Key { path, variable: key.variable };
                return Err(ConfigError::Value { key, found: describe(&item), allowed });
            };
            let whole = Some(whole.clone());
            let sources = &mut *self.sources;
            list.push(read(Reader { sources, path, table, present: true, whole, known: vec![] })?);
        }
        Ok(list)
    }

    /// Whether the file has this table or the environment one of its keys.
    pub(super) fn present(&self) -> bool {
        self.present
    }

    /// The value of a key, and where it came from, if it is given.
    pub(super) fn take<T: Leaf>(&mut self, key: &'static str) -> Result<Option<T>, ConfigError> {
        let (given, key) = self.raw(key, T::ALLOWED);
        let Some(given) = given else { return Ok(None) };
        let value = match &given {
            Given::Value(value) => T::from_value(value),
            Given::Text(text) => T::from_text(text),
        };
        let Some(value) = value else {
            let found = match given {
                Given::Value(value) => T::found(&value),
                Given::Text(text) => T::found(&Value::String(text)),
            };
            return Err(ConfigError::Value { key, found, allowed: T::ALLOWED.to_owned() });
        };
        let (toml, path) = (value.to_toml(), key.path.clone());
        self.sources.entries.push(Entry { path, toml, origin: key.into(), note: None });
        Ok(Some(value))
    }

    /// The value of a key that may be left out.
    pub(super) fn take_or<T: Leaf>(
        &mut self,
        key: &'static str,
        default: T,
    ) -> Result<T, ConfigError> {
        if let Some(value) = self.take(key)? {
            return Ok(value);
        }
        self.assume(key, &default, "default");
        Ok(default)
    }

    /// The value of a key that must be given.
    pub(super) fn need<T: Leaf>(&mut self, key: &'static str) -> Result<T, ConfigError> {
        let value = self.take(key)?;
        value.ok_or_else(|| self.missing(key, T::ALLOWED))
    }

    /// Puts a value that was not given into the effective configuration.
    pub(super) fn assume<T: Leaf>(&mut self, key: &'static str, value: &T, note: &str) {
        let (path, toml) = (self.path_of(key), value.to_toml());
        let note = Some(note.to_owned());
        self.sources.entries.push(Entry { path, toml, origin: Origin::Default, note });
    }

    /// The error for a key that is not there.
    pub(super) fn missing(&self, key: &str, allowed: &str) -> ConfigError {
        ConfigError::Missing { key: self.key(key), allowed: allowed.to_owned() }
    }

    /// A key of this table, with where its value came from if it has been read.
    pub(super) fn key(&self, key: &str) -> Key {
        let path = self.path_of(key);
        let entry = self.sources.entries.iter().find(|entry| entry.path == path);
        let variable = entry.and_then(|entry| entry.origin.variable());
        Key { path, variable }
    }

    /// Ends the table: a key that nobody has asked for is an error.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let variable = self.whole.as_ref().and_then(Origin::variable);
        let key = Key { path: self.path_of(&plain(key)), variable };
        Err(ConfigError::UnknownKey { key, allowed: self.known.join(", ") })
    }

    /// What is given for a key; the environment wins.
    fn raw(&mut self, key: &'static str, allowed: &str) -> (Option<Given>, Key) {
        self.known.push(key);
        let path = self.path_of(key);
        let value = self.table.remove(key).map(Given::Value);
        if let Some(whole) = &self.whole {
            return (value, Key { path, variable: whole.variable() });
        }
        let variable = variable_of(&path);
        let text = self.sources.variables.remove(&variable).map(Given::Text);
        self.sources.asked.push((path.clone(), allowed.to_owned()));
        let variable = text.is_some().then_some(variable);
        (text.or(value), Key { path, variable })
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

enum Given {
    Value(Value),
    Text(String),
}

/// The environment variable of a path.
pub(super) fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

/// An array written as an inline TOML value or as JSON.
fn array(text: &str) -> Option<Value> {
    text.parse().ok().or_else(|| serde_json::from_str(text).ok())
}

/// What kind of value this is, without saying what it holds.
fn kind(value: &Value) -> String {
    format!("of type {}", value.type_str())
}
