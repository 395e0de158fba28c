//! How often strangers may cause a line in the log.

use std::time::{Duration, Instant};

use ringseal_auth::HandshakeResult;

use super::bucket::{Bucket, Rate};
use super::lanes::Lane;

/// Lines of one lane about one thing: a few at once, then one a second.
const RATE: Rate = Rate { burst: 5, period: Duration::from_secs(1) };

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A handshake that has failed.
    Handshake(HandshakeResult),
    /// A link that enforcing would refuse.
    Lenient,
    /// A newcomer whose peer has a living link.
    Duplicate,
}

const TOPICS: usize = HandshakeResult::ALL.len() + 2;

impl Topic {
    fn all() -> impl Iterator<Item = Self> {
        let handshakes = HandshakeResult::ALL.into_iter().map(Self::Handshake);
        handshakes.chain([Self::Lenient, Self::Duplicate])
    }

    fn index(self) -> usize {
        match self {
            Self::Handshake(result) => result as usize,
            Self::Lenient => TOPICS - 2,
            Self::Duplicate => TOPICS - 1,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Handshake(result) => result.as_str(),
            Self::Lenient => "lenient",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A budget of lines for each lane and topic, so that a flood hides nothing but more of its own kind:
/// a replica with a wrong secret is seen however many strangers come from elsewhere, for its lane is
/// that of the roster's addresses.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    cells: [[Cell; TOPICS]; Lane::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    bucket: Bucket,
    suppressed: u64,
}

impl Cell {
    fn take(&mut self, now: Instant) -> Option<u64> {
        self.bucket.take(RATE, now).then(|| std::mem::take(&mut self.suppressed))
    }
}

impl LogBudget {
    /// Whether a line may be written, and then how many were suppressed since the last one like it.
    pub(crate) fn line(&mut self, lane: Lane, topic: Topic, now: Instant) -> Option<u64> {
        let cell = &mut self.cells[lane as usize][topic.index()];
        let line = cell.take(now);
        cell.suppressed += u64::from(line.is_none());
        line
    }

    /// What was suppressed and may be summed up now, so that the end of a flood is told as well.
    pub(crate) fn leftovers(&mut self, now: Instant) -> impl Iterator<Item = (Lane, Topic, u64)> {
        let cells = Lane::ALL.into_iter().zip(&mut self.cells);
        let cells =
            cells.flat_map(|(lane, topics)| Topic::all().zip(topics).map(move |t| (lane, t)));
        cells.filter_map(move |(lane, (topic, cell))| {
            let suppressed = (cell.suppressed > 0).then(|| cell.take(now)).flatten()?;
            Some((lane, topic, suppressed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Topic = Topic::Handshake(HandshakeResult::Timeout);
    const WRONG: Topic = Topic::Handshake(HandshakeResult::MacMismatch);

    #[test]
    fn topics_are_distinct_and_index_their_table() {
        assert!(Topic::all().map(Topic::index).eq(0..TOPICS));
    }

    #[test]
    fn a_flood_gets_its_burst_and_one_line_a_second_that_says_how_many_it_stands_for() {
        let began = Instant::now();
        let mut budget = LogBudget::default();
        let mut lines = Vec::new();
        for millis in 0..10_000 {
            let now = began + Duration::from_millis(millis);
            lines.extend(budget.line(Lane::Other, TIMEOUT, now));
        }
        assert_eq!(lines.len(), 5 + 9);
        assert_eq!(lines[..5], [0; 5]);
        let left: Vec<_> = budget.leftovers(began + Duration::from_secs(10)).collect();
        let [(Lane::Other, TIMEOUT, left)] = left[..] else { panic!("{left:?}") };
        assert_eq!(lines.len() as u64 + lines.iter().sum::<u64>() + left, 10_000);
        assert_eq!(budget.leftovers(began + Duration::from_secs(60)).count(), 0, "all is told");
    }

    #[test]
    fn a_flood_hides_neither_another_lane_nor_another_topic() {
        let now = Instant::now();
        let mut budget = LogBudget::default();
        while budget.line(Lane::Other, WRONG, now).is_some() {}
        assert_eq!(budget.line(Lane::Roster, WRONG, now), Some(0));
        assert_eq!(budget.line(Lane::Other, TIMEOUT, now), Some(0));
    }

    #[test]
    fn leftovers_wait_for_their_turn() {
        let now = Instant::now();
        let mut budget = LogBudget::default();
        while budget.line(Lane::Other, TIMEOUT, now).is_some() {}
        assert_eq!(budget.leftovers(now).count(), 0);
        assert_eq!(budget.leftovers(now + RATE.period).count(), 1);
    }
}
