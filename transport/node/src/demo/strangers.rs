//! Three strangers who want in, and what the replica that they knock at makes of each.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use ringseal::auth::{
    Acceptor, Auth, Dialer, DialerNext, DialerStep, HelloStep, Identity, Nonce, Status, cluster_id,
};
use ringseal::wire::HEADER_LEN;
use ringseal::{
    Enforcement, HandshakeResult, Header, HeaderView, KeyRing, ReplicaId, Role, Secret, Transcript,
};

use super::cluster::{Cluster, NAME, Replica};
use crate::cli::Failure;
use crate::keygen;

/// How long any one step with a stranger may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A visit and how it ended.
pub(super) struct Visit {
    /// What is wrong with the stranger.
    pub(super) stranger: &'static str,
    /// Who it says it is.
    pub(super) claims: ReplicaId,
    /// What the replica counted it as.
    pub(super) counted: HandshakeResult,
    /// What it was told, if anything.
    pub(super) told: Option<Status>,
    /// How long it took from connecting to being closed.
    pub(super) took: Duration,
}

/// What is wrong with a stranger.
#[derive(Clone, Copy)]
enum Flaw {
    Secret,
    Silence,
    Cluster,
}

impl Flaw {
    fn describe(self) -> (&'static str, HandshakeResult) {
        match self {
            Self::Secret => ("wrong secret", HandshakeResult::MacMismatch),
            Self::Silence => ("no authentication", HandshakeResult::AuthRequired),
            Self::Cluster => ("wrong cluster", HandshakeResult::ClusterMismatch),
        }
    }
}

/// Has each stranger knock at the replica with the highest id, and reads that replica's counters.
pub(super) fn visit(cluster: &Cluster) -> Result<Vec<Visit>, Failure> {
    let target = cluster.last();
    let claims = cluster.replicas[0].id;
    [Flaw::Secret, Flaw::Silence, Flaw::Cluster]
        .into_iter()
        .map(|flaw| {
            let (stranger, expected) = flaw.describe();
            let failed = |what: String| {
                Failure::Running(format!("the stranger with the {stranger}: {what}"))
            };
            let counted = || target.bus.metrics().handshakes(Role::Acceptor, expected);
            let before = counted();
            let begun = Instant::now();
            let told = knock(flaw, target, claims).map_err(|error| failed(error.to_string()))?;
            let took = begun.elapsed();
            while counted() == before {
                if begun.elapsed() > PATIENCE {
                    return Err(failed(format!("replica {} counted no {expected}", target.id)));
                }
                thread::sleep(Duration::from_millis(1));
            }
            Ok(Visit { stranger, claims, counted: expected, told, took })
        })
        .collect()
}

/// Goes as far as the replica lets the stranger, and returns what it was told.
fn knock(flaw: Flaw, target: &Replica, claims: ReplicaId) -> io::Result<Option<Status>> {
    let secret = Secret::new(keygen::fresh()?.as_bytes().to_vec()).map_err(io::Error::other)?;
    let keys = KeyRing::new(&secret, None);
    let cluster = match flaw {
        Flaw::Cluster => cluster_id("another cluster"),
        Flaw::Secret | Flaw::Silence => cluster_id(NAME),
    };
    let auth = match flaw {
        Flaw::Silence => Auth::Off,
        Flaw::Secret | Flaw::Cluster => {
            let (enforcement, transcript) = (Enforcement::Enforce, Transcript::Current);
            Auth::On { keys: &keys, enforcement, transcript }
        }
    };
    let dialer = Dialer::new(Identity::new(cluster, claims, auth), target.id);
    let (hello, next) = dialer.map_err(io::Error::other)?.start(nonce()?, None);

    let mut stream = TcpStream::connect_timeout(&target.bus.local_addr(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(hello.as_bytes())?;
    let Some(answer) = read_header(&mut stream)? else { return Ok(None) };
    let (status, acceptor_nonce) = read_challenge(answer.as_view());
    if status != Status::Ok {
        return Ok(Some(status));
    }
    let DialerNext::AwaitChallenge(dialer) = next else {
        return Err(io::Error::other("it was challenged although it has no secret"));
    };
    // An honest dialer leaves here: the proof in the challenge is not its secret's. This stranger
    // wants to see how far it gets, so it makes the challenge that its own secret would have made,
    // believes that one, and answers it.
    let nonce = Nonce::new(acceptor_nonce).ok_or_else(|| io::Error::other("no nonce"))?;
    let acceptor = Acceptor::new(Identity::new(cluster, target.id, auth));
    let step = acceptor.on_hello(hello.as_view(), |_| true, || nonce);
    let HelloStep::Challenge { frame, .. } = step else {
        return Err(io::Error::other("its own challenge failed"));
    };
    let step = dialer.on_frame(frame.as_view()).map_err(io::Error::other)?;
    let DialerStep::Finish { frame, .. } = step else {
        return Err(io::Error::other("its own challenge was not one"));
    };
    stream.write_all(frame.as_bytes())?;
    match read_header(&mut stream)? {
        None => Ok(None),
        Some(_) => Err(io::Error::other("it was let in")),
    }
}

/// A header, or nothing if the connection was closed.
fn read_header(stream: &mut TcpStream) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_LEN];
    match stream.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Header::from_bytes(bytes))),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(None),
            _ => Err(error),
        },
    }
}

/// A challenge's status and nonce.
fn read_challenge(challenge: HeaderView<'_>) -> (Status, [u8; 32]) {
    let fields = challenge.reserved_command();
    (Status::from_byte(fields[64]), std::array::from_fn(|at| fields[at]))
}

fn nonce() -> io::Result<Nonce> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Nonce::new(bytes).ok_or_else(|| io::Error::other("the system's randomness is all zeros"))
}
