//! Counters that one shard writes and anyone reads, and the snapshots made of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ringseal_auth::{HandshakeResult, Leniency};
use ringseal_wire::ReplicaId;

use crate::admission::Lane;
use crate::error::Reason;

/// A number with a single writer: bumping it is a load and a store, never a locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Which end of a handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We dialled.
    Dialer,
    /// The peer dialled.
    Acceptor,
}

impl Role {
    /// Both roles, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Dialer, Self::Acceptor];

    /// The word that logs and metrics carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dialer => "dialer",
            Self::Acceptor => "acceptor",
        }
    }

    /// The same fact as seen on an established link.
    #[must_use]
    pub fn direction(self) -> &'static str {
        match self {
            Self::Dialer => "outbound",
            Self::Acceptor => "inbound",
        }
    }
}

/// Why a newcomer had to go before its handshake was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// Its lane was full.
    Room,
    /// The process was about to run out of descriptors.
    Descriptors,
}

impl Eviction {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Room, Self::Descriptors];

    /// The word that logs and metrics carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Descriptors => "descriptors",
        }
    }
}

/// What a Hello has shown of its sender's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// A member has made the tag for this Hello, just now.
    Fresh,
    /// A member has made the tag, but it was seen already, or its time is too far from ours.
    Stale,
    /// No secret of ours has made the tag.
    Wrong,
    /// There is none, or we hold no secret.
    Absent,
}

impl Tag {
    /// Every finding, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Stale, Self::Wrong, Self::Absent];

    /// The word that metrics carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Wrong => "wrong",
            Self::Absent => "absent",
        }
    }
}

/// How many buckets of a histogram have an upper bound; a last one has none.
const BOUNDS: usize = 8;

/// Upper bounds of the buckets of handshake times, in seconds.
pub const HANDSHAKE_BUCKETS: [f64; BOUNDS] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Upper bounds of the buckets of round trips, in seconds: from one machine to across an ocean.
pub const ROUND_TRIP_BUCKETS: [f64; BOUNDS] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25];

const RESULTS: usize = HandshakeResult::ALL.len();

/// What one shard counts.
#[derive(Debug, Default)]
pub(crate) struct ShardMetrics {
    pub(crate) links_up: Counter,
    pub(crate) handshakes: [[Counter; RESULTS]; 2],
    pub(crate) handshake_buckets: [Counter; BOUNDS + 1],
    pub(crate) handshake_micros: Counter,
    pub(crate) preauth: Counter,
    pub(crate) evictions: [[Counter; Eviction::ALL.len()]; Lane::ALL.len()],
    pub(crate) tags: [Counter; Tag::ALL.len()],
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) dropped: [Counter; Reason::ALL.len()],
    pub(crate) reconnects: Counter,
    pub(crate) soft: [Counter; Leniency::ALL.len()],
    pub(crate) paused: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) listening: Counter,
}

impl ShardMetrics {
    pub(crate) fn handshake(&self, role: Role, result: HandshakeResult, took: Duration) {
        self.handshakes[role as usize][result as usize].add(1);
        self.handshake_buckets[bucket_of(&HANDSHAKE_BUCKETS, took)].add(1);
        self.handshake_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

fn bucket_of(bounds: &[f64; BOUNDS], took: Duration) -> usize {
    let seconds = took.as_secs_f64();
    bounds.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS)
}

/// A histogram of times that any shard may add to.
#[derive(Debug)]
pub(crate) struct SharedTimes {
    bounds: &'static [f64; BOUNDS],
    counts: [AtomicU64; BOUNDS + 1],
    micros: AtomicU64,
}

impl SharedTimes {
    pub(crate) fn new(bounds: &'static [f64; BOUNDS]) -> Self {
        Self { bounds, counts: Default::default(), micros: AtomicU64::new(0) }
    }

