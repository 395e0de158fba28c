//! An executor for one thread, on an io_uring of its own.
//!
//! The ring waits: for descriptors to become readable or writable, for the next timer, for a wake-up from
//! another thread. Reading and writing are plain calls that never block. Each wait for a descriptor is one
//! oneshot poll, which goes to the kernel together with the wait for all of them, so a shard sleeps and
//! wakes with one system call however many links it has.

#[cfg(test)]
mod stress;
mod watched;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst, fence};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_task::{Runnable, Task};
use crossbeam_channel::{Receiver, Sender, unbounded};
use io_uring::types::{Fd, Timespec};
use io_uring::{IoUring, opcode, squeue};
use pin_project_lite::pin_project;
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

pub(super) use watched::Watched;
use watched::{Direction, Interests};

/// How many polls are handed to the kernel at once. More are handed over in several calls.
const SUBMISSIONS: u32 = 256;

/// How many completions wait for us at most before the kernel keeps them in memory of its own.
const COMPLETIONS: u32 = 1024;

/// How many turns requests wait at most for a driver that has no time to sleep.
const BUSY_TURNS: u32 = 8;

/// A completion that nobody waits for.
const NOBODY: u64 = u64::MAX;

/// The completion that says that another thread has written to `Inbox::event`.
const WOKEN: u64 = u64::MAX - 1;

/// The completion that says that the alarm has gone off.
const ALARM: u64 = u64::MAX - 2;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
}

/// The driver that runs the calling task, unless its executor is not one of ours.
pub(super) fn current() -> Option<Rc<Driver>> {
    CURRENT.with_borrow(Option::clone)
}

/// The executor of one thread. It never leaves that thread.
pub(super) struct Driver {
    ring: RefCell<IoUring>,
    /// The polls that the kernel has.
    polls: RefCell<Slab<(Rc<Interests>, Direction)>>,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_timer: Cell<u64>,
    /// When the kernel's alarm goes off, if it is set, and the time that it was set for.
    alarm: Cell<Option<Instant>>,
    alarm_left: Cell<Timespec>,
    ready: RefCell<VecDeque<Runnable>>,
    /// One waker of every task that is not over.
    tasks: RefCell<Slab<Waker>>,
    inbox: Arc<Inbox>,
    /// How many turns there have been since the kernel was last turned to.
    busy_turns: Cell<u32>,
    /// Completions that have been taken from the ring and not dealt with.
    completed: RefCell<Vec<u64>>,
    spin: Duration,
}

/// Tasks that other threads have woken.
struct Inbox {
    tasks: (Sender<Runnable>, Receiver<Runnable>),
    /// Whether the driver waits, or is about to, so that it has to be woken.
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Inbox {
    /// Puts a task where its driver finds it.
    fn schedule(self: &Arc<Self>, task: Runnable) {
        let elsewhere = CURRENT.with_borrow(|driver| match driver {
            Some(driver) if Arc::ptr_eq(&driver.inbox, self) => {
                driver.ready.borrow_mut().push_back(task);
                None
            }
            _ => Some(task),
        });
        let Some(task) = elsewhere else { return };
        let _ = self.tasks.0.send(task);
        // The driver looks at the inbox after it has set `asleep`, we at `asleep` after we have put
        // something in: one of us sees the other.
        fence(SeqCst);
        if self.asleep.swap(false, SeqCst) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Driver {
    /// A driver for the calling thread, which looks for work for as long as `spin` before it sleeps.
    ///
    /// # Errors
    ///
    /// The kernel's, when it does not permit io_uring or has no memory for a ring.
    pub(super) fn new(spin: Duration) -> io::Result<Rc<Self>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Inbox { tasks: unbounded(), asleep: AtomicBool::new(false), event };
        Ok(Rc::new(Self {
            ring: RefCell::new(make_ring()?),
            polls: RefCell::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            alarm: Cell::new(None),
            alarm_left: Cell::new(Timespec::new()),
            ready: RefCell::default(),
            tasks: RefCell::default(),
            busy_turns: Cell::new(0),
            completed: RefCell::default(),
            inbox: Arc::new(inbox),
            spin,
        }))
    }

    /// Runs `future` and the tasks that it spawns until `future` is done. Tasks that are left are
    /// dropped.
    pub(super) fn run(self: Rc<Self>, future: impl Future<Output = ()> + 'static) {
        let driver = Running::start(self);
        driver.poll_event();
        let root = driver.spawn(future);
        while !root.is_finished() {
            let turn = driver.ready.borrow().len();
            for _ in 0..turn {
                let Some(task) = driver.ready.borrow_mut().pop_front() else { break };
                task.run();
            }
            while let Ok(task) = driver.inbox.tasks.1.try_recv() {
                driver.ready.borrow_mut().push_back(task);
            }
            driver.fire_timers();
            let idle = driver.ready.borrow().is_empty() && !root.is_finished();
            driver.look(idle);
        }
    }

    /// Starts a task; it first runs after the caller's turn.
    pub(super) fn spawn<T: 'static>(
        self: &Rc<Self>,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let (driver, inbox) = (self.clone(), self.inbox.clone());
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let number = entry.key();
        let future = Listed { _entry: ListEntry { driver, number }, future };
        let schedule = move |task: Runnable| inbox.schedule(task);
        let (task, handle) = async_task::spawn_local(future, schedule);
        entry.insert(task.waker());
        task.schedule();
        handle
    }

    /// Completes at `deadline`.
    pub(super) fn sleep_until(self: Rc<Self>, deadline: Instant) -> Sleep {
        let number = self.next_timer.get();
        self.next_timer.set(number + 1);
        Sleep { driver: self, key: (deadline, number) }
    }

    /// Wakes whoever's time has come.
    fn fire_timers(&self) {
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let waker = match self.timers.borrow_mut().first_entry() {
                Some(timer) if timer.key().0 <= now => timer.remove(),
                _ => return,
            };
            waker.wake();
        }
    }

