//! What one node says about itself, asked over HTTP.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use ringseal::Address;
use serde::Deserialize;

/// How long a node may take over anything.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MOST: u64 = 1 << 20;

/// A node at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) cluster: String,
    pub(super) replica: u8,
    pub(super) safe_to_enforce: bool,
    pub(super) links: Vec<Link>,
    /// How many handshakes have ended, by role and result.
    pub(super) handshakes: BTreeMap<(String, String), u64>,
}

/// One entry of `/peers`.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Link {
    pub(super) id: u8,
    pub(super) state: String,
    pub(super) direction: String,
    pub(super) shard: Option<usize>,
    pub(super) authenticated: bool,
    pub(super) since_ms: u64,
    pub(super) frames_in: u64,
    pub(super) frames_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) outbox: u32,
    pub(super) rtt_us: Option<u64>,
    pub(super) last_reason: Option<String>,
}

impl Link {
    pub(super) fn is_up(&self) -> bool {
        self.state == "up"
    }
}

#[derive(Deserialize)]
struct Peers {
    cluster: String,
    replica: u8,
    safe_to_enforce: bool,
    peers: Vec<Link>,
}

/// Asks a node how it is.
///
/// # Errors
///
/// What went wrong, in a few words.
pub(super) fn sample(address: &Address) -> Result<Sample, String> {
    let peers = get(address, "/peers")?;
    let Peers { cluster, replica, safe_to_enforce, peers: links } =
        serde_json::from_str(&peers).map_err(|_| "this is no ringseal node".to_owned())?;
    let handshakes = get(address, "/metrics")?.lines().filter_map(handshake).collect();
    Ok(Sample { cluster, replica, safe_to_enforce, links, handshakes })
}

/// The role, the result and the count in a line of `/metrics`.
fn handshake(line: &str) -> Option<((String, String), u64)> {
    let rest = line.strip_prefix("ringseal_handshakes_total{role=\"")?;
    let (role, rest) = rest.split_once("\",result=\"")?;
    let (result, count) = rest.split_once("\"} ")?;
    Some(((role.to_owned(), result.to_owned()), count.parse().ok()?))
}

fn get(address: &Address, path: &str) -> Result<String, String> {
    let answer = exchange(address, path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("this is no HTTP")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some(status) => Err(format!("{path} answers with {status}")),
        None => Err("this is no HTTP".to_owned()),
    }
}

fn exchange(address: &Address, path: &str) -> io::Result<String> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    let candidates = match address {
        Address::Socket(socket) => vec![*socket],
        Address::Name { host, port } => (host.as_str(), *port).to_socket_addrs()?.collect(),
    };
    for socket in candidates {
        let mut stream = match TcpStream::connect_timeout(&socket, TIMEOUT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.take(MOST).read_to_string(&mut text)?;
        return Ok(text);
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_read_and_other_lines_are_not() {
        let line = "ringseal_handshakes_total{role=\"acceptor\",result=\"mac_mismatch\"} 4";
        let key = ("acceptor".to_owned(), "mac_mismatch".to_owned());
        assert_eq!(handshake(line), Some((key, 4)));
        for line in ["# TYPE ringseal_handshakes_total counter", "ringseal_links_up 2", ""] {
            assert_eq!(handshake(line), None);
        }
    }
}
