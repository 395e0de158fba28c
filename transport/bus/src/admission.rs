//! Who may wait for a handshake on a shard.

use std::collections::BTreeMap;

use crate::runtime::Task;

/// The connections that have been accepted and have not finished their handshake: at most as many as
/// configured, the oldest making room for the newest.
#[derive(Debug)]
pub(crate) struct Admission {
    capacity: usize,
    waiting: BTreeMap<u64, Task<()>>,
    /// Connections whose handshake is over, on their way to a shard or to their end.
    leaving: BTreeMap<u64, Task<()>>,
    next: u64,
}

impl Admission {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, waiting: BTreeMap::new(), leaving: BTreeMap::new(), next: 0 }
    }

    /// Takes on another capacity; those who wait already stay.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Admits a connection whose handshake `start` starts; its argument is what the task gives
    /// to [`decided`](Self::decided) and [`leave`](Self::leave). True when the oldest had to go.
    pub(crate) fn enter(&mut self, start: impl FnOnce(u64) -> Task<()>) -> bool {
        let evicted = self.waiting.len() >= self.capacity && self.waiting.pop_first().is_some();
        self.waiting.insert(self.next, start(self.next));
        self.next += 1;
        evicted
    }

    /// A handshake has ended, one way or the other, and takes up no room any more.
    pub(crate) fn decided(&mut self, entry: u64) {
        if let Some(task) = self.waiting.remove(&entry) {
            self.leaving.insert(entry, task);
        }
    }

    /// A connection has gone where it had to; called by its own task, as its last act.
    pub(crate) fn leave(&mut self, entry: u64) {
        if let Some(task) = self.leaving.remove(&entry) {
            task.detach();
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Everyone who has not gone yet, to be cancelled.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Task<()>> + use<> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.chain(std::mem::take(&mut self.leaving).into_values())
    }
}
