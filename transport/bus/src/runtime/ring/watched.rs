//! Descriptors whose readiness the ring reports.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Driver;

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
                let poll = self.driver.add_poll(self.as_fd(), &self.interests, direction);
                interest.state.set(State::Armed(poll));
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

/// Has the kernel give up its polls.
impl<F: AsFd> Drop for Watched<F> {
    fn drop(&mut self) {
        for direction in [Direction::In, Direction::Out] {
            let interest = self.interests.of(direction);
            let waker = interest.waker.borrow_mut().take();
            drop(waker);
            if let State::Armed(poll) = interest.state.get() {
                self.driver.remove_poll(poll);
            }
        }
    }
}
