//! Connecting over blocking sockets, for every contestant whose handshake is a blocking one.
//!
//! A pool of as many threads as connections under way accepts on one listener; as many client
//! threads connect, exchange one frame, and close. Neither side starts a thread per connection.

use std::convert::Infallible;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;

use super::{Client, Listening};
use crate::frame::{self, HEADER};
use crate::measure::{Latencies, Outcome, Run};
use crate::window::Deadline;

/// Connections per run at most: each leaves a port in TIME_WAIT, and ports are finite.
const MOST_CONNECTIONS: usize = 8000;

/// The accepting side of a handshake and of the one frame behind it.
pub(super) trait Accept: Send + Sync {
    /// Shakes hands on `stream`, reads one frame of [`HEADER`] bytes and sends it back.
    fn accept(&self, stream: &mut TcpStream) -> Result<()>;
}

/// The dialing side. Each client thread has its own, so that it may remember sessions.
pub(super) trait Dial: Send {
    /// Shakes hands on `stream`, sends `frame` and reads as much into `answer`.
    fn dial(&mut self, stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> Result<()>;
}

/// Serves connections with `at_once` threads until the process ends.
pub(super) fn serve(
    at_once: usize,
    acceptor: Arc<dyn Accept>,
    listening: Listening<'_>,
) -> Result<Infallible> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding a listener")?;
    let mut threads = Vec::new();
    for _ in 0..at_once {
        let (listener, acceptor) = (listener.try_clone()?, Arc::clone(&acceptor));
        threads.push(thread::spawn(move || accept_in_turn(&listener, acceptor.as_ref())));
    }
    listening(listener.local_addr()?)?;
    for thread in threads {
        thread.join().map_err(|_| anyhow!("an accepting thread panicked"))??;
    }
    Err(anyhow!("every accepting thread has ended"))
}

fn accept_in_turn(listener: &TcpListener, acceptor: &dyn Accept) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().context("accepting")?;
        stream.set_nodelay(true)?;
        if let Err(error) = acceptor.accept(&mut stream) {
            eprintln!("a connection failed: {error:#}");
            continue;
        }
        // The client closes first: waiting for that keeps TIME_WAIT on its side.
        let _closed = stream.read(&mut [0; 64]);
    }
}

/// The client's side of the connect shapes.
pub(super) struct Connects {
    server: SocketAddr,
    dialers: Vec<Box<dyn Dial>>,
}

impl Connects {
    /// One thread for each of `dialers` will connect to `server`.
    pub(super) fn new(server: SocketAddr, dialers: Vec<Box<dyn Dial>>) -> Self {
        Self { server, dialers }
    }
}

impl Client for Connects {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let server = self.server;
        let most = MOST_CONNECTIONS / self.dialers.len();
        let run = Run::start();
        let threads = thread::scope(|scope| {
            let dialers = self.dialers.iter_mut();
            let threads: Vec<_> = dialers
                .map(|dialer| scope.spawn(move || connect(server, dialer.as_mut(), time, most)))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<Latencies>>| {
                thread.join().map_err(|_| anyhow!("a connecting thread panicked"))?
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let mut all = Latencies::new()?;
        for latencies in &threads {
            all.add(latencies)?;
        }
        Ok(run.finish(all.count(), Some(all)))
    }
}

fn connect(
    server: SocketAddr,
    dialer: &mut dyn Dial,
    time: Duration,
    most: usize,
) -> Result<Latencies> {
    let frame: Bytes = frame::build(HEADER, frame::REQUEST);
    let mut answer = vec![0; HEADER];
    let mut latencies = Latencies::new()?;
    let mut clock = Deadline::new(time, 1);
    for _ in 0..most {
        let started = std::time::Instant::now();
        let mut stream = TcpStream::connect(server).context("connecting")?;
        stream.set_nodelay(true)?;
        dialer.dial(&mut stream, &frame, &mut answer).context("the exchange")?;
        ensure!(answer == frame, "the first frame came back changed");
        drop(stream);
        latencies.record(started.elapsed());
        if !clock.tick() {
            break;
        }
    }
    Ok(latencies)
}
