//! The driver under a load that its parts were not written for one by one.

use std::future::{pending, poll_fn};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::*;

fn run<F: Future<Output = ()> + 'static>(start: impl FnOnce(Rc<Driver>) -> F) {
    let driver = Driver::new(Duration::ZERO).expect("io_uring is permitted here");
    driver.clone().run(start(driver));
}

/// Enough of a random number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn event() -> Rc<OwnedFd> {
    Rc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an event"))
}

fn ring_bell(event: &OwnedFd) {
    rustix::io::write(event, &1u64.to_ne_bytes()).expect("an event can be told");
}

#[test]
fn a_driver_ends_although_more_is_left_than_the_ring_holds() {
    let silent = event();
    let file = silent.clone();
    run(|driver| async move {
        for _ in 0..3 * COMPLETIONS {
            let (silent, watching) = (silent.clone(), driver.clone());
            let waits = async move {
                let watched = Watched::new(watching, silent.as_fd());
                poll_fn(|cx| watched.poll_readable(cx)).await;
            };
            driver.spawn(waits).detach();
        }
        driver.clone().sleep_until(Instant::now() + Duration::from_millis(1)).await;
    });
    assert_eq!(Rc::strong_count(&file), 1, "everything that was left is gone");
}

#[test]
fn a_driver_leaves_the_one_before_as_it_was() {
    run(|outer| async move {
        run(|_| async {});
        assert!(current().is_some_and(|driver| Rc::ptr_eq(&driver, &outer)));
        outer.clone().spawn(async {}).await;
    });
}

#[test]
fn tasks_that_other_threads_wake_at_the_end_are_dropped_too() {
    struct Counted(Rc<Cell<usize>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let (give, take) = channel::<Waker>();
    let waking = thread::spawn(move || take.iter().for_each(Waker::wake));
    for _ in 0..300 {
        let alive = Rc::new(Cell::new(0));
        let (counting, give) = (alive.clone(), give.clone());
        run(|driver| async move {
            for _ in 0..8 {
                alive.set(alive.get() + 1);
                let (counted, give) = (Counted(alive.clone()), give.clone());
                let waits = async move {
                    let _counted = counted;
                    poll_fn(|cx| {
                        give.send(cx.waker().clone()).map_or(Poll::Ready(()), |()| Poll::Pending)
                    })
                    .await;
                    pending::<()>().await;
                };
                driver.spawn(waits).detach();
            }
            driver.spawn(async {}).await;
        });
        assert_eq!(counting.get(), 0);
    }
    drop(give);
    waking.join().expect("it is well");
}

/// Watchers come and go while what they watch becomes ready, so that polls are removed that have been
/// answered, and their numbers are used again at once. Whoever is still there has to be told.
#[test]
fn no_removal_hits_the_poll_of_another() {
    run(|driver| async move {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for round in 0..2000u64 {
            let deaf: Vec<_> = (0..dice.below(40)).map(|_| event()).collect();
            let heard: Vec<_> = (0..dice.below(40)).map(|_| event()).collect();
            let watch = |event: &Rc<OwnedFd>| {
                let (event, watching) = (event.clone(), driver.clone());
                driver.spawn(async move {
                    let watched = Watched::new(watching, event.as_fd());
                    poll_fn(|cx| watched.poll_readable(cx)).await;
                })
            };
            let leaving: Vec<_> = deaf.iter().map(watch).collect();
            driver.spawn(async {}).await;
            // Answered, perhaps reported, and given up.
            for event in &deaf {
                if dice.below(2) == 0 {
                    ring_bell(event);
                }
            }
            if dice.below(3) == 0 {
                driver.spawn(async {}).await;
            }
            drop(leaving);
            let staying: Vec<_> = heard.iter().map(watch).collect();
            let bells = heard.clone();
            if round % 2 == 0 {
                driver.spawn(async {}).await;
            }
            bells.iter().for_each(|event| ring_bell(event));
            for task in staying {
                task.await;
            }
        }
        assert!(driver.polls.borrow().len() <= 40, "polls are given back");
    });
}

/// Sockets that talk, fall silent and close, timers that are set and dropped, and threads that wake.
#[test]
fn sockets_timers_and_wakers_get_along() {
    const TASKS: u64 = 24;
    const STEPS: u64 = 300;
    let (give, take) = channel::<Waker>();
    let threads: Vec<_> = share(take, 3);
    run(|driver| async move {
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| driver.spawn(live(driver.clone(), Dice(number + 1), give.clone(), STEPS)))
            .collect();
        drop(give);
        for task in tasks {
            task.await;
        }
        assert!(driver.timers.borrow().is_empty());
    });
    threads.into_iter().for_each(|thread| thread.join().expect("it is well"));
}

/// Threads that wake whomever they are told to.
fn share(wakers: std::sync::mpsc::Receiver<Waker>, threads: usize) -> Vec<thread::JoinHandle<()>> {
    let wakers = Arc::new(std::sync::Mutex::new(wakers));
    let wake = |wakers: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<Waker>>>| {
        move || loop {
            let waker = wakers.lock().expect("no panic").recv();
            let Ok(waker) = waker else { return };
            waker.wake();
        }
    };
    (0..threads).map(|_| thread::spawn(wake(wakers.clone()))).collect()
}

async fn live(driver: Rc<Driver>, mut dice: Dice, give: Sender<Waker>, steps: u64) {
    for _ in 0..steps {
        let deadline = Instant::now() + Duration::from_micros(dice.below(700));
        match dice.below(4) {
            0 => driver.clone().sleep_until(deadline).await,
            1 => woken_from_outside(&give).await,
            2 => talk(&driver, dice.below(3)).await,
            _ => {
                // Given up by whichever comes first, the task or the timer.
                let (ours, _theirs) = pair();
                let watched = Watched::new(driver.clone(), ours);
                let mut sleep = driver.clone().sleep_until(deadline);
                poll_fn(|cx| match watched.poll_readable(cx) {
                    Poll::Ready(()) => panic!("nobody has said anything"),
                    Poll::Pending => Pin::new(&mut sleep).poll(cx),
                })
                .await;
            }
        }
    }
}

async fn woken_from_outside(give: &Sender<Waker>) {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        give.send(cx.waker().clone()).expect("the threads listen");
        Poll::Pending
    })
    .await;
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a socket");
    (ours.into(), theirs)
}

/// Waits for a word, an end, or a word and an end of another task.
async fn talk(driver: &Rc<Driver>, how: u64) {
    let (ours, mut theirs) = pair();
    let watched = Watched::new(driver.clone(), ours);
    let other = driver.spawn(async move {
        if how > 0 {
            io::Write::write_all(&mut theirs, b"a word").expect("there is room");
        }
        (how == 1).then_some(theirs)
    });
    poll_fn(|cx| watched.poll_readable(cx)).await;
    poll_fn(|cx| watched.poll_writable(cx)).await;
    let mut word = [0; 16];
    let read = rustix::io::read(&watched, &mut word).expect("it is readable");
    assert_eq!(read, if how > 0 { 6 } else { 0 });
    drop(other.await);
}
