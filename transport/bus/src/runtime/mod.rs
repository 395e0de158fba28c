//! The only module that names the async runtime, and the only one with `unsafe`.
//!
//! Everything above is written against this narrow surface: accept, connect, lend and adopt a
//! descriptor, read into a buffer, write a batch, sleep, spawn, and an executor to run on. Another
//! io_uring driver that offers the same can take its place.

mod executor;
mod info;
mod net;
mod port;
mod pulse;

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

pub(crate) use executor::{Job, run};
pub(crate) use net::{Stream, connect};
pub(crate) use port::{Arrived, Happened, Listener, Visitor, Watch, descriptor_limit, is_shortage};
pub(crate) use pulse::Beat;

/// A task of the shard's executor. Dropping it cancels it.
pub(crate) type Task<T> = glommio::Task<T>;

/// Starts a task on the executor of the calling thread, after the caller's turn: glommio would run it
/// up to its first wait right here, in the middle of whatever the caller has borrowed.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    glommio::spawn_local(Later { later: false, future })
}

/// Lets everybody else have a turn.
pub(crate) async fn yield_now() {
    Later { later: false, future: std::future::ready(()) }.await;
}

/// Completes after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    Timer::new(duration).await;
}

/// Runs `future` until `deadline`; `None` when it did not finish in time.
pub(crate) fn until<F: Future>(
    deadline: Instant,
    future: F,
) -> impl Future<Output = Option<F::Output>> {
    let timer = Timer::new(deadline.saturating_duration_since(Instant::now()));
    Until { timer, future }
}

/// A future that lets a turn pass before it begins. Written out, as an async block would hold what it
/// waits for twice, and there may be very many of these.
struct Later<F> {
    later: bool,
    future: F,
}

impl<F: Future> Future for Later<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self` and never moved out of it; `later` is never pinned.
        let Self { later, future } = unsafe { self.get_unchecked_mut() };
        if !mem::replace(later, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(future) }.poll(cx)
    }
}

/// A future and its deadline, written out for the same reason.
struct Until<F> {
    timer: Timer,
    future: F,
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        // SAFETY: `future` is pinned with `self` and never moved out of it; `timer` needs no pinning.
        let Self { timer, future } = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        if let Poll::Ready(done) = unsafe { Pin::new_unchecked(future) }.poll(cx) {
            return Poll::Ready(Some(done));
        }
        Pin::new(timer).poll(cx).map(|_| None)
    }
}
