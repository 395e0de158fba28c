//! A replica bus: the library that a replicated database or log embeds so that its replicas can talk.
//!
//! One thread per core on io_uring, every peer authenticated before its first message is believed,
//! every link a plain TCP descriptor that can live on any core. Linux only.
//!
//! - [`Bus::start`] runs a bus on threads of its own; [`Mesh::new`] gives its shards to executors that
//!   you have already. [`Mesh`] is the handle: send, broadcast, resume, reload, look.
//! - [`Handler`] is what you implement: a frame, a link up, a link down, room again.
//! - [`Config`] is parsed into types that cannot be wrong; [`Limits`] names every bound.
//! - [`probe`] asks one peer for one handshake.
//!
//! ```
//! use std::time::Duration;
//! use ringseal::{Auth, Bus, Config, Flow, FrameView, Handler, Link, ReplicaId, Roster};
//!
//! /// Sends every frame back to where it came from.
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
//!         let _ = link.forward(link.peer(), frame);
//!         Flow::Continue
//!     }
//! }
//!
//! let roster = Roster::new([(ReplicaId::new(0), "127.0.0.1:0".parse()?)])?;
//! let config = Config::new("orders", ReplicaId::new(0), roster, Auth::Off)?.with_shards(1)?;
//! let bus = Bus::start(config, |_shard| Echo)?;
//! println!("listening on {}", bus.local_addr());
//! bus.shutdown(Duration::from_secs(1))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod link;
mod listener;
mod mesh;
mod metrics;
mod observer;
mod owner;
mod probe;
mod registry;
mod resolver;
mod roster;
#[expect(unsafe_code, reason = "descriptors and uninitialised memory meet the kernel here alone")]
mod runtime;
mod settings;
mod shard;
mod slot;
mod sources;
mod upkeep;

pub use ringseal_auth as auth;
pub use ringseal_wire as wire;

pub use ringseal_auth::{
    Enforcement, HandshakeResult, KeyRing, Leniency, Policy, Secret, SecretTooShort, Transcript,
};
pub use ringseal_wire::{ClusterId, Command, Frame, FrameView, Header, HeaderView, ReplicaId};

pub use admission::Lane;
pub use bus::{Bus, Mesh};
pub use config::{Auth, Config, ConfigError, Limits, RetiredLinks};
pub use environment::{Environment, System};
pub use error::{Broadcast, Reason, SendError, SendErrorKind, ShutdownError, StartError};
pub use handler::{Flow, Handler};
pub use link::Link;
pub use metrics::{
    Eviction, HANDSHAKE_BUCKETS, LinkStatus, Metrics, PeerStatus, ROUND_TRIP_BUCKETS, Role, Tag,
    Times,
};
pub use observer::{Event, Observer};
pub use probe::{ProbeError, ProbeReport, probe};
pub use roster::{Address, AddressError, Roster, RosterError};
pub use shard::{Shard, run_here};
