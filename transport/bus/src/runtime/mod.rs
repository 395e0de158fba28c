//! The only module that names an async runtime, and the only one with `unsafe`.
//!
//! Everything above is written against this narrow surface: accept, connect, lend and adopt a
//! descriptor, read into a buffer, write a batch, sleep, spawn, and a thread to run on. Two drivers
//! offer it: [`ring`], for shards that have a thread to themselves, and glommio, for shards that are
//! guests in an embedder's executors. Whatever a task makes belongs to the driver that runs it.

mod batch;
mod executor;
mod info;
mod net;
mod pulse;
mod ring;

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

pub(crate) use batch::{Batch, Scratch};
#[cfg(test)]
pub(crate) use batch::{PACKED, SCRATCH};
pub(crate) use executor::{Job, Worker, run, run_here};
pub(crate) use net::{Listener, Stream, configure, connect};
pub(crate) use pulse::Beat;

/// A task of the shard's executor. Dropping it cancels it.
#[derive(Debug)]
pub(crate) enum Task<T> {
    Ring(async_task::Task<T>),
    Hosted(glommio::Task<T>),
}

impl<T> Task<T> {
    /// Lets the task run on by itself.
    pub(crate) fn detach(self) {
        match self {
            Self::Ring(task) => task.detach(),
            Self::Hosted(task) => drop(task.detach()),
        }
    }

    /// Waits until the task is over.
    pub(crate) async fn finish(self) -> T {
        match self {
            Self::Ring(task) => task.await,
            Self::Hosted(task) => task.await,
        }
    }

    /// Ends the task and waits until its future is gone.
    pub(crate) async fn cancel(self) {
        match self {
            Self::Ring(task) => drop(task.cancel().await),
            Self::Hosted(task) => drop(task.cancel().await),
        }
    }
}

/// Starts a task on the executor of the calling thread, after the caller's turn.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    if let Some(driver) = ring::current() {
        return Task::Ring(driver.spawn(future));
    }
    // glommio would run it up to its first wait right here, in the middle of whatever the caller has
    // borrowed.
    let mut later = false;
    Task::Hosted(glommio::spawn_local(async move {
        poll_fn(|cx| match mem::replace(&mut later, true) {
            true => Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        future.await
    }))
}

/// Completes after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    match ring::current() {
        Some(driver) => driver.sleep_until(Instant::now() + duration).await,
        None => drop(glommio::timer::Timer::new(duration).await),
    }
}

/// Runs `future` until `deadline`; `None` when it did not finish in time.
pub(crate) async fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = pin!(sleep(deadline.saturating_duration_since(Instant::now())));
    poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}
