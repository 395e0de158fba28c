//! An executor for one thread, on an io_uring of its own.
//!
//! The ring waits: for descriptors to become readable or writable, for the next timer, for a wake-up from
//! another thread. Reading and writing are plain calls that never block. Each wait for a descriptor is one
//! oneshot poll, which goes to the kernel together with the wait for all of them, so a shard sleeps and
//! wakes with one system call however many links it has.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

/// How many polls are handed to the kernel at once. More are handed over in several calls.
const SUBMISSIONS: u32 = 256;

/// How many completions wait for us at most before the kernel keeps them in memory of its own.
const COMPLETIONS: u32 = 1024;

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
    /// Where completions are put for a moment; kept for its memory.
    completed: Cell<Vec<u64>>,
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
            completed: Cell::default(),
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
    fn look(self: &Rc<Self>, idle: bool) {
        let mut completed = self.completed.take();
        {
            let mut ring = self.ring.borrow_mut();
            if idle {
                self.wait(&mut ring);
            } else if has_work(&mut ring) {
                submit(&ring);
            }
            completed.extend(ring.completion().map(|completion| completion.user_data()));
        }
        for poll in completed.drain(..) {
            match poll {
                NOBODY => {}
                WOKEN => self.poll_event(),
                ALARM => self.alarm.set(None),
                poll => {
                    let (interests, direction) = self.polls.borrow_mut().remove(poll as usize);
                    interests.of(direction).fire();
                }
            }
        }
        self.completed.set(completed);
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
        if self.inbox.tasks.1.is_empty() {
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
        // SAFETY: the time that the request points to lives as long as the driver, and so as the ring.
        while unsafe { ring.submission().push(&request) }.is_err() {
            submit(ring);
        }
    }

    /// Looks for work without sleeping; whether some came.
    fn spin(&self, ring: &mut IoUring) -> bool {
        submit(ring);
        let end = Instant::now() + self.spin;
        loop {
            for _ in 0..32 {
                let came = ring.submission().taskrun() || !ring.completion().is_empty();
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

    /// Waits for another thread's wake-up. The event is never read: what counts is that it changes.
    fn poll_event(&self) {
        let event = Fd(self.inbox.event.as_raw_fd());
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.inbox.event, &mut count);
        self.push(opcode::PollAdd::new(event, libc::POLLIN as u32).build().user_data(WOKEN));
    }

    /// Queues a request for the kernel.
    fn push(&self, request: squeue::Entry) {
        let mut ring = self.ring.borrow_mut();
        loop {
            // SAFETY: requests are polls and their removals, which point to no memory.
            if unsafe { ring.submission().push(&request) }.is_ok() {
                return;
            }
            submit(&ring);
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

/// Whether the kernel has something to take or to do.
fn has_work(ring: &mut IoUring) -> bool {
    let queue = ring.submission();
    !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
}

/// Hands over what is queued. What the kernel does not take now, it takes the next time.
fn submit(ring: &IoUring) {
    let _ = ring.submit();
}

/// A driver that is the calling thread's current one.
struct Running(Rc<Driver>);

impl Running {
    fn start(driver: Rc<Driver>) -> Self {
        CURRENT.set(Some(driver.clone()));
        Self(driver)
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
        // A task that is woken is in one of the queues, and dropping it there drops its future.
        let tasks: Vec<Waker> = self.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
        tasks.into_iter().for_each(Waker::wake);
        loop {
            let task = self.ready.borrow_mut().pop_front();
            let task = task.or_else(|| self.inbox.tasks.1.try_recv().ok());
            if task.is_none() {
                break;
            }
        }
        let mut ring = self.ring.borrow_mut();
        while has_work(&mut ring) && ring.submit().is_ok() {}
        CURRENT.set(None);
    }
}

/// A task's future, which is on its driver's list. Written out, as an async block would hold the future
/// twice.
struct Listed<F> {
    _entry: ListEntry,
    future: F,
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self` and never moved out of it.
        unsafe { self.map_unchecked_mut(|listed| &mut listed.future) }.poll(cx)
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

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// A descriptor's readiness, as far as somebody has asked for it.
#[derive(Debug, Default)]
struct Interests {
    input: Interest,
    output: Interest,
}

impl Interests {
    fn of(&self, direction: Direction) -> &Interest {
        match direction {
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }
}

#[derive(Debug, Default)]
struct Interest {
    state: Cell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nobody has asked.
    #[default]
    Idle,
    /// The kernel has a poll of this number.
    Armed(usize),
    /// The kernel has answered.
    Fired,
}

impl Interest {
    fn fire(&self) {
        self.state.set(State::Fired);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A descriptor whose readiness a driver watches.
#[derive(Debug)]
pub(super) struct Watched<F: AsFd = OwnedFd> {
    driver: Rc<Driver>,
    interests: Rc<Interests>,
    fd: F,
}

impl<F: AsFd> Watched<F> {
    pub(super) fn new(driver: Rc<Driver>, fd: F) -> Self {
        Self { driver, interests: Rc::default(), fd }
    }

    /// Completes when there may be something to read, or the end.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, Direction::In)
    }

    /// Completes when there may be room to write, or no way to the peer any more.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, Direction::Out)
    }

    fn poll(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<()> {
        let interest = self.interests.of(direction);
        match interest.state.get() {
            State::Fired => {
                interest.state.set(State::Idle);
                return Poll::Ready(());
            }
            State::Armed(_) => {}
            State::Idle => {
                let poll =
                    self.driver.polls.borrow_mut().insert((self.interests.clone(), direction));
                interest.state.set(State::Armed(poll));
                let events = if direction == Direction::In { libc::POLLIN } else { libc::POLLOUT };
                let request = opcode::PollAdd::new(Fd(self.fd.as_fd().as_raw_fd()), events as u32);
                self.driver.push(request.build().user_data(poll as u64));
            }
        }
        let mut waker = interest.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<F: AsFd> AsFd for Watched<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has the kernel give up its polls, for each keeps the file open.
impl<F: AsFd> Drop for Watched<F> {
    fn drop(&mut self) {
        for direction in [Direction::In, Direction::Out] {
            let interest = self.interests.of(direction);
            let waker = interest.waker.borrow_mut().take();
            drop(waker);
            if let State::Armed(poll) = interest.state.get() {
                let request = opcode::PollRemove::new(poll as u64).build();
                self.driver.push(request.user_data(NOBODY));
            }
        }
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
