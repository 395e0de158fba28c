//! One handshake with one peer, outside any bus: what an operator asks when a link will not come up.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use ringseal_auth::{
    Dialer, DialerError, DialerNext, DialerStep, HandshakeResult, Identity, Nonce, Outcome,
};
use ringseal_wire::{HEADER_LEN, HeaderView, ReplicaId};

use crate::config::Config;
use crate::roster::Address;

/// How a probe's handshake went.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// Where the peer answered.
    pub address: SocketAddr,
    /// Whether the peer has proven that it holds the secret. False when authentication is off, or
    /// soft and the peer takes no part in it.
    pub authenticated: bool,
    /// From the first packet to the end of the handshake.
    pub took: Duration,
}

/// Why a probe's handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The peer is not in the roster.
    #[error("replica {0} is not in cluster.replicas")]
    UnknownPeer(ReplicaId),
    /// Our side of the handshake refuses the peer, or the peer refused us.
    #[error(transparent)]
    Handshake(#[from] DialerError),
    /// The peer hung up on our proof: it holds another secret, or has a link to us that is alive.
    #[error(
        "the peer closed the connection when it had our proof: compare the secrets on both sides, \
         unless a replica with our id is linked there already"
    )]
    ProofRefused,
    /// The peer hung up because we sent no proof.
    #[error(
        "the peer closed the connection: it authenticates and we do not; enable authentication here"
    )]
    ProofRequired,
    /// The network or the peer's process is at fault.
    #[error("{address}: {source}")]
    Io {
        /// The peer's address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ProbeError {
    /// The word that metrics use for this result.
    #[must_use]
    pub fn result(&self) -> HandshakeResult {
        match self {
            Self::UnknownPeer(_) => HandshakeResult::DirectionalRule,
            Self::Handshake(error) => error.result(),
            Self::ProofRefused => HandshakeResult::MacMismatch,
            Self::ProofRequired => HandshakeResult::AuthRequired,
            Self::Io { source, .. } if is_timeout(source) => HandshakeResult::Timeout,
            Self::Io { .. } => HandshakeResult::Io,
        }
    }
}

/// How long a probe waits for a peer that refuses it to hang up, which a refusing acceptor does at
/// once. Nothing else would show it: acceptors do not answer the last frame.
const HANG_UP: Duration = Duration::from_millis(300);

/// Makes one whole handshake with `peer` as this replica, and closes the connection. It blocks for
/// `handshake_grace` at most.
///
/// The peer cannot tell a probe from a link that goes away at once: a peer that has no link to us
/// reports one up and down again, one that has keeps it.
///
/// # Errors
///
/// [`ProbeError`], with who is at fault.
pub fn probe(config: &Config, peer: ReplicaId) -> Result<ProbeReport, ProbeError> {
    let address = config.roster.get(peer).ok_or(ProbeError::UnknownPeer(peer))?;
    let identity = Identity::new(config.cluster, config.replica, config.auth.as_auth());
    let dialer = Dialer::new(identity, peer)?;
    let began = Instant::now();
    let deadline = began + config.limits.handshake_grace;
    let io = |source| ProbeError::Io { address: address.to_string(), source };
    let mut stream = connect(address, deadline).map_err(io)?;
    let nonce = || -> io::Result<_> {
        let mut bytes = [0; 32];
        config.environment.random(&mut bytes)?;
        Nonce::new(bytes).ok_or_else(|| io::Error::other("the random source gave only zeros"))
    };
    let (hello, next) = dialer.start(nonce().map_err(io)?, None);
    stream.write_all(hello.as_bytes()).map_err(io)?;
    let (outcome, refusal) = match next {
        DialerNext::Established(outcome) => (outcome, ProbeError::ProofRequired),
        DialerNext::AwaitChallenge(next) => {
            let mut frame = [0; HEADER_LEN];
            read(&mut stream, &mut frame, deadline).map_err(io)?;
            match next.on_frame(HeaderView::new(&frame))? {
                DialerStep::Plain { outcome } => (outcome, ProbeError::ProofRequired),
                DialerStep::Finish { frame, outcome } => {
                    stream.write_all(frame.as_bytes()).map_err(io)?;
                    (outcome, ProbeError::ProofRefused)
                }
            }
        }
    };
    let report = report(&stream, outcome, began).map_err(io)?;
    if hangs_up(&mut stream) { Err(refusal) } else { Ok(report) }
}

fn report(stream: &TcpStream, outcome: Outcome, began: Instant) -> io::Result<ProbeReport> {
    let authenticated = outcome.authenticated();
    Ok(ProbeReport { address: stream.peer_addr()?, authenticated, took: began.elapsed() })
}

/// Whether the peer closes the connection right away.
fn hangs_up(stream: &mut TcpStream) -> bool {
    if stream.set_read_timeout(Some(HANG_UP)).is_err() {
        return false;
    }
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => !is_timeout(&error),
    }
}

fn connect(address: &Address, deadline: Instant) -> io::Result<TcpStream> {
    let sockets = match address {
        Address::Socket(socket) => vec![*socket],
        Address::Name { host, port } => (host.as_str(), *port).to_socket_addrs()?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for socket in sockets {
        match TcpStream::connect_timeout(&socket, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Fills `bytes` before `deadline`, however slowly they come.
fn read(stream: &mut TcpStream, bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut bytes[filled..]) {
            Err(error) if is_timeout(&error) => {
                let message =
                    "the peer did not answer the Hello in time; is authentication off there?";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            Err(error) => return Err(error),
            Ok(0) => {
                let message = "the peer closed the connection instead of answering the Hello";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
            }
            Ok(read) => filled += read,
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
