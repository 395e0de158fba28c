//! A process-wide pool of executor threads.
//!
//! An executor's ring returns to the kernel late and its event descriptor never, so executors are
//! kept and lent out again: a process that starts and stops buses all day owns as many threads and
//! descriptors as it ever ran shards at once.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares};

use super::pulse::Beat;

/// What an executor runs.
pub(crate) struct Job {
    /// Makes the future on the executor's thread, so it need not be `Send` once it runs.
    pub(crate) start: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
    /// Called when the future, or a task that it has spawned, has panicked; the executor is lost.
    pub(crate) on_panic: Box<dyn FnOnce() + Send>,
}

/// What sets one executor apart from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    core: Option<usize>,
    spin: Duration,
}

struct Worker {
    kind: Kind,
    jobs: Sender<(Job, Sender<thread::Result<()>>)>,
}

static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

/// Runs `job` on an executor that is pinned to `core` and spins for `spin` before it sleeps. The
/// receiver yields the job's end, with its panic if it had one.
///
/// # Errors
///
/// The runtime's words when no executor could be made.
pub(crate) fn run(
    core: Option<usize>,
    spin: Duration,
    job: Job,
) -> Result<Receiver<thread::Result<()>>, String> {
    let kind = Kind { core, spin };
    let idle = {
        let mut idle = IDLE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = idle.iter().position(|worker| worker.kind == kind);
        found.map(|at| idle.swap_remove(at))
    };
    let worker = match idle {
        Some(worker) => worker,
        None => start(kind)?,
    };
    let (done, ended) = bounded(1);
    let jobs = worker.jobs.clone();
    jobs.send((job, done)).map_err(|_| "the executor's thread has died".to_owned())?;
    Ok(ended)
}

/// How long tasks may run before an executor looks at its ring again. Less than 1 ms makes it park with
/// tasks left to run far more often.
const PREEMPT: Duration = Duration::from_millis(1);

/// How long a new executor may take to run its first task.
const FIRST_TASK: Duration = Duration::from_secs(2);

fn start(kind: Kind) -> Result<Worker, String> {
    for _ in 0..3 {
        let (jobs, inbox) = unbounded();
        let (made, outcome) = bounded(1);
        let name = kind.core.map_or("ringseal".to_owned(), |core| format!("ringseal-{core}"));
        let worker = Worker { kind, jobs: jobs.clone() };
        let spawned = thread::Builder::new().name(name).spawn(move || match make(kind) {
            Ok(executor) => {
                let spark = executor.run(spark());
                let _ = made.send(Ok(()));
                serve(&executor, &spark, kind, &jobs, &inbox);
            }
            Err(error) => drop(made.send(Err(error.to_string()))),
        });
        spawned.map_err(|error| error.to_string())?;
        match outcome.recv_timeout(FIRST_TASK) {
            Ok(made) => return made.map(|()| worker),
            // It sleeps over its first task, and nobody can wake it yet: it is given up.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err("the executor's thread has died".to_owned())
}

/// The waker of a task that is over: nothing is left to run, but it wakes the executor whatever that
/// sleeps over. Its queue's latency matters, so glommio writes to the executor's event descriptor at
/// every wake-up, also when it believes that it has done so already.
async fn spark() -> Waker {
    let latency = Latency::Matters(PREEMPT);
    let queue = glommio::executor().create_task_queue(Shares::default(), latency, "pulse");
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone()));
    match glommio::spawn_local_into(waker, queue) {
        Ok(task) => task.await,
        Err(_) => poll_fn(|cx| Poll::Ready(cx.waker().clone())).await,
    }
}

/// Runs one job after another. The thread itself goes back to the pool, right before the end of its
/// job is told, so whoever waited for that end finds it there.
fn serve(
    executor: &LocalExecutor,
    spark: &Waker,
    kind: Kind,
    jobs: &Sender<(Job, Sender<thread::Result<()>>)>,
    inbox: &Receiver<(Job, Sender<thread::Result<()>>)>,
) {
    while let Ok((job, done)) = inbox.recv() {
        let beat = Beat::of(spark.clone());
        let result = catch_unwind(AssertUnwindSafe(|| executor.run((job.start)())));
        drop(beat);
        if result.is_err() {
            (job.on_panic)();
            let _ = done.send(result);
            return;
        }
        IDLE.lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(Worker { kind, jobs: jobs.clone() });
        let _ = done.send(result);
    }
}

/// Memory that a finished executor held for its ring returns to the kernel a little later, so
/// running out of it is worth a few more tries.
fn make(kind: Kind) -> io::Result<LocalExecutor> {
    if let Some(id) = kind.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        tracing::warn!(core = id, "cannot pin a shard to this core; it runs wherever it is put");
    }
    let mut tries = 20;
    loop {
        let made = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(64 << 10)
            .ring_depth(128)
            .preempt_timer(PREEMPT)
            .spin_before_park(kind.spin)
            .make();
        match made.map_err(io::Error::from) {
            Ok(executor) => return Ok(executor),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && tries > 0 => {
                tries -= 1;
                thread::sleep(Duration::from_millis(25));
            }
            Err(error) => return Err(error),
        }
    }
}
