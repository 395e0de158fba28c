//! The cluster under siege: who its replicas are, where they come from, and how they join.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ringseal::{Config, Roster};
use ringseal_auth::tag::TagClock;
use ringseal_auth::{
    Auth, Dialer, DialerNext, DialerStep, Enforcement, Identity, KeyRing, Nonce, Secret,
    Transcript, cluster_id,
};
use ringseal_wire::{HEADER_LEN, Header, ReplicaId};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::frame;

/// The cluster's name.
pub(super) const NAME: &str = "siege";

/// The replica under siege. Everybody else has a lower id, so that it dials nobody.
pub(super) const TARGET: ReplicaId = ReplicaId::new(250);

/// The replica whose link is up all along.
pub(super) const LINKED: u8 = 0;

/// Replicas of the plain protocol, which show no tag and come from where the roster says.
pub(super) const PLAIN: Range<u8> = 10..60;

/// Replicas that show a tag.
pub(super) const TAGGED: Range<u8> = 100..200;

/// Where the roster says that [`PLAIN`] replicas are, and where they are.
pub(super) const PLAIN_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// Where [`TAGGED`] replicas come from. The roster says something else, as it would behind a NAT.
pub(super) const TAGGED_AT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// Where the roster says that all others are.
pub(super) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

/// Where a replica that has not joined by now gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What all replicas of the cluster hold. It crosses to a child over its standard input.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Cluster {
    secret: [u8; 32],
}

impl Cluster {
    /// A cluster with a secret of its own.
    pub(super) fn generate() -> Result<Self> {
        Ok(Self { secret: random()? })
    }

    /// The secret's keys.
    pub(super) fn keys(&self) -> Result<KeyRing> {
        let secret = Secret::new(self.secret.to_vec()).context("a secret of 32 bytes")?;
        Ok(KeyRing::new(&secret, None))
    }

    /// The configuration of the replica under siege: one shard, every limit at its default.
    pub(super) fn config(&self) -> Result<Config> {
        let at = |id: u8| match id {
            id if PLAIN.contains(&id) => PLAIN_AT,
            _ => ELSEWHERE,
        };
        let others = TAGGED.chain(PLAIN).chain([LINKED]);
        let others = others.map(|id| (ReplicaId::new(id), SocketAddr::from((at(id), 1)).into()));
        let ours = (TARGET, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into());
        let auth = ringseal::Auth::On {
            keys: self.keys()?,
            enforcement: Enforcement::Enforce,
            transcript: Transcript::Current,
        };
        let roster = Roster::new(others.chain([ours]))?;
        Ok(Config::new(NAME, TARGET, roster, auth)?.with_shards(1)?)
    }
}

/// Our side of a handshake as `replica`.
pub(super) fn identity(keys: &KeyRing, replica: ReplicaId) -> Identity<'_> {
    let (enforcement, transcript) = (Enforcement::Enforce, Transcript::Current);
    Identity::new(cluster_id(NAME), replica, Auth::On { keys, enforcement, transcript })
}

/// A fresh nonce.
pub(super) fn nonce() -> Result<Nonce> {
    Nonce::new(random()?).context("the random source gave only zeros")
}

/// Fresh random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// An honest replica's way to the target, over a blocking socket.
pub(super) struct Member {
    keys: KeyRing,
    from: IpAddr,
    target: SocketAddr,
    /// The times of its tags, if it shows any.
    tags: Option<TagClock>,
}

impl Member {
    /// A replica that comes from `from`.
    pub(super) fn new(
        cluster: &Cluster,
        from: Ipv4Addr,
        target: SocketAddr,
        shows_tag: bool,
    ) -> Result<Self> {
        let tags = shows_tag.then(TagClock::new);
        Ok(Self { keys: cluster.keys()?, from: from.into(), target, tags })
    }

    /// Connects, shakes hands and waits until a first frame has come back: only that shows that the
    /// link is up at both ends. Returns the Hello with the link.
    pub(super) fn join(&self, replica: u8) -> Result<(TcpStream, Header)> {
        let mut stream = self.connect().context("connecting")?;
        let dialer = Dialer::new(identity(&self.keys, ReplicaId::new(replica)), TARGET)?;
        let time = self.tags.as_ref().map(|clock| Ok::<_, anyhow::Error>(clock.next(now_ms()?)));
        let (hello, next) = dialer.start(nonce()?, time.transpose()?);
        let DialerNext::AwaitChallenge(next) = next else { bail!("authentication is on") };
        stream.write_all(hello.as_bytes()).context("sending the Hello")?;
        let mut challenge = [0; HEADER_LEN];
        stream.read_exact(&mut challenge).context("reading the Challenge")?;
        let step = next.on_frame(Header::from_bytes(challenge).as_view())?;
        let DialerStep::Finish { frame: finish, .. } = step else { bail!("enforcing is on") };
        let first = frame::build(frame::HEADER, frame::REQUEST);
        stream.write_all(finish.as_bytes()).context("sending the Finish")?;
        stream.write_all(&first).context("sending the first frame")?;
        let mut echo = [0; frame::HEADER];
        stream.read_exact(&mut echo).context("reading the first frame")?;
        ensure!(first == echo[..], "the first frame came back changed");
        Ok((stream, hello))
    }

    fn connect(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        socket.connect_timeout(&self.target.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}
