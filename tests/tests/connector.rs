//! Whom a replica dials, and when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ringseal::HandshakeResult::{Io, Ok as Joined};
use ringseal::{Limits, Reason, Role};
use ringseal_tests::address;
use ringseal_tests::stranger::{TRUE, Trap};
use ringseal_tests::target::Setup;
use socket2::{Domain, Socket, Type};

const US: u8 = 5;

#[test]
fn lower_ids_are_never_dialled_and_higher_ones_at_once() {
    for shards in [1, 3] {
        let traps = |ids: &[u8]| ids.iter().map(|id| (*id, Trap::open())).collect::<Vec<_>>();
        let (lower, higher) = (traps(&[0, 1, 4]), traps(&[6, 7, 8, 200, 255]));
        let all = lower.iter().chain(&higher);
        let setup = all.fold(Setup::new(US).shards(shards), |setup, (id, trap)| {
            setup.peer(*id, trap.address())
        });
        let began = Instant::now();
        let target = setup.start();
        let mut links = Vec::new();
        for (id, trap) in &higher {
            let mut caller = trap.accept();
            assert!(caller.admit(&TRUE, *id).authenticated());
            links.push(caller);
        }
        assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
        for (id, _) in &higher {
            target.up(*id);
        }
        links.iter_mut().for_each(|link| link.ping());
        for (id, trap) in lower {
            let called = trap.accept_within(Duration::from_millis(50));
            assert!(called.is_none(), "{id} was dialled");
        }
        target.wait_handshakes(Role::Dialer, &[(Joined, 5)]);
        target.shutdown();
    }
}

/// A port that nobody has and nobody else gets: connections are refused.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&address::unused().into()).expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    (socket, address)
}

#[test]
fn dead_peers_delay_nobody() {
    let silent = [Trap::open(), Trap::open()];
    let (_kept, refusing) = refusing();
    let alive = Trap::open();
    let setup = Setup::new(US)
        .peer(6, silent[0].address())
        .peer(7, refusing)
        .peer(8, silent[1].address())
        .peer(9, alive.address());
    let began = Instant::now();
    let target = setup.start();
    let mut caller = alive.accept();
    let _ = caller.admit(&TRUE, 9);
    target.up(9);
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    caller.ping();
    target.wait("the dead are dialled again", |m| m.handshakes(Role::Dialer, Io) >= 2);
    caller.ping();
    let last = target.bus.peers().iter().map(|peer| peer.last_reason).collect::<Vec<_>>();
    assert_eq!(last, [None, Some("io"), None, None]);
    target.shutdown();
}

#[test]
fn a_link_that_ends_is_made_again_and_one_that_lasted_is_dialled_soon() {
    let trap = Trap::open();
    let period = Duration::from_millis(400);
    let change = |limits: &mut Limits| limits.reconnect_period = period;
    let target = Setup::new(US).peer(6, trap.address()).limits(change).start();
    // Links that end at once bring the step up to the period.
    for _ in 0..5 {
        let _ = trap.accept().admit(&TRUE, 6);
        target.up(6);
        assert_eq!(target.down(6), Reason::Eof);
    }
    let mut lasting = trap.accept();
    let _ = lasting.admit(&TRUE, 6);
    target.up(6);
    std::thread::sleep(period);
    lasting.ping();
    let began = Instant::now();
    drop(lasting);
    let _ = trap.accept().admit(&TRUE, 6);
    assert!(began.elapsed() < period / 2, "dialled after {:?}", began.elapsed());
    target.up(6);
    target.wait("every dial but the first is a reconnect", |m| m.reconnects == 6);
    target.shutdown();
}

#[test]
fn a_peer_that_starts_later_is_found() {
    let (socket, address) = refusing();
    let setup = Setup::new(US).peer(6, address);
    let change = |limits: &mut Limits| limits.reconnect_period = Duration::from_millis(100);
    let target = setup.limits(change).start();
    target.wait("refused", |m| m.handshakes(Role::Dialer, Io) >= 2);
    drop(socket);
    let peer = Setup::new(6).callers([US]).listen(address).start();
    assert!(target.up(6).1);
    assert!(peer.up(US).1);
    target.shutdown();
    assert_eq!(peer.down(US), Reason::Eof);
    peer.shutdown();
}
