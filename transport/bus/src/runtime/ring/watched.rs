//! Descriptors whose readiness the ring reports.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Driver, NOBODY};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// A descriptor's readiness, as far as somebody has asked for it.
#[derive(Debug, Default)]
pub(super) struct Interests {
    input: Interest,
    output: Interest,
}

impl Interests {
    pub(super) fn of(&self, direction: Direction) -> &Interest {
        match direction {
            Direction::In => &self.input,
            Direction::Out => &self.output,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Interest {
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
    pub(super) fn fire(&self) {
        self.state.set(State::Fired);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A descriptor whose readiness a driver watches.
#[derive(Debug)]
pub(in crate::runtime) struct Watched<F: AsFd = OwnedFd> {
    driver: Rc<Driver>,
    interests: Rc<Interests>,
    fd: F,
}

impl<F: AsFd> Watched<F> {
    pub(in crate::runtime) fn new(driver: Rc<Driver>, fd: F) -> Self {
        Self { driver, interests: Rc::default(), fd }
    }

    /// Completes when there may be something to read, or the end.
    pub(in crate::runtime) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, Direction::In)
    }

    /// Completes when there may be room to write, or no way to the peer any more.
    pub(in crate::runtime) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
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
