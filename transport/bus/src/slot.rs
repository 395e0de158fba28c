//! One peer as all shards see it.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use ringseal_auth::HandshakeResult;

use crate::config::Limits;
use crate::credit::Credit;
use crate::error::Reason;
use crate::metrics::{Counter, HANDSHAKE_BUCKETS, ROUND_TRIP_BUCKETS, SharedTimes};
use crate::owner::OwnerSlot;
use crate::settings::KeyId;

/// What shards, senders and the link's owner share of one peer.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) owner: OwnerSlot,
    pub(crate) credit: Credit,
    /// The incarnation that has last shown life while a newcomer contested it.
    alive: AtomicU64,
    /// Whether a newcomer is held at this moment.
    held: AtomicBool,
    pub(crate) member: AtomicBool,
    /// The secret that the present link was made with.
    key: AtomicU64,
    pub(crate) since_ms: AtomicU64,
    last_reason: AtomicU8,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) handshakes: SharedTimes,
    pub(crate) round_trips: SharedTimes,
    /// What the present link's last look at its round trip found, in microseconds; 0 before the first.
    round_trip_us: AtomicU64,
}

/// Why a peer is not linked: a link that ended, or a handshake that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LastReason {
    Link(Reason),
    Handshake(HandshakeResult),
}

impl Slot {
    pub(crate) fn new(limits: &Limits, member: bool, now_ms: u64) -> Self {
        Self {
            owner: OwnerSlot::default(),
            credit: Credit::new(limits),
            alive: AtomicU64::new(0),
            held: AtomicBool::new(false),
            member: AtomicBool::new(member),
            key: AtomicU64::new(KeyId::NONE.0),
            since_ms: AtomicU64::new(now_ms),
            last_reason: AtomicU8::new(0),
            frames_in: Counter::default(),
            frames_out: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            handshakes: SharedTimes::new(&HANDSHAKE_BUCKETS),
            round_trips: SharedTimes::new(&ROUND_TRIP_BUCKETS),
            round_trip_us: AtomicU64::new(0),
        }
    }

    /// Makes the caller the one newcomer that is held, unless there is one.
    pub(crate) fn hold(&self) -> Option<Held<'_>> {
        if self.held.swap(true, SeqCst) {
            return None;
        }
        // A sign of life that turned an earlier newcomer away says nothing about now.
        self.alive.store(0, SeqCst);
        Some(Held(&self.held))
    }

    pub(crate) fn set_key(&self, key: KeyId) {
        self.key.store(key.0, SeqCst);
    }

    pub(crate) fn key(&self) -> KeyId {
        KeyId(self.key.load(SeqCst))
    }

    /// Notes that a contested incarnation has shown life.
    pub(crate) fn note_alive(&self, incarnation: u64) {
        self.alive.store(incarnation, SeqCst);
    }

    /// Whether a contested incarnation has shown life.
    pub(crate) fn is_alive(&self, incarnation: u64) -> bool {
        self.alive.load(SeqCst) == incarnation
    }

    /// Counts one look at the round trip of the present link.
    pub(crate) fn note_round_trip(&self, took: Duration) {
        self.round_trips.add(took);
        self.round_trip_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A new link has no round trip yet.
    pub(crate) fn forget_round_trip(&self) {
        self.round_trip_us.store(0, Relaxed);
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip_us.load(Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub(crate) fn state_began(&self, now_ms: u64) {
        self.since_ms.store(now_ms, Relaxed);
    }

    pub(crate) fn note_reason(&self, reason: LastReason) {
        let code = match reason {
            LastReason::Link(reason) => 1 + reason as u8,
            LastReason::Handshake(result) => 0x80 | result as u8,
        };
        self.last_reason.store(code, Relaxed);
    }

    pub(crate) fn last_reason(&self) -> Option<&'static str> {
        match self.last_reason.load(Relaxed) {
            0 => None,
            code if code & 0x80 != 0 => {
                Some(HandshakeResult::ALL[usize::from(code & 0x7f)].as_str())
            }
            code => Some(Reason::ALL[usize::from(code - 1)].as_str()),
        }
    }
}

/// The place of the one newcomer that waits for a peer; dropping it lets another wait.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a AtomicBool);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code() {
        let slot = Slot::new(&Limits::default(), true, 0);
        assert_eq!(slot.last_reason(), None);
        for reason in Reason::ALL {
            slot.note_reason(LastReason::Link(reason));
            assert_eq!(slot.last_reason(), Some(reason.as_str()));
        }
        for result in HandshakeResult::ALL {
            slot.note_reason(LastReason::Handshake(result));
            assert_eq!(slot.last_reason(), Some(result.as_str()));
        }
    }
}
