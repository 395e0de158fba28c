//! Hosts of one's own: network namespaces whose cables can be pulled.
//!
//! ```text
//! HUB (10.77.N.1) ---- host N (10.77.N.2), for N = 1, 2, ..
//! ```

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A hub and some hosts, each on a network of its own with the hub. Dropping it removes them all.
#[derive(Debug)]
pub struct Lab {
    name: String,
    hosts: u8,
}

/// The place where the replica under test lives.
pub const HUB: u8 = 0;

impl Lab {
    /// Sets up a hub and `hosts` hosts, or says on standard error why this machine does not let us.
    #[must_use]
    pub fn new(hosts: u8) -> Option<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringseal-{}-{}", process::id(), LABS.fetch_add(1, Relaxed));
        let lab = Self { name, hosts };
        match lab.set_up() {
            Ok(()) => Some(lab),
            Err(error) => {
                eprintln!(
                    "SKIPPED: this test needs to make network namespaces, as root can: {error}"
                );
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        for host in HUB..=self.hosts {
            ip(&["netns", "add", &self.space(host)])?;
            ip(&["-n", &self.space(host), "link", "set", "lo", "up"])?;
        }
        let hub = self.space(HUB);
        for host in 1..=self.hosts {
            let (there, cable) = (self.space(host), format!("to{host}"));
            let (ours, theirs) = (mac(host, 1), mac(host, 2));
            let here = ["-n", &hub, "link", "add", &cable, "address", &ours, "type", "veth"];
            let peer = ["peer", "name", "cable", "address", &theirs, "netns", &there];
            ip(&[here.as_slice(), &peer].concat())?;
            for (space, device, end) in [(&hub, cable.as_str(), 1), (&there, "cable", 2)] {
                let address = format!("{}/24", address(host, end));
                ip(&["-n", space, "address", "add", &address, "dev", device])?;
                ip(&["-n", space, "link", "set", device, "up"])?;
            }
            // Whoever knows the other end need not ask for it, and wait for an answer.
            for (space, device, end) in [(&hub, cable.as_str(), 2), (&there, "cable", 1)] {
                let (address, mac) = (address(host, end).to_string(), mac(host, end));
                ip(&["-n", space, "neigh", "replace", &address, "lladdr", &mac, "dev", device])?;
            }
        }
        Ok(())
    }

    /// Runs `work` on a thread that lives in `host`, as do the sockets and threads it makes.
    pub fn inside<T: Send>(&self, host: u8, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.space(host));
        let work = move || {
            let space = File::open(&path).expect("the namespace has a name");
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("whoever can make a namespace can enter it");
            work()
        };
        thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| {
            std::panic::resume_unwind(panic);
        })
    }

    /// Opens a connection from `host` to the hub's `port`.
    #[must_use]
    pub fn connect(&self, host: u8, port: u16) -> TcpStream {
        let hub = SocketAddr::from((address(host, 1), port));
        self.inside(host, move || TcpStream::connect(hub)).expect("the hub is in reach")
    }

    /// Pulls the cable of `host`: nothing leaves it and nothing reaches it any more.
    pub fn unplug(&self, host: u8) {
        self.set_cable(host, "down");
    }

    /// Puts the cable of `host` back.
    pub fn plug(&self, host: u8) {
        self.set_cable(host, "up");
    }

    fn set_cable(&self, host: u8, state: &str) {
        ip(&["-n", &self.space(host), "link", "set", "cable", state]).expect("our own device");
    }

    fn space(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in HUB..=self.hosts {
            // One that was never made, or that cannot be removed, is no reason to keep the others.
            let _ = ip(&["netns", "delete", &self.space(host)]);
        }
    }
}

fn address(host: u8, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, host, end)
}

fn mac(host: u8, end: u8) -> String {
    format!("02:00:00:00:{host:02x}:{end:02x}")
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
}
