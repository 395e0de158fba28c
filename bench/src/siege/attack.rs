//! What strangers do to the port.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cluster::PLAIN_AT;

/// How many connections a second are opened, at first and then in place of those that the target has
/// closed: one every 2 ms. The largest attacks open more.
const USUAL: u32 = 500;

/// One attack: so many connections held at once, each opened again when the target closes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attack {
    /// Its name on the command line and in the table.
    pub name: String,
    /// Connections held at once; 0 for none at all.
    pub(super) held: usize,
    /// How many connections a second are opened until `held` have been.
    pub(super) opening: u32,
    /// How many connections a second are opened after that.
    pub(super) again: u32,
    /// How many have to be opened in all, or it was no such attack.
    pub(super) least: u64,
    /// Where they come from.
    pub(super) source: Source,
    /// What they say.
    pub(super) speech: Speech,
}

/// Where strangers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// One address that nobody honest has.
    One,
    /// So many addresses in turn.
    Many(u32),
    /// The address that all the joining replicas have.
    Replica,
}

impl Source {
    /// Where the `number`th connection comes from.
    pub(super) fn address(self, number: u64) -> Ipv4Addr {
        const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
        const FIRST_OF_MANY: u32 = Ipv4Addr::new(127, 77, 0, 0).to_bits();
        match self {
            Self::One => ONE,
            Self::Many(sources) => {
                Ipv4Addr::from_bits(FIRST_OF_MANY + (number % u64::from(sources)) as u32)
            }
            Self::Replica => PLAIN_AT,
        }
    }
}

/// What a stranger says on each of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Speech {
    /// Nothing.
    Silence,
    /// All of a Hello but its last byte.
    AlmostAHello,
    /// A Hello with a nonce and a forged tag, and then nothing: no Finish without the secret.
    Hello,
    /// A Hello that an honest replica has sent, tag and all, and then nothing.
    Replay,
    /// 512 random bytes.
    Noise,
    /// A Hello at one byte a second.
    Drip,
    /// Part of a Hello, and a reset at once.
    Reset,
}

/// Every attack, the largest with `most` connections opened a second; the quiet run first, which shows
/// how much a difference means.
#[must_use]
pub fn all(most: u32) -> Vec<Attack> {
    let attack = |name: &str, held, speech| Attack {
        name: name.to_owned(),
        held,
        opening: USUAL,
        again: USUAL,
        least: held as u64,
        source: Source::One,
        speech,
    };
    let silent = |name, held| attack(name, held, Speech::Silence);
    let flood = |name, source, least| {
        let (opening, again) = (most, most);
        Attack { source, least, opening, again, ..silent(name, 2000) }
    };
    vec![
        silent("quiet", 0),
        silent("silent-300", 300),
        silent("silent-2000", 2000),
        Attack { opening: most, ..silent("silent-10000", 10_000) },
        attack("255-of-256-bytes", 2000, Speech::AlmostAHello),
        attack("hello-no-finish", 2000, Speech::Hello),
        attack("replayed-hello", 2000, Speech::Replay),
        Attack { least: 2000, ..silent("reopened-every-2ms", 600) },
        flood("flood-1-source", Source::One, 10_000),
        flood("flood-60000-sources", Source::Many(60_000), 60_000),
        Attack { source: Source::Replica, ..silent("from-replica-address", 2000) },
        attack("random-bytes", 300, Speech::Noise),
        attack("byte-a-second", 2000, Speech::Drip),
        attack("resets", 300, Speech::Reset),
    ]
}

impl Attack {
    /// The attacks called `names`, the largest with `most` connections opened a second.
    ///
    /// # Errors
    ///
    /// If there is none of such a name.
    pub fn named(names: &[impl AsRef<str>], most: u32) -> Result<Vec<Self>> {
        let all = all(most);
        let find = |name: &str| {
            let found = all.iter().find(|attack| attack.name == name).cloned();
            let known: Vec<_> = all.iter().map(|attack| attack.name.as_str()).collect();
            found.with_context(|| {
                format!("no attack is called {name}; there are {}", known.join(", "))
            })
        };
        names.iter().map(|name| find(name.as_ref())).collect()
    }

    /// The same with a few connections only: it shows that everything runs.
    #[must_use]
    pub fn small(self) -> Self {
        let source = match self.source {
            Source::Many(sources) => Source::Many(sources.min(50)),
            source => source,
        };
        Self { held: self.held.min(50), least: self.least.min(50), source, ..self }
    }

    /// How long it takes to open all that has to be opened, if that is longer than `time`.
    pub(super) fn at_least(&self, time: Duration) -> Duration {
        let first = Duration::from_secs(self.held as u64) / self.opening;
        let rest = Duration::from_secs(self.least - self.held as u64) / self.again;
        // A tenth more, for those that the target is slow to take.
        time.max((first + rest) * 11 / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_bounded_load() {
        for attack in all(1000) {
            let [found] = &Attack::named(&[&attack.name], 1000).expect("it is listed")[..] else {
                panic!("{} is no single attack", attack.name)
            };
            assert_eq!(found.name, attack.name);
            assert!(attack.held <= 10_000 && attack.opening.max(attack.again) <= 1000);
            assert!(attack.at_least(Duration::ZERO) < Duration::from_secs(70));
        }
        let error = Attack::named(&["flood"], 1000).expect_err("not listed").to_string();
        assert!(error.contains("silent-300"), "{error}");
    }

    #[test]
    fn all_sources_are_loopback_and_distinct() {
        let many = Source::Many(60_000);
        let addresses: std::collections::BTreeSet<_> =
            (0..60_000).map(|n| many.address(n)).collect();
        assert_eq!(addresses.len(), 60_000);
        assert!(addresses.iter().all(Ipv4Addr::is_loopback));
        assert_eq!(many.address(60_000), many.address(0));
        assert_eq!(Source::Replica.address(7), PLAIN_AT);
    }
}
