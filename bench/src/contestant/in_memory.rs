//! What `ringseal` does in memory, without its bus: the shapes that have one process.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use super::{Client, Scene};
use crate::fixture::{self, Cluster};
use crate::frame;
use crate::measure::{Outcome, Run};
use crate::shape::Shape;
use crate::window::Deadline;

/// The client of a shape that has one process.
pub(super) fn prepare(scene: &Scene) -> Result<Box<dyn Client>> {
    let cluster = || Cluster::new(&scene.material.psk);
    Ok(match scene.shape {
        Shape::HandshakeCpu => Box::new(Handshakes { cluster: cluster()?, random: true }),
        Shape::HandshakeHashing => Box::new(Handshakes { cluster: cluster()?, random: false }),
        Shape::Parse { size } => Box::new(Parses { received: fixture::full_buffer(size) }),
        other => bail!("{other} is not run in memory"),
    })
}

/// Both sides in one thread.
struct Handshakes {
    cluster: Cluster,
    /// Whether nonces come from the system each time.
    random: bool,
}

impl Client for Handshakes {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let mut clock = Deadline::new(time, 32);
        let mut handshakes = 0;
        let run = Run::start();
        loop {
            match self.random {
                true => self.cluster.shake_hands()?,
                false => self.cluster.shake_hands_with(fixture::NONCES).map(drop)?,
            }
            handshakes += 1;
            if !clock.tick() {
                return Ok(run.finish(handshakes, None));
            }
        }
    }
}

/// Cuts full buffers into frames.
struct Parses {
    received: Bytes,
}

impl Client for Parses {
    /// Only cutting is timed: what fills a buffer is the kernel.
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let per_buffer = frame::whole(&self.received).count() as u64;
        let mut clock = Deadline::new(time, 32);
        let (mut frames, mut spent) = (0, Duration::ZERO);
        loop {
            let mut deframer = fixture::filled(&self.received);
            let started = Instant::now();
            fixture::cut(black_box(&mut deframer))?;
            spent += started.elapsed();
            frames += per_buffer;
            if !clock.tick() {
                let nanos = u64::try_from(spent.as_nanos()).context("centuries")?;
                let (elapsed_ns, cpu_ns) = (nanos, nanos);
                return Ok(Outcome { operations: frames, elapsed_ns, cpu_ns, latencies: None });
            }
        }
    }
}
