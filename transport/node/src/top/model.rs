//! What is shown: samples of nodes, the rates between them, and how the view is set.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::fetch::{Link, Sample};

/// How many rates are kept for a sparkline.
pub(super) const HISTORY: usize = 40;

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct App {
    pub(super) nodes: Vec<Watched>,
    pub(super) screen: Screen,
    pub(super) sort: Column,
    pub(super) reversed: bool,
    /// How many rows of the table are above the screen.
    pub(super) scrolled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    Links,
    Handshakes,
}

/// What the links are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Node,
    Peer,
    State,
    Rate,
    Outbox,
    Age,
}

impl Column {
    fn next(self) -> Self {
        match self {
            Self::Node => Self::Peer,
            Self::Peer => Self::State,
            Self::State => Self::Rate,
            Self::Rate => Self::Outbox,
            Self::Outbox => Self::Age,
            Self::Age => Self::Node,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Peer => "peer",
            Self::State => "state",
            Self::Rate => "frames/s",
            Self::Outbox => "outbox",
            Self::Age => "age",
        }
    }
}

/// Whether to go on after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Away,
}

impl App {
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self {
            nodes: names.into_iter().map(Watched::new).collect(),
            screen: Screen::Links,
            sort: Column::Node,
            reversed: false,
            scrolled: 0,
        }
    }

    /// Takes the answer of a node that came so long after the start.
    pub(super) fn take(&mut self, node: usize, at: Duration, sample: Result<Sample, String>) {
        self.nodes[node].take(at, sample);
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: KeyEvent) -> Go {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Go::Away,
            KeyCode::Char('q') | KeyCode::Esc => return Go::Away,
            KeyCode::Char('l') => self.screen = Screen::Links,
            KeyCode::Char('h') => self.screen = Screen::Handshakes,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down => self.scrolled = (self.scrolled + 1).min(self.links().len()),
            _ => {}
        }
        if matches!(key.code, KeyCode::Char(_)) {
            self.scrolled = 0;
        }
        Go::On
    }

    /// The links of all nodes that answer, sorted.
    pub(super) fn links(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for node in &self.nodes {
            let Some(sample) = node.sample() else { continue };
            for link in &sample.links {
                let rate = node.rates.get(&link.id).copied().unwrap_or_default();
                rows.push(Row { node: sample.replica, link, rate });
            }
        }
        rows.sort_by(|one, other| self.order(one, other));
        if self.reversed {
            rows.reverse();
        }
        rows
    }

    /// What wants attention comes first: what is down, fast, full or young.
    fn order(&self, one: &Row<'_>, other: &Row<'_>) -> Ordering {
        let name = |row: &Row<'_>| (row.node, row.link.id);
        let by = match self.sort {
            Column::Node => Ordering::Equal,
            Column::Peer => one.link.id.cmp(&other.link.id),
            Column::State => one.link.is_up().cmp(&other.link.is_up()),
            Column::Rate => other.rate.frames().total_cmp(&one.rate.frames()),
            Column::Outbox => other.link.outbox.cmp(&one.link.outbox),
            Column::Age => other.link.since_ms.cmp(&one.link.since_ms),
        };
        by.then(name(one).cmp(&name(other)))
    }
}

/// One line of the table of links.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) node: u8,
    pub(super) link: &'a Link,
    pub(super) rate: Rate,
}

/// What a link carries, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) frames_in: f64,
    pub(super) frames_out: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

impl Rate {
    pub(super) fn frames(&self) -> f64 {
        self.frames_in + self.frames_out
    }

    /// A node that was started anew counts from 0 again.
    fn between(before: &Link, now: &Link, seconds: f64) -> Self {
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Self {
            frames_in: rate(before.frames_in, now.frames_in),
            frames_out: rate(before.frames_out, now.frames_out),
            bytes_in: rate(before.bytes_in, now.bytes_in),
            bytes_out: rate(before.bytes_out, now.bytes_out),
        }
    }
}

/// A node that is asked again and again.
#[derive(Debug)]
pub(super) struct Watched {
    /// Where it serves HTTP.
    pub(super) name: String,
    latest: Option<(Duration, Sample)>,
    rates: BTreeMap<u8, Rate>,
    /// Frames per second, both directions of all links, the newest last.
    pub(super) history: VecDeque<u64>,
    /// Why it does not answer, if it does not.
    pub(super) error: Option<String>,
}

impl Watched {
    fn new(name: String) -> Self {
        let (rates, history) = (BTreeMap::new(), VecDeque::new());
        Self { name, latest: None, rates, history, error: None }
    }

    /// What the node said last, if it answers.
    pub(super) fn sample(&self) -> Option<&Sample> {
        let answers = self.error.is_none();
        self.latest.as_ref().filter(|_| answers).map(|(_, sample)| sample)
    }

