//! The reference of all keys, as the book prints it: what the parser asks for, with what each key may
//! hold and its default, and a sentence about each.

use std::fmt::Write;

use super::effective::{Entry, Origin};
use super::error::ConfigError;
use super::leaf::{Leaf, Size};
use super::reader::{Sources, variable_of};
use super::{Draft, parse};

/// A configuration in which every table is present and every key that has a default is left out.
const SMALLEST: &str = r#"
[cluster]
name = "orders"
replica = 0
replicas = [{ id = 0, address = "127.0.0.1:7000" }]
auth.shared_secret = "................................"
[http]
listen = "127.0.0.1:9600"
[audit]
file = "audit.jsonl"
"#;

/// What becomes of a key that has changed when the configuration is read again.
#[derive(Clone, Copy, Debug)]
enum Reload {
    Takes,
    Refuses,
    /// Everything else changes, and a warning says that this waits for a restart.
    Waits,
}

use Reload::{Refuses, Takes, Waits};

/// What each key is for.
const KEYS: [(&str, Reload, &str); 27] = [
    (
        "cluster.name",
        Refuses,
        "The cluster's name, the same on every node. It is hashed as UTF-8, not normalised.",
    ),
    ("cluster.replica", Refuses, "This node's id."),
    (
        "cluster.replicas",
        Takes,
        "Every replica, this one included, the same list on every node. Ids need not be dense. A DNS name is \
         resolved anew at each dial. This node's own address is also where it listens, unless `cluster.listen` \
         says otherwise, and changes only by a restart.",
    ),
    (
        "cluster.listen",
        Refuses,
        "Where to listen, if that differs from the address that the others dial.",
    ),
    (
        "cluster.auth.enabled",
        Takes,
        "Whether peers must prove that they hold the secret. The table `[cluster.auth]` must be there: \
         running without authentication is something to say, not to forget.",
    ),
    (
        "cluster.auth.enforcement",
        Takes,
        "`soft` admits what `enforce` would refuse, and counts it: a step on the way \
         [to authentication](turn-authentication-on.md), not a mode to stay in.",
    ),
    (
        "cluster.auth.shared_secret",
        Takes,
        "The secret itself. A file is better: environments and configurations are shown more often.",
    ),
    (
        "cluster.auth.shared_secret_file",
        Takes,
        "The file that holds the secret, as `ringseal keygen --out` makes it. A relative path starts at the \
         configuration's directory; one newline at the end is not part of the secret.",
    ),
    (
        "cluster.auth.previous_shared_secret",
        Takes,
        "Another secret that is accepted and never signed with, [while the secret is rotated](rotate-the-secret.md).",
    ),
    ("cluster.auth.previous_shared_secret_file", Takes, "The same from a file."),
    (
        "cluster.auth.transcript",
        Takes,
        "Which form of the handshake the cluster speaks; `pr3425` is the older one.",
    ),
    (
        "cluster.auth.retired_links",
        Takes,
        "What becomes of links that were made with a secret which a reload has removed: made anew one at a \
         time, or kept until they end by themselves.",
    ),
    (
        "cluster.auth.safe_after",
        Takes,
        "How long no peer may have needed leniency before `safe_to_enforce` is said.",
    ),
    (
        "bus.shards",
        Refuses,
        "How many threads carry links, each on a core of its own; 0 is one per core.",
    ),
    (
        "bus.max_message_size",
        Takes,
        "The largest frame, header included; the same on every node. A link that is up keeps the size it receives by.",
    ),
    ("bus.outbox_frames", Takes, "How many frames may wait for one peer."),
    (
        "bus.outbox_bytes",
        Takes,
        "How many bytes may wait for one peer, at least `max_message_size`, to which the default rises.",
    ),
    (
        "bus.receive_budget",
        Takes,
        "How much received memory the handler of one shard may hold before its links stop reading, at least \
         `max_message_size`, to which the default rises.",
    ),
    (
        "bus.spin",
        Refuses,
        "How long a shard that has nothing to do spins before it sleeps: latency for CPU time.",
    ),
    ("bus.handshake_grace", Takes, "How long the whole handshake may take."),
    (
        "bus.hello_grace",
        Takes,
        "How long a stranger may be silent before its first frame, at most `handshake_grace`.",
    ),
    ("bus.reconnect_period", Takes, "The longest wait between two dials of one peer."),
    (
        "bus.preauth_connections",
        Takes,
        "How many connections may wait for their handshake on each shard.",
    ),
    (
        "node.handler",
        Waits,
        "What becomes of received frames: `sink` lets them go, `echo` sends each back and pauses the link while \
         its outbox is full.",
    ),
    ("http.listen", Waits, "Where HTTP is served; leave out the table `[http]` for none."),
    (
        "audit.file",
        Waits,
        "Where the [audit log](audit.md) goes; leave out the table `[audit]` for none.",
    ),
    ("audit.max_size", Waits, "How large the file may become before a new one is begun."),
];

