//! A pulse that glommio's executors feel from outside.
//!
//! glommio parks although tasks could run when its preempt timer fires right before it turns to them,
//! which happens when the kernel takes the thread off its core at that point. A timer of the executor's
//! own is no cure, for it may be among what was left behind, and then nothing would ever wake the
//! executor. A wake-up from another thread always does, whatever task it is for.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use super::ring;

/// How often executors feel it: the longest that one can sleep over something to do.
const PERIOD: Duration = Duration::from_millis(20);

/// Who feels the pulse. One thread serves the whole process, and ends when there is nobody left.
struct Pulse {
    wakers: Vec<(u64, Waker)>,
    next: u64,
    beats: bool,
}

static PULSE: Mutex<Pulse> = Mutex::new(Pulse { wakers: Vec::new(), next: 0, beats: false });

/// Lets the executor of one task feel the pulse until it is dropped.
#[derive(Debug)]
pub(crate) struct Beat(u64);

impl Beat {
    /// Has `waker`, of any task, finished or not, woken regularly.
    fn of(waker: Waker) -> Self {
        let mut pulse = lock();
        let number = pulse.next;
        pulse.next += 1;
        pulse.wakers.push((number, waker));
        if !pulse.beats {
            let started = thread::Builder::new().name("ringseal-pulse".to_owned()).spawn(beat);
            pulse.beats = started.is_ok();
            if let Err(error) = started {
                tracing::warn!(%error, "no thread for the pulse: a busy shard may fall asleep");
            }
        }
        Self(number)
    }

    /// The same for the calling task, if its executor is one of glommio's.
    pub(crate) async fn of_this_executor() -> Option<Self> {
        if ring::current().is_some() {
            return None;
        }
        poll_fn(|cx| Poll::Ready(Some(Self::of(cx.waker().clone())))).await
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let number = self.0;
        lock().wakers.retain(|(other, _)| *other != number);
    }
}

fn beat() {
    loop {
        thread::sleep(PERIOD);
        let mut pulse = lock();
        if pulse.wakers.is_empty() {
            pulse.beats = false;
            return;
        }
        pulse.wakers.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

fn lock() -> MutexGuard<'static, Pulse> {
    PULSE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
