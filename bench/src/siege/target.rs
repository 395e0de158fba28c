//! The target: a bus of one shard that sends every frame back.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use ringseal::{Bus, Flow, FrameView, Handler, Link};
use rustix::thread::gettid;
use serde::{Deserialize, Serialize};

use super::cluster::Cluster;

/// How long a target may take to start.
pub(super) const START: Duration = Duration::from_secs(10);

/// Where a target listens and which of its threads does the work.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Listening {
    /// Where.
    pub(super) address: SocketAddr,
    /// The kernel's number of the thread.
    pub(super) thread: i32,
}

struct Echo;

impl Handler for Echo {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        // Refused only if the outbox is full, which no client of the siege's ever makes it.
        let _refused = link.forward(link.peer(), frame);
        Flow::Continue
    }
}

/// Starts the bus. It runs until it is dropped.
pub(super) fn start(cluster: &Cluster, core: usize) -> Result<(Bus, Listening)> {
    let (tell, told) = mpsc::channel();
    let bus = Bus::start(cluster.config()?.with_cores(vec![core]), move |_shard| {
        // Nobody has given up on a bus that starts in time.
        tell.send(gettid().as_raw_nonzero().get()).unwrap_or_default();
        Echo
    })?;
    let thread = told.recv_timeout(START).context("the shard does not start")?;
    let address = bus.local_addr();
    Ok((bus, Listening { address, thread }))
}
