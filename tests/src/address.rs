//! Loopback addresses that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How many addresses a process may take before they repeat; their ports differ even then.
const PER_PROCESS: u32 = 1 << 10;

/// An address of 127.0.0.0/8 with a free port.
///
/// The address follows from the process id and a counter, so tests that run at the same time, in one
/// process or in many, never meet. The kernel chooses the port. Nobody else binds to the address,
/// so the port stays free while its owner is stopped and started again.
///
/// ```
/// use ringseal_tests::address;
///
/// let (one, two) = (address::unused(), address::unused());
/// assert!(one.ip().is_loopback() && one.port() != 0);
/// assert_ne!(one.ip(), two.ip());
/// ```
#[must_use]
pub fn unused() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let taken = TAKEN.fetch_add(1, Relaxed) % PER_PROCESS;
    let number = process::id().wrapping_mul(PER_PROCESS).wrapping_add(taken);
    // 127.0.0.0 and 127.255.255.255 are no hosts, and 127.0.0.1 is everybody's.
    let number = (number & 0x00ff_ffff).clamp(2, 0x00ff_fffe);
    let ip = Ipv4Addr::from_bits(0x7f00_0000 | number);
    let socket = TcpListener::bind((ip, 0)).expect("all of 127.0.0.0/8 is ours to bind");
    socket.local_addr().expect("it is bound")
}
