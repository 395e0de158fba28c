//! What the kernel says about sockets, descriptors and memory.

use std::fs;
use std::net::SocketAddr;

/// The TCP connections of this machine at one moment.
#[derive(Debug)]
pub struct Connections(String);

impl Connections {
    /// Those there are now.
    ///
    /// # Panics
    ///
    /// Where `/proc` cannot be read.
    #[must_use]
    pub fn now() -> Self {
        Self(fs::read_to_string("/proc/net/tcp").expect("the kernel lists its connections"))
    }

    /// How many bytes the socket at `local`, connected to `remote`, has received and not yet handed
    /// to its owner; `None` when there is no such connection.
    ///
    /// # Panics
    ///
    /// For addresses that are not IPv4.
    #[must_use]
    pub fn unread(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let pair = format!("{} {} ", in_hex(local), in_hex(remote));
        let (_, rest) = self.0.split_once(&pair)?;
        // State, then what is unsent and what is unread.
        let (_unsent, unread) = rest.split_ascii_whitespace().nth(1)?.split_once(':')?;
        usize::from_str_radix(unread, 16).ok()
    }
}

/// An address as `/proc/net/tcp` spells it.
fn in_hex(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    // The kernel prints the four octets as the machine reads them.
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

/// How many descriptors this process has open.
///
/// # Panics
///
/// Where `/proc` cannot be read.
#[must_use]
pub fn descriptors() -> usize {
    // The listing itself is one while it is read.
    fs::read_dir("/proc/self/fd").expect("the kernel lists our descriptors").count() - 1
}

/// The largest amount of memory this process has had resident, in bytes.
///
/// # Panics
///
/// Where `/proc` cannot be read.
#[must_use]
pub fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel describes us");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a number of kB");
    kib.parse::<usize>().expect("a number") * 1024
}
