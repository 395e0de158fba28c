//! A process without descriptors: its port sheds strangers, its links live, and the port comes back.

use std::fs::File;
use std::net::TcpStream;

use ringseal::{Eviction, Lane};
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const US: u8 = 9;

/// A stranger's socket, made while there are descriptors.
fn socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left")
}

fn connect(socket: Socket, target: &Target) -> Stranger {
    socket.connect(&target.address().into()).expect("the port's queue has room");
    Stranger::new(TcpStream::from(socket))
}

/// Takes every descriptor that is left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files
}

// The only test of its process, whose limit it changes.
#[test]
fn the_port_outlives_a_time_without_descriptors() {
    let target = Setup::new(US).callers(0..US).shards(2).graces(60_000, 60_000).start();
    let mut resident = Stranger::join(target.address(), &TRUE, 0, US);
    target.up(0);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..limit }).expect("it only shrinks");

    let early: Vec<_> = (0..8).map(|_| socket()).collect();
    let spare = [socket(), socket(), socket(), socket()];
    let files = exhaust();
    assert!(files.len() < 128, "the limit holds");
    // What the shards have kept back serves a few strangers, then the newest in place of the oldest.
    let mut strangers: Vec<_> = early.into_iter().map(|socket| connect(socket, &target)).collect();
    let mut waiting = strangers.pop().expect("the last");
    target.wait("somebody goes", |m| m.evictions(Lane::Roster, Eviction::Descriptors) > 0);
    resident.ping();
    assert!(waiting.is_open_and_quiet());

    drop(files);
    let finish = waiting.prove(&TRUE, 1, US);
    waiting.write(finish.as_bytes());
    target.up(1);
    waiting.ping();
    drop(strangers);

    // With one descriptor left a connection can be accepted, and perhaps not be handed over.
    let mut files = exhaust();
    for (id, socket) in (2..).zip(spare) {
        files.pop();
        let mut stranger = connect(socket, &target);
        if let Ok(finish) = stranger.try_prove(&TRUE, id, US) {
            let _ = stranger.try_write(finish.as_bytes());
            let _ = stranger.try_ping();
        }
        resident.ping();
        waiting.ping();
    }
    drop(files);

    target.wait("nobody waits", |m| m.preauth_connections == 0);
    for id in 2..US {
        eventually_joins(&target, id);
    }
    resident.ping();
    waiting.ping();
    target.shutdown();
}

/// Joins as `id`, which nothing that happened before may prevent for long.
fn eventually_joins(target: &Target, id: u8) {
    ringseal_tests::target::eventually("the port is as it was", || {
        let mut stranger = Stranger::connect(target.address());
        let Ok(finish) = stranger.try_prove(&TRUE, id, US) else { return false };
        stranger.try_write(finish.as_bytes()).is_ok() && stranger.try_ping().is_ok()
    });
}
