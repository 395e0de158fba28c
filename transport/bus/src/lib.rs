//! A replica bus: the library that a replicated server embeds so that its replicas can talk.
#![deny(unsafe_code)]

mod admission;
mod backoff;
mod buffers;
mod bus;
mod config;
mod connector;
mod contest;
mod credit;
mod environment;
mod error;
mod handler;
mod handoff;
mod handshake;
mod link;
mod listener;
mod mesh;
mod metrics;
mod owner;
mod probe;
mod registry;
mod resolver;
mod roster;
#[expect(unsafe_code, reason = "descriptors and uninitialised memory meet the kernel here alone")]
mod runtime;
mod settings;
mod shard;

pub use ringseal_auth as auth;
pub use ringseal_wire as wire;

pub use ringseal_auth::{
    Enforcement, HandshakeResult, KeyRing, Leniency, Secret, SecretTooShort, Transcript,
};
pub use ringseal_wire::{ClusterId, Command, Frame, Header, HeaderView, ReplicaId};

pub use bus::{Bus, Mesh};
pub use config::{Auth, Config, ConfigError, Limits, RetiredLinks};
pub use environment::{Environment, System};
pub use error::{Broadcast, Reason, SendError, SendErrorKind, ShutdownError, StartError};
pub use handler::{Flow, Handler};
pub use link::Link;
pub use metrics::{HANDSHAKE_BUCKETS, HandshakeTimes, LinkStatus, Metrics, PeerStatus, Role};
pub use probe::{ProbeError, ProbeReport, probe};
pub use roster::{Address, AddressError, Roster, RosterError};
pub use shard::Shard;
