//! Who may wait for a handshake on a shard, and for how long.

mod bucket;
mod lanes;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::runtime::{Task, Visitor};

pub(crate) use bucket::Buckets;
pub use lanes::Lane;
pub(crate) use lanes::{Lanes, Look, World};
pub(crate) use log::{LogBudget, Topic};

/// A connection that has been accepted and has not finished its handshake. Until its first frame has
/// come it is a descriptor and nothing more; then it has a task.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) visitor: Option<Visitor>,
    pub(crate) task: Option<Task<()>>,
    pub(crate) from: SocketAddr,
    pub(crate) came: Instant,
    /// Held by those whose descriptor is one of the last that strangers may have.
    #[expect(dead_code, reason = "it is held to be counted")]
    pub(crate) last: Option<Rc<()>>,
}

/// Everything that a shard knows of connections before they are links.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) lanes: Lanes<Newcomer>,
    pub(crate) buckets: Buckets,
    pub(crate) log: LogBudget,
    /// As many others hold this as have one of the last descriptors.
    last: Rc<()>,
    /// Connections whose handshake is over, on their way to a shard or to their end.
    leaving: BTreeMap<u64, Task<()>>,
}

impl Admission {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            lanes: Lanes::new(capacity),
            buckets: Buckets::default(),
            log: LogBudget::default(),
            last: Rc::new(()),
            leaving: BTreeMap::new(),
        }
    }

    /// Whether somebody has to go before another comes, when `last` says whether that one's descriptor
    /// is one of the last. A descriptor that is given back is given out again first, however few
    /// there are, so it has to go on like that until nobody has one of the last.
    pub(crate) fn is_short(&self, last: bool) -> bool {
        last || Rc::strong_count(&self.last) > 1
    }

    /// What a newcomer with one of the last descriptors holds.
    pub(crate) fn mark(&self, last: bool) -> Option<Rc<()>> {
        last.then(|| self.last.clone())
    }

    /// The newcomer that has been silent for longest, if that is `grace` or longer.
    pub(crate) fn overdue(&self, grace: Duration, now: Instant) -> Option<u64> {
        let (number, newcomer) = self.lanes.oldest_silent()?;
        (now.saturating_duration_since(newcomer.came) >= grace).then_some(number)
    }

    /// A handshake has ended, one way or the other, and takes up no room any more.
    pub(crate) fn decided(&mut self, number: u64) -> Lane {
        let Some((lane, newcomer)) = self.lanes.remove(number) else { return Lane::Other };
        if let Some(task) = newcomer.task {
            self.leaving.insert(number, task);
        }
        lane
    }

    /// A connection has gone where it had to; called by its own task, as its last act.
    pub(crate) fn leave(&mut self, number: u64) {
        if let Some(task) = self.leaving.remove(&number) {
            task.detach();
        }
    }

    /// Everyone who has not gone yet, to be cancelled.
    pub(crate) fn close(&mut self) -> impl Iterator<Item = Task<()>> + use<> {
        let waiting = self.lanes.drain().filter_map(|newcomer| newcomer.task);
        waiting.chain(std::mem::take(&mut self.leaving).into_values())
    }
}
