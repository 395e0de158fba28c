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
mod port;
mod pulse;
mod ring;

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use pin_project_lite::pin_project;

pub(crate) use batch::{Batch, Scratch};
#[cfg(test)]
pub(crate) use batch::{PACKED, SCRATCH};
pub(crate) use executor::{Job, Worker, run, run_here};
pub(crate) use net::{Stream, connect};
pub(crate) use port::{Arrived, Happened, Listener, Visitor, Watch, descriptor_limit, is_shortage};
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
    match ring::current() {
        Some(driver) => Task::Ring(driver.spawn(future)),
        // glommio would run it up to its first wait right here, in the middle of whatever the caller
        // has borrowed.
        None => Task::Hosted(glommio::spawn_local(Later { later: false, future })),
    }
}

/// Lets everybody else have a turn.
pub(crate) async fn yield_now() {
    Later { later: false, future: std::future::ready(()) }.await;
}

/// Completes after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    Sleep::until(Instant::now() + duration).await;
}

/// Runs `future` until `deadline`; `None` when it did not finish in time.
pub(crate) fn until<F: Future>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    Until { timer: Sleep::until(deadline), future }
}

/// A wait for a point in time.
enum Sleep {
    Ring(ring::Sleep),
    Hosted(Timer),
}

impl Sleep {
    fn until(deadline: Instant) -> Self {
        match ring::current() {
            Some(driver) => Self::Ring(driver.sleep_until(deadline)),
            None => Self::Hosted(Timer::new(deadline.saturating_duration_since(Instant::now()))),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Ring(sleep) => Pin::new(sleep).poll(cx),
            Self::Hosted(timer) => Pin::new(timer).poll(cx).map(drop),
        }
    }
}

pin_project! {
    /// A future that lets a turn pass before it begins. Written out, as an async block would hold what
    /// it waits for twice, and there may be very many of these.
    struct Later<F> {
        later: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Later<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !mem::replace(this.later, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.future.poll(cx)
    }
}

pin_project! {
    /// A future and its deadline, written out for the same reason.
    struct Until<F> {
        timer: Sleep,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if let Poll::Ready(done) = this.future.poll(cx) {
            return Poll::Ready(Some(done));
        }
        Pin::new(this.timer).poll(cx).map(|()| None)
    }
}
