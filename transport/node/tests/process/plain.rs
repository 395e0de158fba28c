//! Peers of the plain protocol, which know no authentication: sockets in the test's hands.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringseal::auth::cluster_id;
use ringseal::{Command, Header, ReplicaId};

/// How long a peer waits before it dials again.
const REDIAL: Duration = Duration::from_millis(50);

/// A replica that dials every higher id, is dialled by every lower one, believes everybody, answers
/// no Hello and sends back what it receives.
#[derive(Debug)]
pub(crate) struct PlainPeer {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    over: AtomicBool,
    links: Mutex<Vec<TcpStream>>,
}

impl PlainPeer {
    pub(crate) fn start(cluster: &str, id: u8, roster: &BTreeMap<u8, SocketAddr>) -> Self {
        let mut hello = Header::new(Command::REPLICA_HELLO);
        hello.set_cluster(cluster_id(cluster)).set_replica(ReplicaId::new(id));
        let state = Arc::new(State::default());
        let listener = TcpListener::bind(roster[&id]).expect("the port is ours");
        let mut threads = vec![thread::spawn({
            let state = state.clone();
            move || state.accept(&listener)
        })];
        for (_, address) in roster.iter().filter(|(peer, _)| **peer > id) {
            let (state, address, hello) = (state.clone(), *address, hello.clone());
            threads.push(thread::spawn(move || state.dial(address, &hello)));
        }
        Self { state, threads }
    }

    /// Ends it and all its links.
    pub(crate) fn stop(self) {
        self.state.over.store(true, SeqCst);
        for link in self.state.links.lock().expect("nobody panics").drain(..) {
            // One that has ended already cannot be ended again.
            let _ = link.shutdown(Shutdown::Both);
        }
        self.threads.into_iter().for_each(|thread| thread.join().expect("the peer is well"));
    }
}

impl State {
    fn accept(&self, listener: &TcpListener) {
        listener.set_nonblocking(true).expect("an option of every socket");
        thread::scope(|links| {
            while !self.over.load(SeqCst) {
                match listener.accept() {
                    Ok((mut link, _)) => {
                        link.set_nonblocking(false).expect("an option of every socket");
                        links.spawn(move || {
                            // Who it is does not matter to an echo.
                            if link.read_exact(&mut [0; 256]).is_ok() {
                                self.echo(link);
                            }
                        });
                    }
                    Err(_) => thread::park_timeout(Duration::from_millis(2)),
                }
            }
        });
    }

    fn dial(&self, address: SocketAddr, hello: &Header) {
        while !self.over.load(SeqCst) {
            if let Ok(mut link) = TcpStream::connect(address)
                && link.write_all(hello.as_bytes()).is_ok()
            {
                self.echo(link);
            }
            thread::park_timeout(REDIAL);
        }
    }

    fn echo(&self, mut link: TcpStream) {
        let handle = link.try_clone().expect("a descriptor");
        self.links.lock().expect("nobody panics").push(handle);
        let mut buffer = vec![0; 64 << 10];
        while !self.over.load(SeqCst) {
            match link.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) if link.write_all(&buffer[..read]).is_err() => return,
                Ok(_) => {}
            }
        }
    }
}