    /// Hands the kernel what has gathered and takes what it has for us, waiting for that if `idle`.
    fn look(&self, idle: bool) {
        {
            let mut ring = self.ring.borrow_mut();
            if idle {
                self.busy_turns.set(0);
                self.wait(&mut ring);
            } else if self.is_due(&mut ring) {
                submit(&ring);
            }
            self.take_completions(&mut ring);
        }
        // Dealing with them may queue requests, and that may bring more.
        while !self.completed.borrow().is_empty() {
            let mut completed = self.completed.take();
            completed.drain(..).for_each(|completion| self.complete(completion));
            let mut more = self.completed.borrow_mut();
            if more.is_empty() {
                // For its memory.
                *more = completed;
                return;
            }
        }
    }

    fn complete(&self, completion: u64) {
        match completion {
            NOBODY => {}
            WOKEN => self.poll_event(),
            ALARM => self.alarm.set(None),
            poll => {
                let (interests, direction) = self.polls.borrow_mut().remove(poll as usize);
                interests.of(direction).fire();
            }
        }
    }

    fn take_completions(&self, ring: &mut IoUring) {
        let completed = ring.completion().map(|completion| completion.user_data());
        self.completed.borrow_mut().extend(completed);
    }

    /// Whether a busy driver should turn to the kernel: at once for what the kernel has for us, and now and
    /// then for what we have for the kernel, most of which can go along with the next wait.
    fn is_due(&self, ring: &mut IoUring) -> bool {
        let queue = ring.submission();
        let turns = self.busy_turns.get() + 1;
        let due =
            queue.taskrun() || queue.cq_overflow() || turns >= BUSY_TURNS && !queue.is_empty();
        self.busy_turns.set(if due { 0 } else { turns.min(BUSY_TURNS) });
        due
    }

    /// Waits for a completion, the next timer or a wake-up, whichever comes first.
    fn wait(&self, ring: &mut IoUring) {
        self.set_alarm(ring);
        if !self.spin.is_zero() && self.spin(ring) {
            submit(ring);
            return;
        }
        self.inbox.asleep.store(true, SeqCst);
        fence(SeqCst);
        if self.inbox.tasks.1.is_empty() && self.completed.borrow().is_empty() {
            // A signal came, or completions have to be taken first: both are seen to.
            let _ = ring.submit_and_wait(1);
        }
        self.inbox.asleep.store(false, SeqCst);
    }

