//! A snapshot of the bus's counters as Prometheus reads it.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use ringseal::{HANDSHAKE_BUCKETS, Metrics, ROUND_TRIP_BUCKETS, Times};

use crate::status::{Node, PeerTimes};

/// The media type of what [`render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the snapshot in the text format that Prometheus scrapes.
#[must_use]
pub fn render(snapshot: Snapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    // Writing to a string fails only if an encoder of ours does, and none has a reason to.
    if encode(&mut text, &registry).is_err() {
        tracing::error!("the metrics could not be written out");
    }
    classic(&text)
}

/// The encoder writes OpenMetrics; the older text format, which every scraper reads, differs in that
/// a counter's type and help stand under the name that its samples have, and in having no end mark.
fn classic(open_metrics: &str) -> String {
    let lines: Vec<_> = open_metrics.lines().filter(|line| *line != "# EOF").collect();
    let is_counter = |name: &str| lines.contains(&format!("# TYPE {name} counter").as_str());
    let mut text = String::with_capacity(open_metrics.len() + 256);
    for line in &lines {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                text.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

/// What a node has counted up to one moment.
#[derive(Debug)]
pub struct Snapshot {
    metrics: Metrics,
    peers: Vec<PeerTimes>,
    audit_missed: Option<u64>,
}

impl Snapshot {
    /// The snapshot of a node.
    pub fn of(node: &impl Node) -> Self {
        let (metrics, peers) = (node.metrics(), node.peer_times());
        Self { metrics, peers, audit_missed: node.audit_missed() }
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut writer = Writer(encoder);
        self.links(&mut writer)?;
        self.times(&mut writer)?;
        self.traffic(&mut writer)?;
        match self.audit_missed {
            Some(missed) => {
                writer.counter("audit_missed", "Events that the audit log is missing", missed)
            }
            None => Ok(()),
        }
    }
}

impl Snapshot {
    fn links(&self, to: &mut Writer<'_>) -> Result<(), Error> {
        let m = &self.metrics;
        to.gauge("links_up", "Links that are up", m.links_up)?;
        to.gauge("peers", "Other replicas of the roster", self.peers.len() as u64)?;
        let handshakes = m.handshakes.iter().map(|(role, result, count)| {
            ([("role", role.as_str()), ("result", result.as_str())], *count)
        });
        to.counters("handshakes", "Handshakes that ended, by role and result", handshakes)?;
        to.gauge(
            "preauth_connections",
            "Connections that have not finished their handshake",
            m.preauth_connections,
        )?;
        let evictions = m.evictions.iter().map(|(lane, reason, count)| {
            ([("lane", lane.as_str()), ("reason", reason.as_str())], *count)
        });
        to.counters("evictions", "Connections that had to go before their handshake", evictions)?;
        let tags = m.hello_tags.iter().map(|(tag, count)| ([("tag", tag.as_str())], *count));
        to.counters("hello_tags", "First frames by what they show of membership", tags)?;
        to.counter("reconnects", "Dials after the first one to each peer", m.reconnects)?;
        let soft =
            m.soft_admissions.iter().map(|(reason, count)| ([("reason", reason.as_str())], *count));
        to.counters("soft_admissions", "Links that enforce would have refused", soft)?;
        to.gauge(
            "safe_to_enforce",
            "1 if no peer has needed leniency for ten minutes",
            u64::from(m.safe_to_enforce),
        )?;
        to.counter("accept_errors", "Errors while accepting connections", m.accept_errors)
    }

    fn times(&self, to: &mut Writer<'_>) -> Result<(), Error> {
        let (name, help) = ("handshake_seconds", "How long handshakes took");
        to.times(name, help, &HANDSHAKE_BUCKETS, &self.metrics.handshake_seconds)?;
        let times = self.peers.iter().map(|peer| (peer.id, &peer.handshakes));
        let help = "How long handshakes took that succeeded, by peer";
        to.times_of_peers("peer_handshake_seconds", help, &HANDSHAKE_BUCKETS, times)?;
        let times = self.peers.iter().map(|peer| (peer.id, &peer.round_trips));
        let help = "Round trips of links as the kernel measures them, one look a second";
        to.times_of_peers("link_rtt_seconds", help, &ROUND_TRIP_BUCKETS, times)
    }

    fn traffic(&self, to: &mut Writer<'_>) -> Result<(), Error> {
        let m = &self.metrics;
        let both =
            |inward, outward| [([("direction", "in")], inward), ([("direction", "out")], outward)];
        to.counters("frames", "Frames handed over and written", both(m.frames_in, m.frames_out))?;
        to.counters(
            "bytes",
            "Bytes read from and written to links",
            both(m.bytes_in, m.bytes_out),
        )?;
        to.counter("reads", "Reads that brought something", m.reads)?;
        to.counter("writes", "Writes that took something", m.writes)?;
        let dropped = m.frames_dropped.iter();
        let dropped = dropped.map(|(reason, count)| ([("reason", reason.as_str())], *count));
        to.counters("frames_dropped", "Accepted frames that were lost with their link", dropped)?;
        to.counter("backpressure", "Sends refused because an outbox was full", m.backpressure)?;
        to.gauge("paused_links", "Links whose handler has paused them", m.paused_links)
    }
}

/// Adds the prefix that all our names share. A counter's `_total` is the encoder's to add.
struct Writer<'e>(DescriptorEncoder<'e>);

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let name = format!("ringseal_{name}");
        let encoder = self.0.encode_descriptor(&name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let name = format!("ringseal_{name}");
        let mut encoder = self.0.encode_descriptor(&name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let name = format!("ringseal_{name}");
        let encoder = self.0.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn times(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        times: &Times,
    ) -> Result<(), Error> {
        let name = format!("ringseal_{name}");
        let encoder = self.0.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        encode_times(encoder, bounds, times)
    }

    fn times_of_peers<'t>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        times: impl Iterator<Item = (u8, &'t Times)>,
    ) -> Result<(), Error> {
        let name = format!("ringseal_{name}");
        let mut encoder = self.0.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        for (peer, times) in times {
            encode_times(encoder.encode_family(&[("peer", peer)])?, bounds, times)?;
        }
        Ok(())
    }
}