    pub(crate) fn add(&self, took: Duration) {
        self.counts[bucket_of(self.bounds, took)].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn get(&self) -> Times {
        Times {
            counts: std::array::from_fn(|bucket| self.counts[bucket].load(Relaxed)),
            sum: self.micros.load(Relaxed) as f64 / 1e6,
        }
    }
}

/// What the whole bus has counted since its start: a snapshot, summed over the shards.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many shards the bus has.
    pub shards: usize,
    /// How many of them accept connections.
    pub shards_listening: usize,
    /// Links that are up.
    pub links_up: u64,
    /// Links whose handler has paused them.
    pub paused_links: u64,
    /// Connections that have been accepted and have not finished their handshake.
    pub preauth_connections: u64,
    /// Newcomers that had to go before their handshake was done, by lane and reason; every pair is
    /// present.
    pub evictions: Vec<(Lane, Eviction, u64)>,
    /// First frames by what they have shown of their sender's membership; every finding is present.
    pub hello_tags: Vec<(Tag, u64)>,
    /// Handshakes that ended, by role and result; every pair is present.
    pub handshakes: Vec<(Role, HandshakeResult, u64)>,
    /// How long handshakes took, whatever their result.
    pub handshake_seconds: Times,
    /// Frames handed to handlers.
    pub frames_in: u64,
    /// Frames written to sockets.
    pub frames_out: u64,
    /// Bytes read from links.
    pub bytes_in: u64,
    /// Bytes written to links.
    pub bytes_out: u64,
    /// Reads that brought something; frames per read is the batching factor.
    pub reads: u64,
    /// Writes that took something.
    pub writes: u64,
    /// Accepted frames that were lost when their link ended, by its reason; every reason is present.
    pub frames_dropped: Vec<(Reason, u64)>,
    /// Sends that were refused with `Backpressure`.
    pub backpressure: u64,
    /// Dials after the first one to each peer.
    pub reconnects: u64,
    /// Links admitted although `enforce` would have refused them, by what was missing.
    pub soft_admissions: Vec<(Leniency, u64)>,
    /// Whether no link needs leniency, and none has needed it for as long as configured.
    pub safe_to_enforce: bool,
    /// The peer that has needed leniency last.
    pub last_lenient: Option<ReplicaId>,
    /// Errors while accepting, such as having no descriptor left.
    pub accept_errors: u64,
}

impl Metrics {
    /// How many handshakes ended with `result` in `role`.
    #[must_use]
    pub fn handshakes(&self, role: Role, result: HandshakeResult) -> u64 {
        let of = self.handshakes.iter().find(|(r, e, _)| (*r, *e) == (role, result));
        of.map_or(0, |(_, _, count)| *count)
    }

    /// How many newcomers had to leave `lane` for `reason`.
    #[must_use]
    pub fn evictions(&self, lane: Lane, reason: Eviction) -> u64 {
        let of = self.evictions.iter().find(|(l, r, _)| (*l, *r) == (lane, reason));
        of.map_or(0, |(_, _, count)| *count)
    }

    /// How many first frames have shown `tag`.
    #[must_use]
    pub fn hello_tags(&self, tag: Tag) -> u64 {
        let of = self.hello_tags.iter().find(|(t, _)| *t == tag);
        of.map_or(0, |(_, count)| *count)
    }

    /// How many accepted frames were lost to links that ended for `reason`.
    #[must_use]
    pub fn frames_dropped(&self, reason: Reason) -> u64 {
        let of = self.frames_dropped.iter().find(|(r, _)| *r == reason);
        of.map_or(0, |(_, count)| *count)
    }
}

/// A histogram of times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// How many fell into each bucket, not cumulative: of [`HANDSHAKE_BUCKETS`] or
    /// [`ROUND_TRIP_BUCKETS`], and a last one without a bound.
    pub counts: [u64; BOUNDS + 1],
    /// The sum of all times, in seconds.
    pub sum: f64,
}

/// One replica of the roster as this one sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// The replica's id.
    pub id: ReplicaId,
    /// Its address, as the roster spells it.
    pub address: String,
    /// The link to it, if one is up.
    pub link: Option<LinkStatus>,
    /// When the present state began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Frames received from it, over all links so far.
    pub frames_in: u64,
    /// Frames written to it.
    pub frames_out: u64,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Frames that wait to be written.
    pub outbox: u32,
    /// Why the last link ended or the last handshake failed.
    pub last_reason: Option<&'static str>,
    /// How long handshakes with it took that succeeded.
    pub handshake_seconds: Times,
    /// What the round trips of its links were, looked at once a second while one is up.
    pub round_trip_seconds: Times,
}

/// A link that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Who dialled.
    pub role: Role,
    /// The shard that owns it.
    pub shard: usize,
    /// Whether the peer has proven that it holds the secret.
    pub authenticated: bool,
    /// The link's number, unique in this bus.
    pub incarnation: u64,
    /// How long the peer's kernel takes to acknowledge what we write, as our kernel last measured
    /// it; none in a link's first second. A link that writes nothing keeps its last value.
    pub round_trip: Option<Duration>,
}