    /// Sees to it that a completion comes when the next timer is due. The kernel keeps one alarm
    /// between waits, because setting a clock each time would cost more than the wait.
    fn set_alarm(&self, ring: &mut IoUring) {
        let timers = self.timers.borrow();
        let Some((&(due, _), _)) = timers.first_key_value() else { return };
        let left = || Timespec::from(due.saturating_duration_since(Instant::now()));
        let request = match self.alarm.get() {
            Some(alarm) if alarm <= due => return,
            Some(_) => {
                self.alarm_left.set(left());
                let left = self.alarm_left.as_ptr();
                opcode::TimeoutUpdate::new(ALARM, left).build().user_data(NOBODY)
            }
            None => {
                self.alarm_left.set(left());
                opcode::Timeout::new(self.alarm_left.as_ptr()).build().user_data(ALARM)
            }
        };
        self.alarm.set(Some(due));
        self.push(ring, &request);
    }

    /// Looks for work without sleeping; whether some came.
    fn spin(&self, ring: &mut IoUring) -> bool {
        submit(ring);
        let end = Instant::now() + self.spin;
        loop {
            for _ in 0..32 {
                let came = ring.submission().taskrun() || !ring.completion().is_empty();
                let came = came || !self.completed.borrow().is_empty();
                if came || !self.inbox.tasks.1.is_empty() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    /// Waits for another thread's wake-up. What it has written so far is of no interest: the inbox is
    /// looked at before the driver sleeps.
    fn poll_event(&self) {
        let event = Fd(self.inbox.event.as_raw_fd());
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.inbox.event, &mut count);
        let poll = opcode::PollAdd::new(event, libc::POLLIN as u32).build().user_data(WOKEN);
        self.push(&mut self.ring.borrow_mut(), &poll);
    }

    /// Has the kernel watch a descriptor; returns the poll's number.
    fn add_poll(&self, fd: BorrowedFd<'_>, interests: &Rc<Interests>, way: Direction) -> usize {
        let poll = self.polls.borrow_mut().insert((interests.clone(), way));
        let events = if way == Direction::In { libc::POLLIN } else { libc::POLLOUT };
        let request = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events as u32).build();
        self.push(&mut self.ring.borrow_mut(), &request.user_data(poll as u64));
        poll
    }

    /// Has the kernel give up a poll that has not been reported yet, for each keeps its file open.
    ///
    /// It may have been answered already. Its number is not free before that is reported, so whichever
    /// poll has it next is queued behind this request, which cannot hit that one.
    fn remove_poll(&self, poll: usize) {
        let request = opcode::PollRemove::new(poll as u64).build().user_data(NOBODY);
        self.push(&mut self.ring.borrow_mut(), &request);
    }

    /// Queues a request for the kernel.
    fn push(&self, ring: &mut IoUring, request: &squeue::Entry) {
        // SAFETY: polls and their removals point to no memory, and the time that a request for the alarm
        // points to lives as long as the driver, and so as the ring.
        while unsafe { ring.submission().push(request) }.is_err() {
            submit(ring);
            // Some kernels take no requests as long as there is no room for completions.
            self.take_completions(ring);
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// A ring for one thread that does the kernel's part of the work only when it asks for it; an older
/// kernel's ring otherwise.
fn make_ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(COMPLETIONS);
    let mut modern = builder.clone();
    modern.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    match modern.build(SUBMISSIONS) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(SUBMISSIONS),
        made => made,
    }
}

/// Hands over what is queued. What the kernel does not take now, it takes the next time.
fn submit(ring: &IoUring) {
    let _ = ring.submit();
}

/// A driver that is the calling thread's current one, and the one that was before.
struct Running(Rc<Driver>, Option<Rc<Driver>>);

impl Running {
    fn start(driver: Rc<Driver>) -> Self {
        let before = CURRENT.replace(Some(driver.clone()));
        Self(driver, before)
    }
}

impl std::ops::Deref for Running {
    type Target = Rc<Driver>;

    fn deref(&self) -> &Rc<Driver> {
        &self.0
    }
}

/// Drops the tasks that are left, and has the kernel let go of their descriptors.
impl Drop for Running {
    fn drop(&mut self) {
        // A task that is woken is in one of the queues, and dropping it there drops its future. One that
        // another thread is waking is there in a moment.
        while !self.tasks.borrow().is_empty() {
            let tasks: Vec<Waker> =
                self.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
            tasks.into_iter().for_each(Waker::wake);
            loop {
                let task = self.ready.borrow_mut().pop_front();
                let task = task.or_else(|| self.inbox.tasks.1.try_recv().ok());
                if task.is_none() {
                    break;
                }
            }
        }
        let mut ring = self.ring.borrow_mut();
        loop {
            let queue = ring.submission();
            let done = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
            drop(queue);
            if done || ring.submit().is_err() {
                break;
            }
            ring.completion().for_each(drop);
        }
        drop(ring);
        CURRENT.set(self.1.take());
    }
}

pin_project! {
    /// A task's future, which is on its driver's list. Written out, as an async block would hold the
    /// future twice.
    struct Listed<F> {
        _entry: ListEntry,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

struct ListEntry {
    driver: Rc<Driver>,
    number: usize,
}

impl Drop for ListEntry {
    fn drop(&mut self) {
        let waker = self.driver.tasks.borrow_mut().remove(self.number);
        drop(waker);
    }
}

/// A wait for a point in time.
#[derive(Debug)]
pub(super) struct Sleep {
    driver: Rc<Driver>,
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.key.0 {
            return Poll::Ready(());
        }
        self.driver.timers.borrow_mut().insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.driver.timers.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    fn run<F: Future<Output = ()> + 'static>(start: impl FnOnce(Rc<Driver>) -> F) {
        let driver = Driver::new(Duration::ZERO).expect("io_uring is permitted here");
        driver.clone().run(start(driver));
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_times() {
        run(|driver| async move {
            let order = Rc::new(RefCell::new(Vec::new()));
            let began = Instant::now();
            let tasks: Vec<_> = [30, 10, 20]
                .map(|ms| {
                    let (order, driver) = (order.clone(), driver.clone());
                    let due = began + Duration::from_millis(ms);
                    driver.clone().spawn(async move {
                        driver.sleep_until(due).await;
                        assert!(Instant::now() >= due);
                        order.borrow_mut().push(ms);
                    })
                })
                .into();
            for task in tasks {
                task.await;
            }
            assert_eq!(*order.borrow(), [10, 20, 30]);
        });
    }

    #[test]
    fn another_thread_wakes_a_driver_that_sleeps_without_a_timer() {
        let (give, take) = channel::<Waker>();
        let other = thread::spawn(move || take.iter().for_each(Waker::wake));
        run(|_| async move {
            for _ in 0..1000 {
                let mut given = false;
                poll_fn(|cx| match std::mem::replace(&mut given, true) {
                    true => Poll::Ready(()),
                    false => {
                        give.send(cx.waker().clone()).expect("the other thread listens");
                        Poll::Pending
                    }
                })
                .await;
            }
        });
        other.join().expect("the other thread is well");
    }

    #[test]
    fn what_is_left_is_dropped_and_lets_go_of_its_descriptor() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        run(|driver| async move {
            let watched = Watched::new(driver.clone(), OwnedFd::from(listener));
            let waits = async move { poll_fn(|cx| watched.poll_readable(cx)).await };
            driver.spawn(waits).detach();
            driver.spawn(pending::<()>()).detach();
            // Until the poll is in the kernel.
            driver.clone().sleep_until(Instant::now() + Duration::from_millis(1)).await;
        });
        TcpListener::bind(address).expect("nobody listens there any more");
    }

    #[test]
    fn readiness_is_reported_and_forgotten() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        run(|driver| async move {
            let watched = Watched::new(driver, listener.as_fd());
            for _ in 0..3 {
                let dialer = thread::spawn(move || TcpStream::connect(address));
                poll_fn(|cx| watched.poll_readable(cx)).await;
                listener.accept().expect("somebody is there");
                dialer.join().expect("it is well").expect("it has connected");
            }
        });
    }

    #[test]
    fn more_polls_than_the_ring_holds_are_all_armed() {
        let event = eventfd(0, EventfdFlags::CLOEXEC).expect("an event");
        run(|driver| async move {
            let event = Rc::new(event);
            let tasks: Vec<_> = (0..3 * COMPLETIONS)
                .map(|_| {
                    let (event, watching) = (event.clone(), driver.clone());
                    driver.spawn(async move {
                        let watched = Watched::new(watching, event.as_fd());
                        poll_fn(|cx| watched.poll_readable(cx)).await;
                    })
                })
                .collect();
            driver.sleep_until(Instant::now() + Duration::from_millis(1)).await;
            rustix::io::write(&*event, &1u64.to_ne_bytes()).expect("an event can be told");
            for task in tasks {
                task.await;
            }
        });
    }
}
