//! The keys of the configuration: their names, their defaults and what they become.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ringseal::{
    Address, Auth, Config, Enforcement, KeyRing, Limits, ReplicaId, RetiredLinks, Roster,
    Transcript,
};
use toml::Table;

use super::advice::{self, Addresses};
use super::effective::{Effective, Entry};
use super::error::{ConfigError, Key};
use super::leaf::{Count, FilePath, Leaf, Size, Span, Text};
use super::reader::{Reader, Sources};
use super::secret::{Found, Redacted, Source};
use super::{Audit, HandlerKind, Settings};

/// A configuration that is right as far as can be said without opening any other file.
#[derive(Debug)]
pub struct Draft {
    cluster: Cluster,
    bus: Bus,
    handler: HandlerKind,
    http: Option<Address>,
    audit: Option<Audit>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Cluster {
    name: String,
    replica: ReplicaId,
    replicas: Vec<(ReplicaId, Address)>,
    listen: Option<Address>,
    auth: AuthDraft,
}

#[derive(Debug)]
struct AuthDraft {
    enabled: bool,
    enforcement: Enforcement,
    transcript: Transcript,
    retired_links: RetiredLinks,
    safe_after: Duration,
    current: Option<Source>,
    previous: Option<Source>,
}

#[derive(Debug)]
struct Bus {
    limits: Limits,
    shards: u64,
    spin: std::time::Duration,
}

impl Draft {
    /// Reads every key there is; one that is left over in the file or the environment is an error.
    pub(super) fn read(table: Table, mut sources: Sources) -> Result<Self, ConfigError> {
        let mut draft = Self::take(table, &mut sources)?;
        draft.entries = sources.finish()?;
        draft.config(Auth::Off)?;
        draft.addresses().check(|path| draft.key(path))?;
        Ok(draft)
    }

    /// Asks for every key, and checks no more than each by itself.
    pub(super) fn take(table: Table, sources: &mut Sources) -> Result<Self, ConfigError> {
        let mut root = Reader::root(table, sources);
        let cluster = cluster(root.section("cluster")?)?;
        let bus = bus(root.section("bus")?)?;
        let mut node = root.section("node")?;
        let handler = node.take_or("handler", HandlerKind::Sink)?;
        node.finish()?;
        let http = http(root.section("http")?)?;
        let audit = audit(root.section("audit")?)?;
        root.finish()?;
        Ok(Self { cluster, bus, handler, http, audit, entries: Vec::new() })
    }

    /// Fetches the secrets and makes of everything what a node runs with. A relative path starts at
    /// `base`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a secret's file cannot be read or holds too little.
    pub fn complete(mut self, base: &Path) -> Result<Settings, ConfigError> {
        let mut warnings = Vec::new();
        let auth = match &self.cluster.auth {
            AuthDraft { enabled: true, current: Some(current), previous, .. } => {
                let current = note(&mut self.entries, &mut warnings, current.fetch(base)?);
                let previous = previous.as_ref().map(|source| source.fetch(base)).transpose()?;
                let previous = previous.map(|found| note(&mut self.entries, &mut warnings, found));
                let keys = KeyRing::new(&current, previous.as_ref());
                let AuthDraft { enforcement, transcript, .. } = self.cluster.auth;
                Auth::On { keys, enforcement, transcript }
            }
            _ => Auth::Off,
        };
        if matches!(auth, Auth::Off) {
            warnings.push(
                "authentication is off (cluster.auth.enabled = false): whoever reaches the port is \
                 believed"
                    .to_owned(),
            );
        }
        if let Auth::On { enforcement, .. } = &auth {
            warnings.extend(advice::about_enforcement(*enforcement));
        }
        warnings.extend(self.addresses().advice());
        let bus = self.config(auth)?;
        let shards = format!("one per core, {} here", bus.shards());
        if self.bus.shards == 0
            && let Some(entry) = self.entries.iter_mut().find(|entry| entry.path == "bus.shards")
        {
            entry.note = Some(shards);
        }
        Ok(Settings {
            bus,
            cluster: self.cluster.name,
            replicas: self.cluster.replicas,
            handler: self.handler,
            http: self.http,
            audit: self.audit.map(|audit| Audit { file: base.join(audit.file), ..audit }),
            preauth_connections: self.bus.limits.preauth_connections,
            effective: Effective(self.entries),
            warnings,
        })
    }

