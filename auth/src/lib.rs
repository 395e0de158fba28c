//! Mutual authentication of two replicas, as state machines without IO.
//!
//! Three frames settle who is at the other end of a fresh connection: the dialer's Hello, the
//! acceptor's Challenge, the dialer's Finish. Each side proves that it holds the cluster's secret
//! over both nonces, the ordered pair of replica ids, the cluster, the direction and the channel.
//! The acceptor proves itself first, so a dialer never shows a proof to an impostor.
//!
//! The crate opens no socket, starts no task, reads no clock and draws no randomness: frames come
//! in as [`HeaderView`](ringseal_wire::HeaderView)s and go out as
//! [`Header`](ringseal_wire::Header)s, nonces and times are arguments. A whole handshake
//! allocates nothing. Deadlines belong to the caller; what their passing means is decided here
//! (see [`AwaitChallenge::on_silence`], [`AwaitFinish::on_close`]).
//!
//! | state | waits for | step |
//! |---|---|---|
//! | [`Dialer`] | nothing | [`start`](Dialer::start) gives the Hello |
//! | [`AwaitChallenge`] | the Challenge | [`on_frame`](AwaitChallenge::on_frame) gives the Finish |
//! | [`Acceptor`] | the Hello | [`on_hello`](Acceptor::on_hello) gives the Challenge |
//! | [`AwaitFinish`] | the Finish | [`on_finish`](AwaitFinish::on_finish) gives the outcome |
//!
//! Every step consumes its state, so no state can be used twice and no frame is ever judged by a
//! machine that has already failed.
//!
//! # A whole handshake
//!
//! ```
//! use ringseal_auth::{
//!     Acceptor, Auth, Dialer, DialerNext, DialerStep, Enforcement, HelloStep, Identity, KeyRing,
//!     Nonce, Secret, Transcript, cluster_id,
//! };
//! use ringseal_wire::ReplicaId;
//!
//! # fn random_nonce(seed: u8) -> Nonce { Nonce::new([seed; 32]).unwrap() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = Secret::new(b"thirty-two bytes or more, random".to_vec())?;
//! let keys = KeyRing::new(&secret, None);
//! let auth = Auth::On {
//!     keys: &keys,
//!     enforcement: Enforcement::Enforce,
//!     transcript: Transcript::Current,
//! };
//! let (one, two) = (ReplicaId::new(1), ReplicaId::new(2));
//!
//! // Replica 1 dials replica 2: the lower id dials.
//! let dialer = Dialer::new(Identity::new(cluster_id("orders"), one, auth), two)?;
//! let (hello, next) = dialer.start(random_nonce(7), None);
//! let DialerNext::AwaitChallenge(dialer) = next else { unreachable!("authentication is on") };
//!
//! // Replica 2 answers the Hello, proving itself first.
//! let acceptor = Acceptor::new(Identity::new(cluster_id("orders"), two, auth));
//! let in_roster = |id| id == one;
//! let step = acceptor.on_hello(hello.as_view(), in_roster, || random_nonce(9));
//! let HelloStep::Challenge { frame: challenge, next: acceptor } = step else {
//!     unreachable!("the Hello carries a nonce")
//! };
//!
//! // Replica 1 checks that proof and answers with its own.
//! let DialerStep::Finish { frame: finish, outcome: dialed } = dialer.on_frame(challenge.as_view())?
//! else { unreachable!("a plain link is never accepted under enforce") };
//! let accepted = acceptor.on_finish(finish.as_view())?;
//!
//! assert!(dialed.authenticated() && accepted.authenticated());
//! assert_eq!((dialed.peer(), accepted.peer()), (two, one));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod acceptor;
pub mod dialer;
pub mod error;
pub mod identity;
pub mod key;
mod message;
pub mod outcome;
pub mod policy;
pub mod status;
pub mod tag;
pub mod transcript;

pub use acceptor::{Acceptor, AwaitFinish, HelloStep};
pub use dialer::{AwaitChallenge, Dialer, DialerNext, DialerStep};
pub use error::{AcceptorError, Culprit, DialerError, HandshakeResult};
pub use identity::{Auth, Identity, cluster_id};
pub use key::{KeyRing, Mac, Nonce, Secret, SecretTooShort, Which};
pub use outcome::{Leniency, Outcome};
pub use policy::{Enforcement, Policy};
pub use status::Status;
pub use transcript::{Binding, Direction, Exchange, LinkIds, Transcript};
