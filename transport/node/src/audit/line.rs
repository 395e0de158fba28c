//! One line of the log.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use blake3::Hash;
use ringseal::{Event, Leniency, ReplicaId, Role};
use serde::{Deserialize, Serialize};

/// What stands for the line before in the first line of all.
pub(super) const GENESIS: Hash = Hash::from_bytes([0; 32]);

/// More than any line that we write, in bytes.
pub(super) const MAX_LINE: usize = 4 << 10;

/// How much is looked at at once: a whole line, and what some crashes may have left behind it.
pub(super) const WINDOW: usize = 16 * MAX_LINE;

/// The last time that the format has a form for.
const YEAR_9999: u64 = 253_402_300_799_999;

/// How every line begins.
pub(super) const START: &[u8] = b"{\"time\":\"";

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A node has begun to write here.
    Opened,
    /// The bus has let somebody in or out, or has changed.
    Bus(Event),
    /// So many refusals were counted and not written, because there were too many in a short time.
    Suppressed(u64),
    /// So many events are lost, because the queue was full or the file could not be written.
    Missed(u64),
    /// The node was cut off while it wrote the bytes above this line.
    Cut {
        /// How many bytes stand between this line and the last whole one.
        bytes: u64,
        /// Their hash.
        remnant: Hash,
    },
    /// The node has ended in good order.
    Closed,
}

#[derive(Debug, Default, Serialize)]
struct Fields<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remnant: Option<&'a str>,
    prev: &'a str,
}

impl Record {
    /// The line, without its end, that follows one with the hash `prev`.
    pub(super) fn to_line(self, unix_ms: u64, prev: Hash) -> String {
        let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(YEAR_9999));
        let time = humantime::format_rfc3339_millis(time).to_string();
        let (prev, mut remnant_hex) = (prev.to_hex(), None);
        if let Self::Cut { remnant, .. } = self {
            remnant_hex = Some(remnant.to_hex());
        }
        let fields = Fields {
            time,
            prev: prev.as_str(),
            remnant: remnant_hex.as_ref().map(|hex| hex.as_str()),
            ..self.fields()
        };
        // Numbers, words and addresses: there is nothing in them that JSON has no form for.
        serde_json::to_string(&fields).unwrap_or_default()
    }

    fn fields(self) -> Fields<'static> {
        let named = |event| Fields { event, ..Fields::default() };
        match self {
            Self::Opened => named("opened"),
            Self::Closed => named("closed"),
            Self::Suppressed(count) => Fields { count: Some(count), ..named("suppressed") },
            Self::Missed(count) => Fields { count: Some(count), ..named("missed") },
            Self::Cut { bytes, .. } => Fields { bytes: Some(bytes), ..named("cut") },
            Self::Bus(event) => of_bus(event),
        }
    }
}

fn of_bus(event: Event) -> Fields<'static> {
    let named = |event| Fields { event, ..Fields::default() };
    let about = |event, peer: ReplicaId, address| Fields {
        peer: Some(peer.get()),
        address,
        ..named(event)
    };
    match event {
        Event::Admitted { peer, role, address, authenticated, leniency } => Fields {
            role: Some(Role::as_str(role)),
            authenticated: Some(authenticated),
            reason: leniency.map(Leniency::as_str),
            ..about("admitted", peer, address)
        },
        Event::Refused { peer, role, address, reason } => Fields {
            peer: peer.map(ReplicaId::get),
            role: Some(Role::as_str(role)),
            address,
            reason: Some(reason),
            ..named("refused")
        },
        Event::Ended { peer, address, reason, lost } => Fields {
            reason: Some(reason.as_str()),
            lost: Some(lost),
            ..about("ended", peer, address)
        },
        Event::Reloaded { policy } => Fields { policy: Some(policy.as_str()), ..named("reloaded") },
        Event::KeysChanged { current, previous } => Fields {
            current: Some(if current { "new" } else { "kept" }),
            previous: Some(if previous { "accepted" } else { "none" }),
            ..named("keys_changed")
        },
        Event::ReplicaJoined { peer, address } => about("replica_joined", peer, address),
        Event::ReplicaLeft { peer, address } => about("replica_left", peer, address),
        // A kind that this build does not know is still a line in the chain.
        _ => named("unknown"),
    }
}

/// What is read of a line to check the chain.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) prev: Hash,
    /// The bytes and the hash that a mark of a cut names.
    pub(super) cut: Option<(u64, Hash)>,
}

impl Parsed {
    /// A whole line, or `None`.
    pub(super) fn new(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            event: &'a str,
            bytes: Option<u64>,
            remnant: Option<&'a str>,
            prev: &'a str,
        }
        let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
        let cut = match raw.event {
            "cut" => Some((raw.bytes?, Hash::from_hex(raw.remnant?).ok()?)),
            _ => None,
        };
        Some(Self { prev: Hash::from_hex(raw.prev).ok()?, cut })
    }
}

#[cfg(test)]
mod tests {
    use ringseal::{Policy, Reason};

    use super::*;

    #[test]
    fn a_line_says_when_what_who_where_and_why() {
        let address = "[2001:db8::1]:7000".parse().ok();
        let peer = ReplicaId::new(3);
        let (role, reason) = (Role::Acceptor, "auth_required");
        let leniency = Some(Leniency::AuthRequired);
        let prev = "0".repeat(64);
        let from = "\"peer\":3,\"role\":\"acceptor\",\"address\":\"[2001:db8::1]:7000\"";
        for (event, rest) in [
            (
                Event::Admitted { peer, role, address, authenticated: false, leniency },
                format!(
                    "\"event\":\"admitted\",{from},\"authenticated\":false,\
                     \"reason\":\"auth_required\""
                ),
            ),
            (
                Event::Refused { peer: None, role, address: None, reason },
                "\"event\":\"refused\",\"role\":\"acceptor\",\"reason\":\"auth_required\"".into(),
            ),
            (
                Event::Ended { peer, address: None, reason: Reason::Eof, lost: 4 },
                "\"event\":\"ended\",\"peer\":3,\"reason\":\"eof\",\"lost\":4".into(),
            ),
            (
                Event::Reloaded { policy: Policy::Soft },
                "\"event\":\"reloaded\",\"policy\":\"soft\"".into(),
            ),
            (
                Event::KeysChanged { current: true, previous: true },
                "\"event\":\"keys_changed\",\"current\":\"new\",\"previous\":\"accepted\"".into(),
            ),
            (
                Event::ReplicaLeft { peer, address: None },
                "\"event\":\"replica_left\",\"peer\":3".into(),
            ),
        ] {
            let line = Record::Bus(event).to_line(1_700_000_000_123, GENESIS);
            let time = "2023-11-14T22:13:20.123Z";
            assert_eq!(line, format!("{{\"time\":\"{time}\",{rest},\"prev\":\"{prev}\"}}"));
            assert!(line.as_bytes().starts_with(START) && line.len() < MAX_LINE);
            let parsed = Parsed::new(line.as_bytes()).expect("whole");
            assert!(parsed.prev == GENESIS && parsed.cut.is_none());
        }
    }

    #[test]
    fn no_part_of_a_line_passes_for_a_whole_one() {
        let cut = Record::Cut { bytes: 7, remnant: blake3::hash(b"x") };
        let line = cut.to_line(u64::MAX, GENESIS);
        for len in 0..line.len() {
            assert!(Parsed::new(&line.as_bytes()[..len]).is_none(), "{}", &line[..len]);
        }
        assert_eq!(Parsed::new(line.as_bytes()).expect("whole").cut, Some((7, blake3::hash(b"x"))));
    }
}