    fn addresses(&self) -> Addresses<'_> {
        let Cluster { replica, replicas, listen, .. } = &self.cluster;
        let (listen, http) = (listen.as_ref(), self.http.as_ref());
        Addresses { replica: *replica, replicas, listen, http }
    }

    /// The bus's own configuration, which checks every range.
    fn config(&self, auth: Auth) -> Result<Config, ConfigError> {
        let Cluster { name, replica, replicas, listen, .. } = &self.cluster;
        let roster = Roster::new(replicas.iter().cloned()).map_err(|twice| ConfigError::Value {
            key: self.key("cluster.replicas"),
            found: format!("a list with id {} in it twice", twice.id),
            allowed: "a list in which every id stands once".to_owned(),
        })?;
        let shards = usize::try_from(self.bus.shards).unwrap_or(usize::MAX);
        let config = Config::new(name, *replica, roster, auth)
            .and_then(|config| config.with_limits(self.bus.limits))
            .and_then(|config| config.with_shards(shards))
            .and_then(|config| config.with_spin(self.bus.spin))
            .and_then(|config| config.with_safe_after(self.cluster.auth.safe_after))
            .map_err(|error| self.locate(error))?
            .with_retired_links(self.cluster.auth.retired_links);
        Ok(match listen {
            Some(listen) => config.with_listen(listen.clone()),
            None => config,
        })
    }

    /// The bus's complaint about a value, with the value as it was written.
    fn locate(&self, error: ringseal::ConfigError) -> ConfigError {
        let entry = self.entries.iter().find(|entry| entry.path == error.key);
        let found = entry.map_or(error.found, |entry| entry.toml.clone());
        ConfigError::Value { key: self.key(error.key), found, allowed: error.allowed }
    }

    fn key(&self, path: &str) -> Key {
        let entry = self.entries.iter().find(|entry| entry.path.starts_with(path));
        Key { path: path.to_owned(), variable: entry.and_then(|entry| entry.origin.variable()) }
    }
}

/// Takes down what was found out about a secret, and hands over the secret.
fn note(entries: &mut [Entry], warnings: &mut Vec<String>, found: Found) -> ringseal::Secret {
    warnings.extend(found.warning);
    if let Some((key, len)) = found.read
        && let Some(entry) = entries.iter_mut().find(|entry| entry.path == key.path)
    {
        entry.note = Some(format!("{len} bytes"));
    }
    found.secret
}

fn cluster(mut table: Reader<'_>) -> Result<Cluster, ConfigError> {
    const REPLICAS: &str = "an array of tables, one [[cluster.replicas]] with an id and an address \
                            for every replica of the cluster, this one included";
    let Text(name) = table.need("name")?;
    let replica = table.need("replica")?;
    let replicas = table.list("replicas", REPLICAS, |mut item| {
        let id = item.need("id")?;
        let address = item.need("address")?;
        item.finish()?;
        Ok((id, address))
    })?;
    let listen = table.take("listen")?;
    let own = replicas.iter().find(|(id, _)| *id == replica);
    if let (None, Some((_, own))) = (&listen, own) {
        table.assume("listen", own, "our own address");
    }
    let auth = auth(table.section("auth")?)?;
    table.finish()?;
    Ok(Cluster { name, replica, replicas, listen, auth })
}

fn auth(mut table: Reader<'_>) -> Result<AuthDraft, ConfigError> {
    if !table.present() {
        // The keys become known, so that a mistyped variable is told the nearest right one.
        let allowed = "true, with a shared_secret_file or shared_secret beside it, or false to run \
                       without authentication; it stands in the table [cluster.auth]";
        table.take::<bool>("enabled")?;
        return Err(table.missing("enabled", allowed));
    }
    let enabled = table.take_or("enabled", true)?;
    let enforcement = table.take_or("enforcement", Enforcement::default())?;
    let current = secret(&mut table, "shared_secret", "shared_secret_file")?;
    let previous = secret(&mut table, "previous_shared_secret", "previous_shared_secret_file")?;
    let transcript = table.take_or("transcript", Transcript::default())?;
    let retired_links = table.take_or("retired_links", RetiredLinks::Reconnect)?;
    let Span(safe_after) = table.take_or("safe_after", Span(Duration::from_secs(600)))?;
    let missing = table.missing("shared_secret_file", NO_SECRET);
    // A secret that seems to be missing is more often one whose key is mistyped, which this tells.
    table.finish()?;
    if enabled && current.is_none() {
        return Err(missing);
    }
    Ok(AuthDraft { enabled, enforcement, transcript, retired_links, safe_after, current, previous })
}

