//! A TCP proxy between two replicas that can stop forwarding and cut the connection at any byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::address;

/// Forwards connections to one address until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    /// How many bytes of the dialer's stream are forwarded before the connection is cut, if it is to
    /// be cut.
    budget: Mutex<Option<u64>>,
    forwarded: AtomicU64,
    /// Whether nothing is read from the dialer.
    stalled: AtomicBool,
    closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A proxy in front of `target`.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        let address = address::unused();
        let listener = TcpListener::bind(address).expect("the address is ours");
        let shared = Arc::new(Shared {
            target,
            budget: Mutex::default(),
            forwarded: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    /// Where to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes of dialers' streams have been forwarded, handshakes included.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.shared.forwarded.load(SeqCst)
    }

    /// Cuts the connection when `bytes` more of the dialer's stream have been forwarded, and lets
    /// whole connections pass again afterwards.
    pub fn cut_after(&self, bytes: u64) {
        *self.shared.budget() = Some(bytes);
    }

    /// Stops reading the dialer's stream, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.shared.stalled.store(stalled, SeqCst);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        for stream in self.shared.open().iter() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.shared.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, SeqCst);
        self.shared.cut();
        // Its accept sees that it is closed.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for dialer in listener.incoming().map_while(Result::ok) {
            if self.closed.load(SeqCst) {
                return;
            }
            let Ok(target) = TcpStream::connect(self.target) else { continue };
            let _ = (dialer.set_nodelay(true), target.set_nodelay(true));
            self.open().extend([clone(&dialer), clone(&target)]);
            let (from, to) = (clone(&target), clone(&dialer));
            thread::spawn(move || {
                let _ = io::copy(&mut &from, &mut &to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let shared = self.clone();
            thread::spawn(move || shared.forward(dialer, target));
        }
    }

    fn forward(&self, mut dialer: TcpStream, mut target: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            while self.stalled.load(SeqCst) {
                thread::park_timeout(Duration::from_millis(1));
            }
            let Ok(read) = dialer.read(&mut buffer) else { break };
            let (allowed, last) = self.spend(read);
            if read == 0 || target.write_all(&buffer[..allowed]).is_err() {
                break;
            }
            self.forwarded.fetch_add(allowed as u64, SeqCst);
            if last {
                self.cut();
                return;
            }
        }
        let _ = target.shutdown(Shutdown::Write);
    }

    /// How many of `read` bytes may be forwarded, and whether they are the last.
    fn spend(&self, read: usize) -> (usize, bool) {
        let mut budget = self.budget();
        let Some(left) = *budget else { return (read, false) };
        let allowed = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        *budget = Some(left - allowed as u64);
        (allowed, *budget == Some(0))
    }

    fn budget(&self) -> MutexGuard<'_, Option<u64>> {
        self.budget.lock().expect("nobody panics with it")
    }

    /// Closes every connection; later ones pass whole.
    fn cut(&self) {
        *self.budget() = None;
        for stream in self.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().expect("nobody panics with it")
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("there are descriptors left")
}
