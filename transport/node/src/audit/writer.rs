//! From the shards to the file: a bounded queue that nobody waits for, and a thread that empties it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use ringseal::{Environment, Event, Observer, System};

use super::file::Log;
use super::line::Record;

/// How many events may wait to be written.
const QUEUE: usize = 4096;
/// How many refusals may be written at once after a quiet time.
const BURST: u64 = 64;
/// How much quiet time makes room for one more, in milliseconds.
const REFUSAL_MS: u64 = 1000;
/// How often the count of refusals that were not written is.
const SUMMARY: Duration = Duration::from_secs(10);
/// How often the thread looks at what no event wakes it for.
const LOOK: Duration = Duration::from_secs(1);
/// How long the end of the node waits for what is still to be written.
const GRACE: Duration = Duration::from_secs(2);

/// Takes the bus's events and never blocks.
///
/// Strangers cause refusals, as many as they like: of those, 64 at once and then one each second are
/// written, and the rest is counted, so that they can fill neither the disk nor the queue.
#[derive(Debug)]
pub struct Sink {
    queue: SyncSender<Message>,
    refusals: Allowance,
    suppressed: AtomicU64,
    /// Events that are missing and not confessed yet.
    missed: AtomicU64,
    missed_ever: AtomicU64,
    stopping: AtomicBool,
}

impl Sink {
    /// How many events the log is missing, since the node's start.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed_ever.load(Relaxed)
    }

    fn miss(&self, events: u64) {
        self.missed.fetch_add(events, Relaxed);
        self.missed_ever.fetch_add(events, Relaxed);
    }
}

#[derive(Debug)]
enum Message {
    Event(u64, Event),
    /// Look whether it is time to stop.
    Wake,
}

impl Observer for Sink {
    fn observe(&self, unix_ms: u64, event: Event) {
        if matches!(event, Event::Refused { .. }) && !self.refusals.take(unix_ms) {
            self.suppressed.fetch_add(1, Relaxed);
        } else if self.queue.try_send(Message::Event(unix_ms, event)).is_err() {
            self.miss(1);
        }
    }
}

/// A number of things that grows back with time, kept as the time at which all of it is back.
#[derive(Debug, Default)]
struct Allowance(AtomicU64);

impl Allowance {
    /// Takes one, if there is one at this time.
    fn take(&self, now_ms: u64) -> bool {
        let next = |full_at: u64| {
            let wait = full_at.saturating_sub(now_ms);
            // Further off than we ever put it, so the clock has been set back.
            let wait = if wait > BURST * REFUSAL_MS { 0 } else { wait };
            (wait + REFUSAL_MS <= BURST * REFUSAL_MS)
                .then(|| now_ms.saturating_add(wait + REFUSAL_MS))
        };
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

/// The thread that writes. Dropping it ends the log in good order, as far as the disk lets it.
#[derive(Debug)]
pub struct Writer {
    sink: Arc<Sink>,
    ended: Receiver<()>,
}

impl Writer {
    /// Opens the log and starts the thread.
    ///
    /// # Errors
    ///
    /// The log cannot be opened, or the system gives no thread.
    pub fn start(file: &Path, max_size: u64) -> io::Result<Self> {
        let log = Log::open(file, max_size)?;
        let (queue, events) = mpsc::sync_channel(QUEUE);
        let sink = Arc::new(Sink {
            queue,
            refusals: Allowance::default(),
            suppressed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            missed_ever: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        });
        let (end, ended) = mpsc::channel();
        let scribe = Scribe { log, sink: sink.clone(), events, failing: false };
        thread::Builder::new().name("ringseal-audit".to_owned()).spawn(move || {
            scribe.run();
            drop(end);
        })?;
        Ok(Self { sink, ended })
    }

    /// What the bus is to tell.
    #[must_use]
    pub fn sink(&self) -> Arc<Sink> {
        self.sink.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sink.stopping.store(true, SeqCst);
        // A queue that is full wakes the thread as well.
        let _ = self.sink.queue.try_send(Message::Wake);
        if self.ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the audit log does not take what is still to be written");
        }
    }
}

/// What the thread works with.
struct Scribe {
    log: Log,
    sink: Arc<Sink>,
    events: Receiver<Message>,
    failing: bool,
}

impl Scribe {
    fn run(mut self) {
        self.write(System.unix_ms(), Record::Opened);
        let mut summed = Instant::now();
        loop {
            let mut next = self.events.recv_timeout(LOOK).ok();
            while let Some(message) = next {
                if let Message::Event(unix_ms, event) = message {
                    self.write(unix_ms, Record::Bus(event));
                }
                next = self.events.try_recv().ok();
            }
            let stopping = self.sink.stopping.load(SeqCst);
            if stopping || summed.elapsed() >= SUMMARY {
                summed = Instant::now();
                let count = self.sink.suppressed.swap(0, Relaxed);
                if count > 0 && !self.write(System.unix_ms(), Record::Suppressed(count)) {
                    // That line counts as one event; these are as many more.
                    self.sink.miss(count - 1);
                }
            }
            self.confess(System.unix_ms());
            if stopping {
                self.write(System.unix_ms(), Record::Closed);
            }
            if let Err(error) = self.log.sync() {
                tracing::warn!(%error, "the disk does not take the audit log");
            }
            if stopping {
                return;
            }
        }
    }

    /// Writes a line, and before it how many were missed; true when that worked.
    fn write(&mut self, unix_ms: u64, record: Record) -> bool {
        let written = self.confess(unix_ms) && self.append(unix_ms, record);
        if !written {
            self.sink.miss(1);
        }
        written
    }

    /// Writes how many events are missing at this place, if any are.
    fn confess(&mut self, unix_ms: u64) -> bool {
        let missed = self.sink.missed.load(Relaxed);
        if missed == 0 {
            return true;
        }
        let written = self.append(unix_ms, Record::Missed(missed));
        if written {
            self.sink.missed.fetch_sub(missed, Relaxed);
        }
        written
    }

    fn append(&mut self, unix_ms: u64, record: Record) -> bool {
        let result = self.log.append(unix_ms, record);
        match &result {
            Err(error) if !self.failing => {
                tracing::error!(%error, "the audit log cannot be written; what is missed is counted");
            }
            Ok(()) if self.failing => tracing::info!("the audit log can be written again"),
            _ => {}
        }
        self.failing = result.is_err();
        result.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_in_bursts_and_then_one_a_second() {
        let allowance = Allowance::default();
        let start = 1_700_000_000_000;
        let taken = |at: u64| (0..1000).filter(|_| allowance.take(at)).count() as u64;
        assert_eq!(taken(start), BURST);
        assert_eq!(taken(start + REFUSAL_MS - 1), 0);
        assert_eq!(taken(start + REFUSAL_MS), 1);
        assert_eq!(taken(start + 11 * REFUSAL_MS), 10);
        assert_eq!(taken(start + 500 * REFUSAL_MS), BURST);
        assert_eq!(taken(start - 500 * REFUSAL_MS), BURST, "the clock was set back");
    }
}