fn encode_times(
    mut encoder: MetricEncoder<'_>,
    bounds: &[f64],
    times: &Times,
) -> Result<(), Error> {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(times.counts).collect();
    encoder.encode_histogram::<NoLabelSet>(times.sum, times.counts.iter().sum(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use ringseal::auth::Leniency;
    use ringseal::{Eviction, HandshakeResult, Lane, Reason, Role, Tag};

    use super::*;

    fn sample() -> Snapshot {
        let mut metrics = Metrics::default();
        metrics.links_up = 2;
        metrics.handshakes = vec![
            (Role::Dialer, HandshakeResult::Ok, 3),
            (Role::Acceptor, HandshakeResult::MacMismatch, 4),
        ];
        metrics.handshake_seconds.counts[1] = 5;
        metrics.handshake_seconds.counts[HANDSHAKE_BUCKETS.len()] = 2;
        metrics.handshake_seconds.sum = 12.5;
        metrics.preauth_connections = 6;
        metrics.frames_in = 7;
        metrics.frames_out = 8;
        metrics.bytes_in = 9;
        metrics.bytes_out = 10;
        metrics.reads = 11;
        metrics.frames_dropped = vec![(Reason::Eof, 12)];
        metrics.backpressure = 13;
        metrics.reconnects = 14;
        metrics.soft_admissions = vec![(Leniency::MacMismatch, 15)];
        metrics.safe_to_enforce = true;
        metrics.paused_links = 16;
        metrics.evictions = vec![(Lane::Other, Eviction::Room, 17)];
        metrics.hello_tags = vec![(Tag::Fresh, 18)];
        Snapshot { metrics, peers: peers(), audit_missed: Some(19) }
    }

    fn peers() -> Vec<PeerTimes> {
        let mut handshakes = Times { sum: 0.25, ..Times::default() };
        handshakes.counts[0] = 1;
        let mut round_trips = Times { sum: 0.003, ..Times::default() };
        round_trips.counts[1] = 3;
        let silent = PeerTimes { id: 7, ..PeerTimes::default() };
        vec![PeerTimes { id: 2, handshakes, round_trips }, silent]
    }

    #[test]
    fn every_name_is_as_promised_with_its_labels() {
        let text = render(sample());
        let lines = [
            "ringseal_links_up 2",
            "ringseal_peers 2",
            "ringseal_handshakes_total{role=\"dialer\",result=\"ok\"} 3",
            "ringseal_handshakes_total{role=\"acceptor\",result=\"mac_mismatch\"} 4",
            "ringseal_preauth_connections 6",
            "ringseal_frames_total{direction=\"in\"} 7",
            "ringseal_frames_total{direction=\"out\"} 8",
            "ringseal_bytes_total{direction=\"in\"} 9",
            "ringseal_bytes_total{direction=\"out\"} 10",
            "ringseal_reads_total 11",
            "ringseal_frames_dropped_total{reason=\"eof\"} 12",
            "ringseal_backpressure_total 13",
            "ringseal_reconnects_total 14",
            "ringseal_soft_admissions_total{reason=\"mac_mismatch\"} 15",
            "ringseal_safe_to_enforce 1",
            "ringseal_paused_links 16",
            "ringseal_evictions_total{lane=\"other\",reason=\"room\"} 17",
            "ringseal_hello_tags_total{tag=\"fresh\"} 18",
            "ringseal_audit_missed_total 19",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("_total_total"), "{text}");
        assert!(text.contains("# TYPE ringseal_frames_total counter\n"), "{text}");
        assert!(text.contains("# TYPE ringseal_links_up gauge\n"), "{text}");
        assert!(!text.contains("# EOF"), "{text}");
    }

    #[test]
    fn histograms_are_cumulative_and_end_at_infinity() {
        let text = render(sample());
        let lines = [
            "ringseal_handshake_seconds_bucket{le=\"0.001\"} 0",
            "ringseal_handshake_seconds_bucket{le=\"0.0025\"} 5",
            "ringseal_handshake_seconds_bucket{le=\"5.0\"} 5",
            "ringseal_handshake_seconds_bucket{le=\"+Inf\"} 7",
            "ringseal_handshake_seconds_count 7",
            "ringseal_handshake_seconds_sum 12.5",
            "ringseal_peer_handshake_seconds_bucket{le=\"+Inf\",peer=\"2\"} 1",
            "ringseal_peer_handshake_seconds_sum{peer=\"2\"} 0.25",
            "ringseal_peer_handshake_seconds_count{peer=\"7\"} 0",
            "ringseal_link_rtt_seconds_bucket{le=\"0.0001\",peer=\"2\"} 0",
            "ringseal_link_rtt_seconds_bucket{le=\"0.00025\",peer=\"2\"} 3",
            "ringseal_link_rtt_seconds_sum{peer=\"2\"} 0.003",
            "ringseal_link_rtt_seconds_count{peer=\"7\"} 0",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
