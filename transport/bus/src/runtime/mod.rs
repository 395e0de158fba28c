//! The only module that names the async runtime, and the only one with `unsafe`.
//!
//! Everything above is written against this narrow surface: accept, connect, lend and adopt a
//! descriptor, read into a buffer, write a batch, sleep, spawn, and an executor to run on. Another
//! io_uring driver that offers the same can take its place.

mod executor;
mod info;
mod net;
mod pulse;

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

pub(crate) use executor::{Job, run};
pub(crate) use net::{Listener, Stream, connect};
pub(crate) use pulse::Beat;

/// A task of the shard's executor. Dropping it cancels it.
pub(crate) type Task<T> = glommio::Task<T>;

/// Starts a task on the executor of the calling thread, after the caller's turn: glommio would run it
/// up to its first wait right here, in the middle of whatever the caller has borrowed.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let mut later = false;
    glommio::spawn_local(async move {
        poll_fn(|cx| match mem::replace(&mut later, true) {
            true => Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        future.await
    })
}

/// Completes after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    glommio::timer::Timer::new(duration).await;
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
