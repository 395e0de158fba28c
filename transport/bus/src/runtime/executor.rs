//! Threads that run one shard each.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::ring::Driver;

/// What a thread runs.
pub(crate) struct Job {
    /// Makes the future on its thread, so it need not be `Send`.
    pub(crate) start: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
    /// Called on its thread when the future, or a task that it has spawned, has panicked.
    pub(crate) on_panic: Box<dyn FnOnce() + Send>,
}

/// A thread at work.
#[derive(Debug)]
pub(crate) struct Worker {
    thread: JoinHandle<()>,
    /// Disconnected when the thread has nothing left to do.
    over: Receiver<()>,
}

impl Worker {
    /// Waits for the thread's end; `None` if it is not over at `deadline`.
    pub(crate) fn join(self, deadline: Instant) -> Option<thread::Result<()>> {
        match self.over.recv_deadline(deadline) {
            Err(RecvTimeoutError::Timeout) => None,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Some(self.thread.join()),
        }
    }
}

/// Runs `job` on a thread of its own, pinned to `core`, which spins for `spin` before it sleeps.
///
/// # Errors
///
/// The kernel's, when there can be no thread or no ring.
pub(crate) fn run(core: Option<usize>, spin: Duration, job: Job) -> io::Result<Worker> {
    let (alive, over) = bounded(0);
    let (made, outcome) = bounded(1);
    let name = core.map_or("ringseal".to_owned(), |core| format!("ringseal-{core}"));
    let thread = thread::Builder::new().name(name).spawn(move || {
        let _alive: Sender<()> = alive;
        pin(core);
        let driver = match Driver::new(spin) {
            Ok(driver) => driver,
            Err(error) => return drop(made.send(Err(error))),
        };
        let _ = made.send(Ok(()));
        let run = AssertUnwindSafe(|| driver.run((job.start)()));
        if let Err(panic) = catch_unwind(run) {
            (job.on_panic)();
            resume_unwind(panic);
        }
    })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has died")))?;
    Ok(Worker { thread, over })
}

/// Runs `future` on the calling thread.
///
/// # Errors
///
/// The kernel's, when there can be no ring.
pub(crate) fn run_here(
    spin: Duration,
    future: impl Future<Output = ()> + 'static,
) -> io::Result<()> {
    Driver::new(spin)?.run(future);
    Ok(())
}

fn pin(core: Option<usize>) {
    if let Some(id) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin a shard to this core; it runs wherever it is put");
    }
}
