//! What benches of `ringseal-auth` and `ringseal-wire` work on: two replicas of one cluster and the
//! steps of their handshake, and a receive buffer full of frames.

use std::hint::black_box;

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use ringseal_auth::{
    Acceptor, Auth, AwaitChallenge, AwaitFinish, Dialer, DialerNext, DialerStep, Enforcement,
    HelloStep, Identity, KeyRing, Nonce, Outcome, Secret, Transcript, cluster_id,
};
use ringseal_wire::{ClusterId, DEFAULT_MAX_FRAME, Deframer, Header, HeaderView, ReplicaId};

use crate::frame::{self, REQUEST};

/// The lower id, which dials.
pub const DIALER: ReplicaId = ReplicaId::new(1);

/// The higher id, which accepts.
pub const ACCEPTOR: ReplicaId = ReplicaId::new(2);

/// What one large read brings, in bytes.
const BUFFER: usize = 64 << 10;

/// The dialer's nonce and the acceptor's, for those who want the same work every time.
pub const NONCES: [[u8; 32]; 2] = [[7; 32], [9; 32]];

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

    /// The Hello of [`DIALER`] to [`ACCEPTOR`], with a nonce of [`NONCES`].
    ///
    /// # Errors
    ///
    /// Never, unless the protocol has changed.
    pub fn hello(&self) -> Result<(Header, AwaitChallenge<'_>)> {
        self.hello_between(DIALER, ACCEPTOR, Nonce::new(NONCES[0]))
    }

    /// The Hello of `dialer` to `acceptor`.
    ///
    /// # Errors
    ///
    /// If the dialer's id is not the lower one, or there is no nonce.
    pub fn hello_between(
        &self,
        dialer: ReplicaId,
        acceptor: ReplicaId,
        nonce: Option<Nonce>,
    ) -> Result<(Header, AwaitChallenge<'_>)> {
        let dialer = Dialer::new(self.identity(dialer), acceptor)?;
        match dialer.start(nonce.context("a nonce of zeros")?, None) {
            (hello, DialerNext::AwaitChallenge(next)) => Ok((hello, next)),
            (_, DialerNext::Established(_)) => bail!("authentication is on"),
        }
    }

    /// The acceptor's first step: the Challenge, with a nonce of [`NONCES`].
    ///
    /// # Errors
    ///
    /// If the Hello is refused.
    pub fn challenge(&self, hello: &Header) -> Result<(Header, AwaitFinish<'_>)> {
        self.challenge_with(hello, Nonce::new(NONCES[1]))
    }

    fn challenge_with(
        &self,
        hello: &Header,
        nonce: Option<Nonce>,
    ) -> Result<(Header, AwaitFinish<'_>)> {
        let nonce = nonce.context("a nonce of zeros")?;
        let acceptor = Acceptor::new(self.identity(ACCEPTOR));
        match acceptor.on_hello(hello.as_view(), |id| id == DIALER, || nonce) {
            HelloStep::Challenge { frame, next } => Ok((frame, next)),
            HelloStep::Admitted(_) => bail!("admitted without a challenge"),
            HelloStep::Refused { error, .. } => Err(error.into()),
        }
    }

    /// A whole handshake in memory, both sides, with nonces of the system's randomness.
    ///
    /// # Errors
    ///
    /// If the system has no randomness.
    pub fn shake_hands(&self) -> Result<()> {
        self.shake(random_nonce()?, random_nonce()?).map(drop)
    }

    /// The same with these nonces; what the acceptor has found out.
    ///
    /// # Errors
    ///
    /// If one of them is all zeros.
    pub fn shake_hands_with(&self, [dialer, acceptor]: [[u8; 32]; 2]) -> Result<Outcome> {
        self.shake(Nonce::new(dialer), Nonce::new(acceptor))
    }

    fn shake(&self, dialer: Option<Nonce>, acceptor: Option<Nonce>) -> Result<Outcome> {
        let (hello, dialer) = self.hello_between(DIALER, ACCEPTOR, dialer)?;
        let (challenge, acceptor) = self.challenge_with(&hello, acceptor)?;
        let finish = finish(dialer, challenge.as_view())?;
        Ok(acceptor.on_finish(finish.as_view())?)
    }
}

/// A nonce of the system's randomness.
///
/// # Errors
///
/// If it has none.
pub fn random_nonce() -> Result<Option<Nonce>> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(Nonce::new(bytes))
}

/// The dialer's second step: the Finish.
///
/// # Errors
///
/// If the Challenge does not prove the acceptor.
pub fn finish(dialer: AwaitChallenge<'_>, challenge: HeaderView<'_>) -> Result<Header> {
    match dialer.on_frame(challenge)? {
        DialerStep::Finish { frame, .. } => Ok(frame),
        DialerStep::Plain { .. } => bail!("a plain link under enforce"),
    }
}

/// As many frames of `size` bytes as one large read brings.
///
/// # Panics
///
/// If no shape has frames of this size.
#[must_use]
pub fn full_buffer(size: usize) -> Bytes {
    frame::repeat(&frame::build(size, REQUEST), BUFFER / size)
}

/// A deframer that has read `received`.
#[must_use]
pub fn filled(received: &Bytes) -> Deframer {
    let mut deframer = Deframer::new(DEFAULT_MAX_FRAME);
    *deframer.buffer_mut() = BytesMut::from(&received[..]);
    deframer
}

/// Takes every frame out of `deframer` and drops it.
///
/// # Errors
///
/// If there is something in it that is no frame.
pub fn cut(deframer: &mut Deframer) -> Result<()> {
    while let Some(frame) = deframer.next_frame()? {
        black_box(frame);
    }
    Ok(())
}
