//! What a replica's handlers were told, for tests to wait for and to look at.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use ringseal::{Frame, FrameView, Reason};

use crate::cluster::PATIENCE;

/// What a handler was told.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link came up.
    Up {
        /// The peer.
        peer: u8,
        /// The link's number.
        incarnation: u64,
        /// The shard that owns it.
        shard: usize,
    },
    /// A frame arrived; a copy of it.
    Frame {
        /// Its carrier.
        peer: u8,
        /// The frame.
        frame: Frame,
    },
    /// An outbox has room again.
    Writable {
        /// Whose.
        peer: u8,
    },
    /// A link ended.
    Down {
        /// The peer.
        peer: u8,
        /// The number of the link that ended.
        incarnation: u64,
        /// Why.
        reason: Reason,
        /// How many accepted frames were not written.
        lost: u64,
    },
}

/// Everything that the handlers of one replica were told, in order.
#[derive(Debug, Default)]
pub struct Journal {
    quiet: bool,
    record: Mutex<Record>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Record {
    events: Vec<Event>,
    frames: BTreeMap<u8, u64>,
}

impl Journal {
    /// An empty journal; a quiet one counts frames instead of keeping them.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics while writing the journal")
    }

    pub(crate) fn note(&self, event: Event) {
        self.record().events.push(event);
        self.changed.notify_all();
    }

    pub(crate) fn note_frame(&self, peer: u8, frame: FrameView<'_>) {
        let mut record = self.record();
        *record.frames.entry(peer).or_default() += 1;
        if !self.quiet {
            record.events.push(Event::Frame { peer, frame: frame.detach() });
        }
        self.changed.notify_all();
    }

    /// Looks at what has happened so far.
    pub fn look<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.record().events)
    }

    /// Whether the handler has been told that this link is up.
    #[must_use]
    pub fn has_come_up(&self, peer: u8, incarnation: u64) -> bool {
        let is_it = |event: &Event| match event {
            Event::Up { peer: p, incarnation: i, .. } => (*p, *i) == (peer, incarnation),
            _ => false,
        };
        self.look(|events| events.iter().any(is_it))
    }

    /// How many frames have come from `peer`.
    #[must_use]
    pub fn count_from(&self, peer: u8) -> u64 {
        self.record().frames.get(&peer).copied().unwrap_or(0)
    }

    /// How often the link to `peer` became writable again.
    #[must_use]
    pub fn writables(&self, peer: u8) -> usize {
        let of_peer = |event: &&Event| matches!(event, Event::Writable { peer: p } if *p == peer);
        self.look(|events| events.iter().filter(of_peer).count())
    }

    /// Every end of a link to `peer` so far: its number, its reason and how many frames it lost.
    #[must_use]
    pub fn downs(&self, peer: u8) -> Vec<(u64, Reason, u64)> {
        let down = |event: &Event| match event {
            Event::Down { peer: p, incarnation, reason, lost } if *p == peer => {
                Some((*incarnation, *reason, *lost))
            }
            _ => None,
        };
        self.look(|events| events.iter().filter_map(down).collect())
    }

    /// Waits until `count` frames have come from `peer`.
    pub fn wait_count(&self, peer: u8, count: u64) {
        self.wait("frames arrive", |record| {
            (record.frames.get(&peer).copied().unwrap_or(0) >= count).then_some(())
        });
    }

    /// Waits until `count` frames have come from `peer`; all that have come, which may be more.
    #[must_use]
    pub fn frames_from(&self, peer: u8, count: u64) -> Vec<Frame> {
        self.wait_count(peer, count);
        let of_peer = |event: &Event| match event {
            Event::Frame { peer: p, frame } if *p == peer => Some(frame.clone()),
            _ => None,
        };
        self.look(|events| events.iter().filter_map(of_peer).collect())
    }

    /// Waits for the end of a link to `peer`: its reason and how many frames it lost.
    #[must_use]
    pub fn wait_down(&self, peer: u8, incarnation: u64) -> (Reason, u64) {
        self.wait("a link ends", |record| {
            record.events.iter().find_map(|event| match event {
                Event::Down { peer: p, incarnation: i, reason, lost }
                    if (*p, *i) == (peer, incarnation) =>
                {
                    Some((*reason, *lost))
                }
                _ => None,
            })
        })
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&Record) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut record = self.record();
        loop {
            if let Some(found) = look(&record) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}; events: {:?}", record.summary());
            let waited = self.changed.wait_timeout(record, left);
            record = waited.expect("nobody panics while writing the journal").0;
        }
    }
}

impl Record {
    /// What helps to see why a wait was in vain: how many frames came, and everything else.
    fn summary(&self) -> (&BTreeMap<u8, u64>, Vec<&Event>) {
        let news = self.events.iter().filter(|event| !matches!(event, Event::Frame { .. }));
        (&self.frames, news.collect())
    }
}
