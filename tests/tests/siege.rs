//! Strangers besiege a replica's port without a pause, and every replica joins at its first attempt.
//!
//! `ringseal-bench -- siege` measures the same with attackers in processes of their own; here only
//! the outcome counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringseal::HandshakeResult::{Evicted, Ok as Joined};
use ringseal::Role;
use ringseal_tests::stranger::{Stranger, TRUE, random};
use ringseal_tests::target::{Setup, eventually};

/// The replica under siege, the one whose link is up all along, and those that join.
const US: u8 = 200;
const LINKED: u8 = 0;
const JOINING: std::ops::Range<u8> = 1..11;

/// Strangers at any time, and a waiting room that they overflow.
const STRANGERS: usize = 300;
const CAP: usize = 256;

/// Strangers who come back as soon as they are sent away, one every millisecond at most.
struct Crowd {
    over: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Crowd {
    fn gather(address: SocketAddr, speech: fn() -> Vec<u8>) -> Self {
        let (over, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (over.clone(), opened.clone());
        let thread = thread::spawn(move || {
            let mut crowd = Vec::with_capacity(STRANGERS);
            while !until.load(SeqCst) {
                crowd.retain(is_open);
                if crowd.len() < STRANGERS {
                    crowd.push(open(address, &speech()));
                    count.fetch_add(1, SeqCst);
                }
                thread::park_timeout(Duration::from_millis(1));
            }
        });
        Self { over, opened, thread }
    }

    fn opened(&self) -> u64 {
        self.opened.load(SeqCst)
    }

    fn disperse(self) {
        self.over.store(true, SeqCst);
        self.thread.join().expect("strangers are well");
    }
}

fn open(address: SocketAddr, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the port takes everybody");
    // It may have been closed already.
    let _ = stream.write_all(says);
    stream.set_nonblocking(true).expect("an option of every socket");
    stream
}

/// Whether the other side has not closed; what it has said is taken and let go.
fn is_open(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 256]) {
        Ok(read) => read > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn besieged_by(speech: fn() -> Vec<u8>) {
    let setup = Setup::new(US).callers(JOINING.chain([LINKED]));
    let target = setup.limits(|limits| limits.preauth_connections = CAP).start();
    let mut link = Stranger::join(target.address(), &TRUE, LINKED, US);
    target.up(LINKED);

    let crowd = Crowd::gather(target.address(), speech);
    eventually("the crowd has gathered", || crowd.opened() > STRANGERS as u64);
    for id in JOINING {
        let before = crowd.opened();
        let member = Setup::new(id).peer(US, target.address()).start();
        assert!(target.up(id).1 && member.up(US).1, "both ends are authenticated");
        member.wait_handshakes(Role::Dialer, &[(Joined, 1)]);
        link.ping();
        eventually("strangers go on coming", || crowd.opened() > before);
        member.shutdown();
        target.down(id);
    }
    link.ping();
    crowd.disperse();
    target.wait("nobody waits any more", |m| m.preauth_connections == 0);
    assert_eq!(target.accepted(Joined), JOINING.len() as u64 + 1);
    link.ping();
    target.shutdown();
}

#[test]
fn strangers_who_say_nothing_keep_nobody_out() {
    besieged_by(Vec::new);
}

#[test]
fn strangers_who_say_all_but_the_last_byte_keep_nobody_out() {
    besieged_by(|| TRUE.hello(1).as_bytes()[..255].to_vec());
}

#[test]
fn strangers_who_never_finish_keep_nobody_out() {
    besieged_by(|| TRUE.hello(1).as_bytes().to_vec());
}

#[test]
fn strangers_who_talk_nonsense_keep_nobody_out() {
    besieged_by(|| random::<512>().to_vec());
}

#[test]
fn strangers_who_overflow_the_waiting_room_are_evicted() {
    let target = Setup::new(US).callers([LINKED]).limits(|l| l.preauth_connections = CAP).start();
    let crowd = Crowd::gather(target.address(), Vec::new);
    eventually("evictions", || target.accepted(Evicted) > 0);
    assert!(target.metrics().preauth_connections <= CAP as u64);
    crowd.disperse();
    target.shutdown();
}