const NO_SECRET: &str = "the path of a file that holds the cluster's secret (`ringseal keygen --out \
                         cluster.key` makes one), or cluster.auth.shared_secret may hold the secret \
                         itself; without either, cluster.auth.enabled must be false";

/// A secret in either of its two forms.
fn secret(
    table: &mut Reader<'_>,
    inline: &'static str,
    file: &'static str,
) -> Result<Option<Source>, ConfigError> {
    let text = table.take::<Redacted>(inline)?;
    let path = table.take::<FilePath>(file)?;
    match (text, path) {
        (Some(_), Some(_)) => {
            Err(ConfigError::Conflict { first: table.key(inline), second: table.key(file) })
        }
        (Some(text), None) => Source::inline(table.key(inline), text).map(Some),
        (None, Some(FilePath(path))) => Ok(Some(Source::file(table.key(file), path))),
        (None, None) => Ok(None),
    }
}

fn bus(mut table: Reader<'_>) -> Result<Bus, ConfigError> {
    let default = Limits::default();
    let Count(shards) = table.take_or("shards", Count(0))?;
    let message = table.take_or("max_message_size", Size(default.max_message_size.into()))?;
    let frames = table.take_or("outbox_frames", Count(default.outbox_frames.into()))?;
    // Both have to hold one frame at least, so they grow with it unless they are set.
    let bytes = Size(default.outbox_bytes.max(message.0));
    let bytes = table.take_or("outbox_bytes", bytes)?;
    let budget = Size(default.receive_budget.max(message.0));
    let budget = table.take_or("receive_budget", budget)?;
    let Span(spin) = table.take_or("spin", Span(Duration::ZERO))?;
    let handshake = table.take_or("handshake_grace", Span(default.handshake_grace))?;
    let hello = table.take_or("hello_grace", Span(default.hello_grace))?;
    let reconnect = table.take_or("reconnect_period", Span(default.reconnect_period))?;
    let waiting = Count(default.preauth_connections.try_into().unwrap_or(u64::MAX));
    let waiting = table.take_or("preauth_connections", waiting)?;
    table.finish()?;
    // Whatever does not fit is out of the bus's ranges, whose check follows.
    let limits = Limits {
        max_message_size: message.0.try_into().unwrap_or(u32::MAX),
        outbox_frames: frames.0.try_into().unwrap_or(u32::MAX),
        outbox_bytes: bytes.0,
        receive_budget: budget.0,
        handshake_grace: handshake.0,
        hello_grace: hello.0,
        reconnect_period: reconnect.0,
        preauth_connections: waiting.0.try_into().unwrap_or(usize::MAX),
    };
    Ok(Bus { limits, shards, spin })
}

fn http(mut table: Reader<'_>) -> Result<Option<Address>, ConfigError> {
    let listen = table.take::<Address>("listen")?;
    if table.present() && listen.is_none() {
        return Err(table.missing("listen", Address::ALLOWED));
    }
    table.finish()?;
    Ok(listen)
}

fn audit(mut table: Reader<'_>) -> Result<Option<Audit>, ConfigError> {
    let file = table.take::<FilePath>("file")?;
    if !table.present() {
        // The environment may still hold the key under a wrong name.
        table.take::<Size>("max_size")?;
        return Ok(None);
    }
    let Some(FilePath(file)) = file else {
        return Err(table.missing("file", FilePath::ALLOWED));
    };
    let Size(max_size) = table.take_or("max_size", Size(64 << 20))?;
    if !AUDIT_SIZES.contains(&max_size) {
        return Err(ConfigError::Value {
            key: table.key("max_size"),
            found: Size(max_size).to_toml(),
            allowed: "\"4KiB\" to \"1TiB\"".to_owned(),
        });
    }
    table.finish()?;
    Ok(Some(Audit { file: PathBuf::from(&file), max_size }))
}

const AUDIT_SIZES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 40;