    /// The sum over all links.
    pub(super) fn total(&self) -> Rate {
        let add = |sum: Rate, rate: &Rate| Rate {
            frames_in: sum.frames_in + rate.frames_in,
            frames_out: sum.frames_out + rate.frames_out,
            bytes_in: sum.bytes_in + rate.bytes_in,
            bytes_out: sum.bytes_out + rate.bytes_out,
        };
        self.rates.values().fold(Rate::default(), add)
    }

    fn take(&mut self, at: Duration, sample: Result<Sample, String>) {
        self.rates.clear();
        self.error = None;
        match sample {
            Err(error) => self.error = Some(error),
            Ok(sample) => {
                if let Some((before_at, before)) = &self.latest {
                    let seconds = at.saturating_sub(*before_at).as_secs_f64().max(0.001);
                    for link in &sample.links {
                        if let Some(before) = before.links.iter().find(|l| l.id == link.id) {
                            self.rates.insert(link.id, Rate::between(before, link, seconds));
                        }
                    }
                }
                self.latest = Some((at, sample));
            }
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(self.total().frames() as u64);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::top) fn link(id: u8, up: bool, frames: u64) -> Link {
        Link {
            id,
            state: if up { "up" } else { "down" }.to_owned(),
            direction: if id > 0 { "outbound" } else { "inbound" }.to_owned(),
            shard: up.then_some(0),
            authenticated: up && id != 2,
            since_ms: 1_000_000 - 1000 * u64::from(id) * u64::from(id),
            frames_in: frames,
            frames_out: 2 * frames,
            bytes_in: frames * 4096,
            bytes_out: frames * 8192,
            outbox: u32::from(up) * 7,
            rtt_us: up.then_some(90 * (1 + u64::from(id))),
            last_reason: (!up).then(|| "eof".to_owned()),
        }
    }

    /// Two nodes that answer and one that does not, after two samples, 2 s apart.
    pub(in crate::top) fn app() -> App {
        let names = ["127.0.0.1:9600", "127.0.0.1:9601", "127.0.0.1:9602"];
        let mut app = App::new(names.map(str::to_owned));
        for (second, frames) in [(1, 0), (3, 24_690)] {
            for node in 0..2_u8 {
                let peers = (0..3).filter(|id| *id != node);
                let links = peers.map(|id| link(id, id != 2 || node == 0, frames)).collect();
                let word = |role: &str, result: &str| (role.to_owned(), result.to_owned());
                let sample = Sample {
                    cluster: "orders".to_owned(),
                    replica: node,
                    safe_to_enforce: node == 1,
                    links,
                    handshakes: BTreeMap::from([
                        (word("acceptor", "ok"), u64::from(node) * 3),
                        (word("dialer", "ok"), 2),
                        (word("acceptor", "mac_mismatch"), 0),
                        (word("dialer", "io"), 1200),
                    ]),
                };
                app.take(node.into(), Duration::from_secs(second), Ok(sample));
            }
            let refused = Err("nobody listens there".to_owned());
            app.take(2, Duration::from_secs(second), refused);
        }
        app
    }

    fn press(app: &mut App, key: char) -> Go {
        app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE))
    }

    #[test]
    fn rates_are_what_came_between_two_samples_by_their_distance() {
        let mut app = app();
        assert_eq!(app.links()[0].rate.frames_in, 12_345.0);
        assert_eq!(app.links()[0].rate.bytes_out, 12_345.0 * 8192.0);
        let restarted = Sample { links: vec![link(1, true, 5)], ..Sample::default() };
        app.take(0, Duration::from_secs(4), Ok(restarted));
        assert_eq!(app.links()[0].rate, Rate::default(), "it counts from 0 again");
        app.take(0, Duration::from_secs(5), Err("gone".to_owned()));
        assert!(app.nodes[0].sample().is_none());
    }

    #[test]
    fn keys_sort_reverse_and_quit() {
        let mut app = app();
        let order = |app: &App| -> Vec<_> {
            app.links().iter().map(|row| (row.node, row.link.id)).collect()
        };
        assert_eq!(order(&app), [(0, 1), (0, 2), (1, 0), (1, 2)]);
        assert_eq!(press(&mut app, 's'), Go::On);
        assert_eq!(order(&app), [(1, 0), (0, 1), (0, 2), (1, 2)], "by peer");
        press(&mut app, 's');
        assert_eq!(order(&app)[0], (1, 2), "what is down comes first");
        press(&mut app, 'r');
        assert_eq!(order(&app)[3], (1, 2));
        for sort in [Column::Rate, Column::Outbox, Column::Age, Column::Node] {
            press(&mut app, 's');
            assert_eq!(app.sort, sort);
        }
        press(&mut app, 'h');
        assert_eq!(app.screen, Screen::Handshakes);
        assert_eq!(press(&mut app, 'q'), Go::Away);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.press(interrupt), Go::Away);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut app = app();
        for second in 0..2 * HISTORY as u64 {
            app.take(0, Duration::from_secs(second), Ok(Sample::default()));
        }
        assert_eq!(app.nodes[0].history.len(), HISTORY);
    }
}