/// Every key as Markdown, table by table.
///
/// # Errors
///
/// None as long as the parser and this page agree, which a test asks for.
pub fn reference() -> Result<String, ConfigError> {
    let mut sources = Sources::new::<String, String>([])?;
    Draft::take(SMALLEST.parse().unwrap_or_default(), &mut sources)?;
    let mut page = String::new();
    let mut table = "";
    for (path, allowed) in &sources.asked {
        let (of, _) = path.rsplit_once('.').unwrap_or_default();
        if of != table {
            let _ = writeln!(page, "### `[{of}]`\n");
            table = of;
        }
        let entry = sources.entries.iter().find(|entry| entry.path == *path);
        write_key(&mut page, path, allowed, entry);
    }
    Ok(page)
}

fn write_key(page: &mut String, path: &str, allowed: &str, entry: Option<&Entry>) {
    let default = match entry {
        None => "none".to_owned(),
        Some(entry) if entry.origin != Origin::Default => "none, it must be set".to_owned(),
        Some(Entry { note: Some(note), .. }) if note != "default" => note.clone(),
        Some(entry) => format!("`{}`", entry.toml),
    };
    // What the smallest configuration sets need not be set where its table may be left out or it has another form.
    let default = match path {
        "cluster.replicas" => "none, it must be set".to_owned(),
        "cluster.auth.shared_secret" | "http.listen" | "audit.file" => "none".to_owned(),
        _ => default,
    };
    let known = KEYS.iter().find(|(key, ..)| *key == path);
    let (_, reload, meaning) = known.copied().unwrap_or((path, Refuses, "Not described."));
    let reload = match reload {
        Takes => "takes it",
        Refuses => "changes nothing at all: it takes a restart",
        Waits => "leaves it for a restart",
    };
    let range = range(path).map(|range| format!("; {range}")).unwrap_or_default();
    let variable = variable_of(path);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "#### `{path}`\n\n{meaning}\n\n\
         | may be | default | a reload | variable |\n|---|---|---|---|\n\
         | {allowed}{range} | {default} | {reload} | `{variable}` |\n\n"
    );
}

/// The range of a key, from the error about a value that is far out of it; the other keys have their
/// defaults.
fn range(path: &str) -> Option<String> {
    let huge = [i64::MAX.to_string(), "1000000000s".to_owned()];
    let refusals = huge.into_iter().filter_map(|huge| {
        match parse(SMALLEST, [(variable_of(path), huge)]).err()? {
            ConfigError::Value { key, allowed, .. } if key.path == path => Some(allowed),
            _ => None,
        }
    });
    let mut ranges = refusals.filter_map(|allowed| {
        let (least, most) = allowed.split_once(" to ")?;
        let sizes = path.ends_with("_bytes") || path.ends_with("_size") || path.ends_with("budget");
        let size =
            |bytes: &str| bytes.parse().ok().filter(|_| sizes).map(|bytes| Size(bytes).to_toml());
        let (least, most) =
            (size(least).unwrap_or(least.to_owned()), size(most).unwrap_or(most.to_owned()));
        (!allowed.starts_with("a whole")).then(|| format!("{least} to {most}"))
    });
    ranges.next()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_is_described_and_no_other() {
        let page = reference().expect("the smallest configuration is right");
        let asked = page.lines().filter_map(|line| line.strip_prefix("#### `")?.strip_suffix('`'));
        let described: BTreeSet<&str> = KEYS.iter().map(|(key, ..)| *key).collect();
        assert_eq!(asked.collect::<BTreeSet<_>>(), described);
        assert_eq!(described.len(), KEYS.len());
    }
}
