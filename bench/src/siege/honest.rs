//! The honest replicas: one whose link carries traffic all along, and others that join over and over.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringseal_wire::Header;
use serde::{Deserialize, Serialize};

use super::cluster::{Cluster, ELSEWHERE, LINKED, Member, PATIENCE, PLAIN, PLAIN_AT, TAGGED};
use crate::frame::{self, HEADER};
use crate::measure::Latencies;

/// Frames under way on the established link.
const WINDOW: usize = 64;

/// From one join of a replica that shows a tag to the next.
const TAGGED_EVERY: Duration = Duration::from_millis(10);

/// From one join of a replica of the plain protocol to the next.
const PLAIN_EVERY: Duration = Duration::from_millis(40);

/// How long a replica of the plain protocol waits before it dials again.
const REDIAL: Duration = Duration::from_millis(20);

/// How many Hellos are kept for those who capture them.
const HELLOS: usize = 64;

/// What has happened since the last account.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Account {
    /// Frames that came back on the established link.
    pub(super) frames: u64,
    /// Whether it is still up.
    pub(super) linked: bool,
    /// Joins of replicas that show a tag. Each has one attempt.
    pub(super) tagged: Joins,
    /// Joins of replicas of the plain protocol. Each may dial again until [`PATIENCE`] is over.
    pub(super) plain: Joins,
    /// The newest Hellos of replicas that show a tag.
    pub(super) hellos: Vec<Vec<u8>>,
}

/// Joins of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Joins {
    /// How many there were.
    pub(super) attempts: u64,
    /// How long those took that succeeded.
    pub(super) latencies: Latencies,
    /// Why the last one failed that did.
    pub(super) failure: Option<String>,
}

impl Joins {
    fn new() -> Result<Self> {
        Ok(Self { attempts: 0, latencies: Latencies::new()?, failure: None })
    }

    fn count(&mut self, began: Instant, outcome: Result<()>) {
        self.attempts += 1;
        match outcome {
            Ok(()) => self.latencies.record(began.elapsed()),
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }
}

struct State {
    frames: AtomicU64,
    linked: AtomicBool,
    tagged: Mutex<Joins>,
    plain: Mutex<Joins>,
    hellos: Mutex<Vec<Vec<u8>>>,
}

/// Starts all of them. `tagged_at` is where those come from that show a tag.
pub(super) fn start(
    cluster: &Cluster,
    target: SocketAddr,
    tagged_at: Ipv4Addr,
) -> Result<impl FnMut() -> Result<Account> + use<>> {
    let state = Arc::new(State {
        frames: AtomicU64::new(0),
        linked: AtomicBool::new(true),
        tagged: Mutex::new(Joins::new()?),
        plain: Mutex::new(Joins::new()?),
        hellos: Mutex::new(Vec::new()),
    });
    let linked = Member::new(cluster, ELSEWHERE, target, true)?;
    let (link, _) = linked.join(LINKED).context("the established link")?;
    let (carrier, tagged, plain) = (state.clone(), state.clone(), state.clone());
    thread::spawn(move || carry(link, &carrier));
    let member = Member::new(cluster, tagged_at, target, true)?;
    thread::spawn(move || join_tagged(&member, &tagged));
    let member = Member::new(cluster, PLAIN_AT, target, false)?;
    thread::spawn(move || join_plain(&member, &plain));
    Ok(move || {
        let none = Joins::new()?;
        let take = |joins: &Mutex<Joins>| std::mem::replace(&mut *lock(joins), none.clone());
        Ok(Account {
            frames: state.frames.swap(0, Relaxed),
            linked: state.linked.load(Relaxed),
            tagged: take(&state.tagged),
            plain: take(&state.plain),
            hellos: std::mem::take(&mut *lock(&state.hellos)),
        })
    })
}

/// Keeps a window of frames under way until the link ends.
fn carry(link: TcpStream, state: &State) {
    let Err(error) = echo(link, &state.frames);
    eprintln!("the established link: {error:#}");
    state.linked.store(false, Relaxed);
}

/// One window at a time, there and back whole: so the target does the same work for each, however
/// fast the two ends are at the moment.
fn echo(mut link: TcpStream, frames: &AtomicU64) -> Result<std::convert::Infallible> {
    let window = frame::repeat(&frame::build(HEADER, frame::REQUEST), WINDOW);
    let mut returned = vec![0; window.len()];
    link.set_read_timeout(None)?;
    loop {
        link.write_all(&window)?;
        link.read_exact(&mut returned)?;
        ensure!(returned == window, "a window came back changed");
        frames.fetch_add(WINDOW as u64, Relaxed);
    }
}

fn join_tagged(member: &Member, state: &State) {
    for id in TAGGED.cycle() {
        let began = Instant::now();
        let outcome = member.join(id);
        let joined = outcome.map(|(_link, hello)| keep(&state.hellos, &hello));
        lock(&state.tagged).count(began, joined);
        thread::sleep(TAGGED_EVERY.saturating_sub(began.elapsed()));
    }
}

fn keep(hellos: &Mutex<Vec<Vec<u8>>>, hello: &Header) {
    let mut hellos = lock(hellos);
    if hellos.len() == HELLOS {
        hellos.remove(0);
    }
    hellos.push(hello.as_bytes().to_vec());
}

fn join_plain(member: &Member, state: &State) {
    for id in PLAIN.cycle() {
        let began = Instant::now();
        let joined = loop {
            match member.join(id) {
                Ok(_) => break Ok(()),
                Err(error) if began.elapsed() > PATIENCE => break Err(error),
                Err(_) => thread::sleep(REDIAL),
            }
        };
        lock(&state.plain).count(began, joined);
        thread::sleep(PLAIN_EVERY.saturating_sub(began.elapsed()));
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
