//! How long a peer may take at each step of the handshake.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ringseal::HandshakeResult::{Ok as Joined, Timeout};
use ringseal::Role;
use ringseal_tests::stranger::{End, Stranger, TRUE, Trap};
use ringseal_tests::target::{Setup, Target};
use socket2::{Domain, Socket, Type};

const US: u8 = 3;
const HELLO: Duration = Duration::from_millis(200);
const HANDSHAKE: Duration = Duration::from_millis(500);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(8);

fn graces(setup: Setup) -> Setup {
    setup.limits(|limits| (limits.hello_grace, limits.handshake_grace) = (HELLO, HANDSHAKE))
}

fn target() -> Target {
    graces(Setup::new(US).callers([1, 2])).start()
}

/// Has a stranger do `what` and expects its end a `grace` after its beginning.
fn expect_timeout(grace: Duration, what: impl FnOnce(&mut Stranger)) {
    let target = target();
    let began = Instant::now();
    let mut stranger = Stranger::connect(target.address());
    what(&mut stranger);
    // A byte that was still on its way when the deadline struck turns the end into a reset.
    let _: End = stranger.expect_end();
    let took = began.elapsed();
    assert!(took >= grace, "ended after {took:?}, before {grace:?}");
    assert!(took < grace + SLACK, "ended after {took:?}, long after {grace:?}");
    target.wait_accepted(&[(Timeout, 1)]);
    target.wait("nobody waits", |m| m.preauth_connections == 0);
    assert!(target.rest().is_empty());
    target.shutdown();
}

/// Sends `bytes` one at a time, far too slowly, until the other side hangs up.
fn drip(stranger: &mut Stranger, bytes: &[u8]) {
    for byte in bytes {
        if !stranger.is_open_and_quiet() || stranger.try_write(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("all bytes were taken");
}

#[test]
fn a_silent_stranger_is_closed_after_hello_grace() {
    expect_timeout(HELLO, |_| {});
}

#[test]
fn half_a_hello_buys_no_time() {
    expect_timeout(HELLO, |stranger| stranger.write(&TRUE.hello(1).as_bytes()[..128]));
}

#[test]
fn a_hello_that_drips_buys_no_time() {
    expect_timeout(HELLO, |stranger| drip(stranger, TRUE.hello(1).as_bytes()));
}

#[test]
fn a_dialer_without_a_finish_is_closed_after_handshake_grace() {
    expect_timeout(HANDSHAKE, |stranger| drop(stranger.prove(&TRUE, 1, US)));
}

#[test]
fn half_a_finish_buys_no_time() {
    expect_timeout(HANDSHAKE, |stranger| {
        let finish = stranger.prove(&TRUE, 1, US);
        stranger.write(&finish.as_bytes()[..255]);
    });
}

#[test]
fn a_finish_that_drips_buys_no_time() {
    expect_timeout(HANDSHAKE, |stranger| {
        let finish = stranger.prove(&TRUE, 1, US);
        drip(stranger, finish.as_bytes());
    });
}

#[test]
fn a_slow_dialer_within_both_graces_is_admitted() {
    let setup = Setup::new(US).callers([1]).graces(5_000, 10_000);
    let target = setup.start();
    let mut stranger = Stranger::connect(target.address());
    thread::sleep(Duration::from_millis(50));
    let finish = stranger.prove(&TRUE, 1, US);
    for piece in finish.as_bytes().chunks(64) {
        thread::sleep(Duration::from_millis(10));
        stranger.write(piece);
    }
    assert!(target.up(1).1);
    stranger.ping();
    target.wait_accepted(&[(Joined, 1)]);
    target.shutdown();
}

/// Has a dialer meet `peer` and expects its timeout a handshake's grace after its start.
fn expect_dialer_timeout(peer: SocketAddr, meet: impl FnOnce()) {
    let slow = |limits: &mut ringseal::Limits| limits.reconnect_period = Duration::from_secs(60);
    let began = Instant::now();
    let target = graces(Setup::new(US).peer(4, peer)).limits(slow).start();
    meet();
    target.wait("the dialer gives up", |m| m.handshakes(Role::Dialer, Timeout) >= 1);
    let took = began.elapsed();
    assert!(took >= HANDSHAKE && took < HANDSHAKE + SLACK, "gave up after {took:?}");
    assert_eq!(target.bus.peers()[0].last_reason, Some("timeout"));
    assert!(target.rest().is_empty());
    target.shutdown();
}

#[test]
fn an_acceptor_that_never_answers_is_given_up() {
    let trap = Trap::open();
    expect_dialer_timeout(trap.address(), || {
        let mut caller = trap.accept();
        caller.read_header().expect("a Hello");
        caller.expect_end();
    });
}

#[test]
fn an_acceptor_that_never_accepts_is_given_up() {
    let trap = Trap::open();
    expect_dialer_timeout(trap.address(), || {});
}

#[test]
fn an_acceptor_whose_challenge_drips_is_given_up() {
    let trap = Trap::open();
    expect_dialer_timeout(trap.address(), || {
        let mut caller = trap.accept();
        let hello = caller.read_header().expect("a Hello");
        drip(&mut caller, TRUE.challenge(4, &hello).as_bytes());
    });
}

#[test]
fn a_host_that_answers_no_connection_is_given_up() {
    // A port whose queue of connections is full drops whoever comes next, as a dead host does.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&ringseal_tests::address::unused().into()).expect("a free port");
    socket.listen(0).expect("a port");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    assert_ne!(address.ip(), Ipv4Addr::UNSPECIFIED);
    let patience = Duration::from_millis(100);
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, patience) {
        queue.push(stream);
    }
    expect_dialer_timeout(address, || {});
}
