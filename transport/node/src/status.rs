//! What a node says about itself: whether it is ready, and how it sees its peers.

use std::sync::Arc;

use ringseal::{Mesh, Metrics, PeerStatus, ReplicaId, Times};
use serde::Serialize;

use crate::audit;

/// A node that can be asked.
pub trait Node: Send + Sync + 'static {
    /// What the bus has counted.
    fn metrics(&self) -> Metrics;

    /// Every replica of the roster but ourselves.
    fn peers(&self) -> Vec<Peer>;

    /// What took how long with each of them.
    fn peer_times(&self) -> Vec<PeerTimes>;

    /// How many events the audit log is missing, if there is one.
    fn audit_missed(&self) -> Option<u64>;
}

/// What took how long with one peer.
#[derive(Clone, Debug, Default)]
pub struct PeerTimes {
    /// The replica's id.
    pub id: u8,
    /// Handshakes that succeeded.
    pub handshakes: Times,
    /// Round trips of its links.
    pub round_trips: Times,
}

/// A bus together with the id it runs under.
#[derive(Debug)]
pub struct Live {
    /// The bus.
    pub mesh: Mesh,
    /// Our own id.
    pub replica: ReplicaId,
    /// Where its events go, if they go anywhere.
    pub audit: Option<Arc<audit::Sink>>,
}

impl Node for Live {
    fn metrics(&self) -> Metrics {
        self.mesh.metrics()
    }

    fn peers(&self) -> Vec<Peer> {
        self.mesh.peers().iter().map(|status| Peer::new(self.replica, status)).collect()
    }

    fn peer_times(&self) -> Vec<PeerTimes> {
        let times = |status: PeerStatus| PeerTimes {
            id: status.id.get(),
            handshakes: status.handshake_seconds,
            round_trips: status.round_trip_seconds,
        };
        self.mesh.peers().into_iter().map(times).collect()
    }

    fn audit_missed(&self) -> Option<u64> {
        self.audit.as_ref().map(|sink| sink.missed())
    }
}

/// One peer, as `/peers` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct Peer {
    /// The replica's id.
    pub id: u8,
    /// Its address, as the roster spells it.
    pub address: String,
    /// `up` or `down`.
    pub state: &'static str,
    /// `inbound` if it dials us, `outbound` if we dial it.
    pub direction: &'static str,
    /// The shard that owns the link, if it is up.
    pub shard: Option<usize>,
    /// Whether the peer has proven that it holds the secret.
    pub authenticated: bool,
    /// When the state began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Frames received from it.
    pub frames_in: u64,
    /// Frames written to it.
    pub frames_out: u64,
    /// Bytes received from it.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// Frames that wait to be written.
    pub outbox: u32,
    /// The round trip as our kernel last measured it, in microseconds.
    pub rtt_us: Option<u64>,
    /// Why the last link ended or the last handshake failed.
    pub last_reason: Option<&'static str>,
}

impl Peer {
    /// The peer as replica `ours` sees it.
    #[must_use]
    pub fn new(ours: ReplicaId, status: &PeerStatus) -> Self {
        let link = status.link;
        // Of two replicas the lower id dials, so the direction is known before there is a link.
        let expected = if ours < status.id { "outbound" } else { "inbound" };
        Self {
            id: status.id.get(),
            address: status.address.clone(),
            state: if link.is_some() { "up" } else { "down" },
            direction: link.map_or(expected, |link| link.role.direction()),
            shard: link.map(|link| link.shard),
            authenticated: link.is_some_and(|link| link.authenticated),
            since_ms: status.since_ms,
            frames_in: status.frames_in,
            frames_out: status.frames_out,
            bytes_in: status.bytes_in,
            bytes_out: status.bytes_out,
            outbox: status.outbox,
            rtt_us: link
                .and_then(|link| link.round_trip)
                .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            last_reason: status.last_reason,
        }
    }
}

/// The whole answer of `/peers`.
#[derive(Clone, Debug, Serialize)]
pub struct Peers<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// Our own id.
    pub replica: u8,
    /// Whether no peer has needed leniency for ten minutes.
    pub safe_to_enforce: bool,
    /// The peer that has needed leniency last, if one has since the start.
    pub last_lenient: Option<u8>,
    /// Every replica of the roster but ourselves.
    pub peers: Vec<Peer>,
}

/// Whether a node of a cluster of `replicas` can do its work.
///
/// # Errors
///
/// The reason, when it cannot: not every shard listens, or too few replicas are linked for a
/// majority.
pub fn readiness(metrics: &Metrics, replicas: usize) -> Result<(), String> {
    let Metrics { shards, shards_listening, links_up, .. } = metrics;
    if shards_listening < shards {
        return Err(format!("{shards_listening} of {shards} shards listen"));
    }
    let majority = replicas / 2 + 1;
    let together = links_up.saturating_add(1);
    if together < majority as u64 {
        return Err(format!(
            "{together} of {replicas} replicas are here, ourselves included; a majority is \
             {majority}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(shards: usize, listening: usize, links_up: u64) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.shards = shards;
        metrics.shards_listening = listening;
        metrics.links_up = links_up;
        metrics
    }

    #[test]
    fn ready_means_listening_and_a_majority_with_ourselves() {
        for (replicas, links) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (256, 128)] {
            assert_eq!(readiness(&metrics(2, 2, links), replicas), Ok(()), "{replicas}");
            if links > 0 {
                let reason = readiness(&metrics(2, 2, links - 1), replicas).expect_err("too few");
                assert!(reason.contains("a majority is"), "{reason}");
            }
        }
    }

    #[test]
    fn a_deaf_shard_is_a_reason() {
        assert_eq!(readiness(&metrics(4, 3, 9), 3), Err("3 of 4 shards listen".to_owned()));
    }
}
