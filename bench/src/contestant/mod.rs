//! Who is compared. One module per contestant; [`ALL`] lists them in the order of the report.
//!
//! A contestant is one value that implements [`Contestant`]. It serves in one process and dials
//! from another, and both ends are always the same contestant.

mod blocking;
mod frame_at_a_time;
mod in_memory;
mod limit;
pub(crate) mod noise;
mod ring_echo;
mod ringseal;
mod tls;
mod tokio_framed;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::material::Material;
use crate::measure::Outcome;
use crate::shape::Shape;

/// Every contestant. The first is what the others are compared with.
pub const ALL: &[&dyn Contestant] = &[
    &limit::Limit,
    &ringseal::Ringseal::PARKING,
    &ringseal::Ringseal::SPINNING,
    &ring_echo::RingEcho,
    &tokio_framed::Tokio,
    &frame_at_a_time::FrameAtATime,
    &tls::Tls::FULL,
    &tls::Tls::RESUMED,
    &noise::Noise::NN_PSK0,
    &noise::Noise::KK_PSK0,
];

/// What both ends of a measurement are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scene {
    /// What is moved.
    pub shape: Shape,
    /// Keys and certificates, for contestants that shake hands.
    pub material: Material,
}

/// One way of moving frames between two processes.
///
/// The process is pinned to its core before any of these is called, so threads that a contestant
/// starts are on that core too.
pub trait Contestant: Sync {
    /// Its name on the command line and in the report.
    fn name(&self) -> &'static str;

    /// Whether it can run `shape`; it is left out of those that it cannot.
    fn runs(&self, shape: Shape) -> bool;

    /// Serves until the process ends. Binds a port of the kernel's choice on 127.0.0.1 and calls
    /// `listening` with it as soon as a client may come.
    ///
    /// # Errors
    ///
    /// If it cannot bind or serve; that ends the comparison.
    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible>;

    /// Connects every link that the shape wants and returns when frames can flow. For shapes that
    /// measure connecting itself, only prepares.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached.
    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>>;

    /// Prepares for shapes that have no server: both sides live in this process.
    ///
    /// # Errors
    ///
    /// If the contestant has nothing to measure there.
    fn alone(&self, scene: &Scene) -> Result<Box<dyn Client>> {
        bail!("{} does not run {} in memory", self.name(), scene.shape)
    }
}

/// Tells the parent where a server listens.
pub type Listening<'a> = &'a mut dyn FnMut(SocketAddr) -> Result<()>;

/// The dialing end, connected and idle between runs.
pub trait Client {
    /// Moves frames for `time`, waits for those still under way, and says how it went.
    ///
    /// # Errors
    ///
    /// If a link ends, or a frame comes back changed or not at all.
    fn run(&mut self, time: Duration) -> Result<Outcome>;
}

/// The contestant called `name`.
///
/// # Errors
///
/// If there is none.
pub fn named(name: &str) -> Result<&'static dyn Contestant> {
    ALL.iter().find(|contestant| contestant.name() == name).copied().with_context(|| {
        let names: Vec<_> = ALL.iter().map(|contestant| contestant.name()).collect();
        format!("no contestant is called {name}; there are {}", names.join(", "))
    })
}
