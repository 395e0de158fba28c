//! Token buckets, with time passed in.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// How fast a bucket fills and how many tokens it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) period: Duration,
}

/// A token bucket as one instant: the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes a token; false when the bucket is empty.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let full = self.0.map_or(now, |full| full.max(now));
        let left = full.saturating_duration_since(now) <= rate.period * (rate.burst - 1);
        if left {
            self.0 = Some(full + rate.period);
        }
        left
    }

    /// Puts a token back that was taken.
    pub(crate) fn give_back(&mut self, rate: Rate) {
        self.0 = self.0.and_then(|full| full.checked_sub(rate.period));
    }
}

/// A network that one party may well hold whole: an IPv4 address, or 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// What one source may do without standing back behind others.
const SOURCE_RATE: Rate = Rate { burst: 16, period: Duration::from_millis(250) };

/// How many sources are remembered.
const SOURCES: usize = 4096;

/// A bucket for every source that was seen lately. When the table is full, the source that has been in
/// it for the longest time is forgotten, which gives it a full bucket.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: HashMap<Source, Bucket>,
    order: VecDeque<Source>,
}

impl Buckets {
    /// Takes a token of a source; false when it has none left.
    pub(crate) fn take(&mut self, source: Source, now: Instant) -> bool {
        if !self.buckets.contains_key(&source) {
            if self.order.len() == SOURCES
                && let Some(oldest) = self.order.pop_front()
            {
                self.buckets.remove(&oldest);
            }
            self.order.push_back(source);
        }
        self.buckets.entry(source).or_default().take(SOURCE_RATE, now)
    }

    /// Returns a token to a source.
    pub(crate) fn give_back(&mut self, source: Source) {
        if let Some(bucket) = self.buckets.get_mut(&source) {
            bucket.give_back(SOURCE_RATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { burst: 3, period: Duration::from_secs(1) };

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_a_period() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut bucket = Bucket::default();
        let takes = [(0, true), (0, true), (0, true), (0, false), (999, false)];
        let later = [(1000, true), (1000, false), (2000, true), (2000, false)];
        let full = [(60_000, true), (60_000, true), (60_000, true), (60_000, false)];
        for (millis, expected) in takes.into_iter().chain(later).chain(full) {
            assert_eq!(bucket.take(RATE, at(millis)), expected, "at {millis} ms");
        }
    }

    #[test]
    fn a_token_that_comes_back_can_be_taken_again() {
        let now = Instant::now();
        let mut bucket = Bucket::default();
        while bucket.take(RATE, now) {}
        bucket.give_back(RATE);
        assert!(bucket.take(RATE, now));
        assert!(!bucket.take(RATE, now));
    }

    #[test]
    fn an_ipv4_address_is_a_source_however_it_is_written_and_an_ipv6_network_is_one() {
        let source = |text: &str| Source::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }

    #[test]
    fn sources_do_not_drain_each_other_and_the_oldest_is_forgotten() {
        let now = Instant::now();
        let mut buckets = Buckets::default();
        let source = |number: u32| Source::V4(Ipv4Addr::from_bits(number));
        while buckets.take(source(0), now) {}
        assert!(buckets.take(source(1), now));
        for number in 2..SOURCES as u32 {
            assert!(buckets.take(source(number), now));
        }
        assert!(!buckets.take(source(0), now), "the table holds all of them");
        buckets.give_back(source(SOURCES as u32));
        assert!(buckets.take(source(SOURCES as u32), now));
        assert!(buckets.take(source(0), now), "the oldest was forgotten");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_yields_more_than_the_burst_and_what_flowed_in(
            steps in proptest::collection::vec(0..2000_u64, 1..200)
        ) {
            let began = Instant::now();
            let (mut bucket, mut millis, mut taken) = (Bucket::default(), 0, 0);
            for step in steps {
                millis += step;
                taken += u64::from(bucket.take(RATE, began + Duration::from_millis(millis)));
                prop_assert!(taken <= u64::from(RATE.burst) + millis / 1000);
            }
        }

        #[test]
        fn the_table_never_outgrows_its_bound(
            numbers in proptest::collection::vec(0..3 * SOURCES as u32, 1..4 * SOURCES)
        ) {
            let now = Instant::now();
            let mut buckets = Buckets::default();
            for number in numbers {
                buckets.take(Source::V4(Ipv4Addr::from_bits(number)), now);
                prop_assert!(buckets.order.len() <= SOURCES);
                prop_assert_eq!(buckets.order.len(), buckets.buckets.len());
            }
        }
    }
}
