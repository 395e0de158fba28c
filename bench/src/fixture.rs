//! Two replicas of one cluster, and the steps of their handshake, for benches of `ringseal-auth`.

use anyhow::{Context, Result, bail};
use ringseal_auth::{
    Acceptor, Auth, AwaitChallenge, AwaitFinish, Dialer, DialerNext, DialerStep, Enforcement,
    HelloStep, Identity, KeyRing, Nonce, Secret, Transcript, cluster_id,
};
use ringseal_wire::{ClusterId, Header, ReplicaId};

/// The lower id, which dials.
pub const DIALER: ReplicaId = ReplicaId::new(1);

/// The higher id, which accepts.
pub const ACCEPTOR: ReplicaId = ReplicaId::new(2);

/// What both replicas hold.
#[derive(Debug)]
pub struct Cluster {
    /// The keys of the current secret; there is no previous one.
    pub keys: KeyRing,
    id: ClusterId,
}

impl Cluster {
    /// A cluster with a secret made of `psk`.
    ///
    /// # Errors
    ///
    /// Never: the secret is long enough.
    pub fn new(psk: &[u8; 32]) -> Result<Self> {
        let secret = Secret::new(psk.to_vec()).context("a secret of 32 bytes")?;
        Ok(Self { keys: KeyRing::new(&secret, None), id: cluster_id("bench") })
    }

    fn identity(&self, replica: ReplicaId) -> Identity<'_> {
        let auth = Auth::On {
            keys: &self.keys,
            enforcement: Enforcement::Enforce,
            transcript: Transcript::Current,
        };
        Identity::new(self.id, replica, auth)
    }

    /// The dialer's first step: the Hello.
    ///
    /// # Errors
    ///
    /// Never, unless the protocol has changed.
    pub fn hello(&self) -> Result<(Header, AwaitChallenge<'_>)> {
        let dialer = Dialer::new(self.identity(DIALER), ACCEPTOR)?;
        match dialer.start(nonce(7), None) {
            (hello, DialerNext::AwaitChallenge(next)) => Ok((hello, next)),
            (_, DialerNext::Established(_)) => bail!("authentication is on"),
        }
    }

    /// The acceptor's first step: the Challenge.
    ///
    /// # Errors
    ///
    /// If the Hello is refused.
    pub fn challenge(&self, hello: &Header) -> Result<(Header, AwaitFinish<'_>)> {
        let acceptor = Acceptor::new(self.identity(ACCEPTOR));
        match acceptor.on_hello(hello.as_view(), |id| id == DIALER, || nonce(9)) {
            HelloStep::Challenge { frame, next } => Ok((frame, next)),
            HelloStep::Admitted(_) => bail!("admitted without a challenge"),
            HelloStep::Refused { error, .. } => Err(error.into()),
        }
    }
}

/// The dialer's second step: the Finish.
///
/// # Errors
///
/// If the Challenge does not prove the acceptor.
pub fn finish(dialer: AwaitChallenge<'_>, challenge: &Header) -> Result<Header> {
    match dialer.on_frame(challenge.as_view())? {
        DialerStep::Finish { frame, .. } => Ok(frame),
        DialerStep::Plain { .. } => bail!("a plain link under enforce"),
    }
}

/// A nonce of 32 equal bytes: benches want the same work every time.
fn nonce(seed: u8) -> Nonce {
    Nonce::new([seed; 32]).expect("the benches' seeds are not zero")
}
