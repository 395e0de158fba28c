//! Who may have the port.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use ringseal::{Reason, StartError};
use ringseal_tests::address;
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, Target};

const US: u8 = 3;

fn setup(listen: SocketAddr, shards: usize) -> Setup {
    Setup::new(US).callers([1, 2]).listen(listen).shards(shards)
}

fn expect_in_use(result: Result<Target, StartError>, listen: SocketAddr) {
    let error = result.expect_err("the port is taken");
    assert!(matches!(error, StartError::Listen { address, .. } if address == listen), "{error:?}");
    let text = error.to_string();
    for part in [&listen.to_string(), "cannot listen on", "in use", "another process"] {
        assert!(text.contains(part), "{text:?} says {part:?}");
    }
}

#[test]
fn a_port_that_somebody_else_has_is_an_error_that_says_so() {
    for shards in [1, 3] {
        let other = TcpListener::bind(address::unused()).expect("a free port");
        let listen = other.local_addr().expect("bound");
        expect_in_use(setup(listen, shards).try_start(), listen);
        // Nothing is left behind: once the other is gone, the port is ours.
        drop(other);
        let target = setup(listen, shards).start();
        let mut stranger = Stranger::join(listen, &TRUE, 1, US);
        stranger.ping();
        target.shutdown();
    }
}

#[test]
fn a_second_bus_in_the_same_process_is_not_let_in() {
    for (first, second) in [(1, 1), (1, 3), (3, 1), (3, 3)] {
        let target = setup(address::unused(), first).start();
        let listen = target.address();
        for _ in 0..3 {
            expect_in_use(setup(listen, second).try_start(), listen);
        }
        for id in [1, 2] {
            Stranger::join(listen, &TRUE, id, US).ping();
        }
        target.shutdown();
    }
}

/// Where the second process is told to listen.
const LISTEN: &str = "RINGSEAL_TESTS_LISTEN";

#[test]
fn a_second_bus_in_another_process_is_not_let_in() {
    if let Ok(listen) = env::var(LISTEN) {
        let listen = listen.parse().expect("an address");
        expect_in_use(setup(listen, 1).try_start(), listen);
        expect_in_use(setup(listen, 3).try_start(), listen);
        return;
    }
    let target = setup(address::unused(), 3).start();
    let us = env::current_exe().expect("we run");
    let name = "a_second_bus_in_another_process_is_not_let_in";
    let mut child = Command::new(us);
    child.args([name, "--exact"]).env(LISTEN, target.address().to_string());
    let output = child.output().expect("we run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Stranger::join(target.address(), &TRUE, 1, US).ping();
    target.shutdown();
}

#[test]
fn an_address_that_is_not_ours_is_an_error() {
    let listen = SocketAddr::from(([192, 0, 2, 1], 7000));
    let error = setup(listen, 1).try_start().expect_err("an address for documentation");
    assert!(error.to_string().contains("cannot listen on 192.0.2.1:7000"), "{error}");
}

#[test]
fn the_port_is_free_again_right_after_a_shutdown() {
    let listen = address::unused();
    for _ in 0..5 {
        let target = setup(listen, 2).start();
        let mut links = [1, 2].map(|id| Stranger::join(listen, &TRUE, id, US));
        links.iter_mut().for_each(Stranger::ping);
        // We close first, so the connections stay behind in TIME_WAIT on our side.
        let told = std::thread::spawn(move || {
            links.iter_mut().for_each(|link| {
                link.expect_end();
            });
        });
        target.up(1);
        target.bus.stop(std::time::Duration::from_secs(5));
        assert_eq!(target.down(1), Reason::Shutdown);
        target.shutdown();
        told.join().expect("both links ended");
    }
}
