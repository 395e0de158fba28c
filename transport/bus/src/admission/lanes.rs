//! Who waits for a handshake, and who has to go when there is no room. No IO and no clock.

use std::collections::{BTreeMap, BTreeSet};

/// Three kinds of newcomers that never compete with each other for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Its Hello has shown by a fresh tag that it comes from a member.
    Member,
    /// It comes from the address of a replica in the roster.
    Roster,
    /// Everyone else.
    Other,
}

impl Lane {
    /// Every lane, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Member, Self::Roster, Self::Other];

    /// The word that logs and metrics carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Roster => "roster",
            Self::Other => "other",
        }
    }
}

/// What is found out about a newcomer that has not been heard yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No whole frame has come.
    Silent,
    /// A whole frame has come.
    Heard,
    /// A whole frame has come, with a fresh tag.
    Member,
}

/// The world of the newcomers, as [`Lanes`] needs it.
pub(crate) trait World<T> {
    /// Whether a newcomer has been here for long enough to say something.
    fn had_its_chance(&self, entry: &T) -> bool;

    /// Looks at what has arrived from a newcomer.
    fn look(&mut self, number: u64, entry: &mut T) -> Look;

    /// Sends a newcomer away.
    fn evict(&mut self, lane: Lane, entry: T);
}

/// How many newcomers are looked at for the sake of one other. Each look that finds a frame does
/// work that was due anyway, and each that does not ends the search.
const LOOKS: usize = 8;

/// The newcomers of a lane fall into four classes: hasty or not, heard or not, each in the order of
/// their coming. The hasty ones come from sources that have used up their tokens.
const CLASSES: usize = 4;

fn class(hasty: bool, heard: bool) -> usize {
    2 * usize::from(hasty) + usize::from(heard)
}

/// The newcomers that wait on one shard, numbered in the order of their coming.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    capacity: [usize; Lane::ALL.len()],
    entries: BTreeMap<u64, Entry<T>>,
    queues: [[BTreeSet<u64>; CLASSES]; Lane::ALL.len()],
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    lane: Lane,
    hasty: bool,
    heard: bool,
    content: T,
}

impl<T> Lanes<T> {
    /// Room for `capacity` newcomers, at least four: a quarter for members, a quarter for addresses
    /// of the roster, and what is left for everyone else.
    pub(crate) fn new(capacity: usize) -> Self {
        let (entries, queues) = (BTreeMap::new(), Default::default());
        let mut lanes = Self { capacity: [0; Lane::ALL.len()], entries, queues, next: 0 };
        lanes.set_capacity(capacity);
        lanes
    }

    /// Takes on another capacity. Those who wait already stay.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        let quarter = (capacity / 4).max(1);
        self.capacity = [quarter, quarter, capacity.saturating_sub(2 * quarter).max(1)];
        debug_assert!(self.capacity.iter().sum::<usize>() <= capacity.max(4));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lets a newcomer in and returns its number. When its lane is full, another goes first.
    pub(crate) fn enter(
        &mut self,
        lane: Lane,
        hasty: bool,
        content: T,
        world: &mut impl World<T>,
    ) -> u64 {
        debug_assert_ne!(lane, Lane::Member, "nobody is known for a member before its first frame");
        if self.is_full(lane) {
            self.make_room(lane, world);
        }
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, Entry { lane, hasty, heard: false, content });
        self.queues[lane as usize][class(hasty, false)].insert(number);
        number
    }

    /// Has one newcomer go for want of something that all lanes share: never a member, and nobody
    /// from an address of the roster while there is anybody else. False when there is nobody to go.
    pub(crate) fn shed(&mut self, world: &mut impl World<T>) -> bool {
        let before = self.len();
        for lane in [Lane::Other, Lane::Roster] {
            // A look may find a member, who leaves the lane instead of the table.
            while self.len() == before && self.count(lane) > 0 {
                self.make_room(lane, world);
            }
        }
        self.len() < before
    }

    /// What waits under `number`, unless it has been heard.
    pub(crate) fn silent(&mut self, number: u64) -> Option<&mut T> {
        self.entries.get_mut(&number).filter(|entry| !entry.heard).map(|entry| &mut entry.content)
    }

    /// The newcomer that has been silent for the longest time.
    pub(crate) fn oldest_silent(&self) -> Option<(u64, &T)> {
        let silent = |classes: &[BTreeSet<u64>; CLASSES]| {
            let first = |hasty| classes[class(hasty, false)].first().copied();
            [first(true), first(false)].into_iter().flatten().min()
        };
        let number = self.queues.iter().filter_map(silent).min()?;
        self.entries.get(&number).map(|entry| (number, &entry.content))
    }

    /// Notes what a look at a silent newcomer has found. A member moves to its own lane, where the
    /// oldest goes for it if that is full.
    pub(crate) fn note(&mut self, number: u64, look: Look, world: &mut impl World<T>) {
        if look == Look::Silent || self.silent(number).is_none() {
            return;
        }
        if look == Look::Member && self.is_full(Lane::Member) {
            self.make_room(Lane::Member, world);
        }
        let Some(entry) = self.entries.get_mut(&number) else { return };
        self.queues[entry.lane as usize][class(entry.hasty, entry.heard)].remove(&number);
        entry.heard = true;
        if look == Look::Member {
            // Who has proven itself answers for nobody else at its source.
            (entry.lane, entry.hasty) = (Lane::Member, false);
        }
        self.queues[entry.lane as usize][class(entry.hasty, true)].insert(number);
    }

    /// Takes a newcomer out, unless it has gone already.
    pub(crate) fn remove(&mut self, number: u64) -> Option<(Lane, T)> {
        let Entry { lane, hasty, heard, content } = self.entries.remove(&number)?;
        self.queues[lane as usize][class(hasty, heard)].remove(&number);
        Some((lane, content))
    }

    /// Takes everyone out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.queues = Default::default();
        std::mem::take(&mut self.entries).into_values().map(|entry| entry.content)
    }

    fn count(&self, lane: Lane) -> usize {
        self.queues[lane as usize].iter().map(BTreeSet::len).sum()
    }

    fn is_full(&self, lane: Lane) -> bool {
        self.count(lane) >= self.capacity[lane as usize]
    }

    /// Has the first in order go, unless a look finds that it may not: who has been heard is no longer
    /// silent, and a member leaves the lane.
    fn make_room(&mut self, lane: Lane, world: &mut impl World<T>) {
        for _ in 0..LOOKS {
            let Some(number) = self.first(lane, world) else { return };
            let look = match self.silent(number) {
                Some(content) => world.look(number, content),
                None => Look::Silent,
            };
            if look == Look::Silent {
                return self.evict(number, world);
            }
            self.note(number, look, world);
            if look == Look::Member {
                return;
            }
        }
        // So many have turned out to have spoken that one of them can go without another look.
        let heard = [true, false].map(|hasty| self.oldest(lane, class(hasty, true)));
        if let Some(number) = heard.into_iter().flatten().next() {
            self.evict(number, world);
        }
    }

    /// Who has to go first: the hasty before all others, and the silent before those who have been
    /// heard. But silence counts only after a chance to speak. Before, the older goes, or whoever fills
    /// a lane with Hellos and nothing behind them would leave newcomers no time to say theirs.
    fn first(&self, lane: Lane, world: &impl World<T>) -> Option<u64> {
        let of = |hasty| {
            let silent = self.oldest(lane, class(hasty, false));
            let heard = self.oldest(lane, class(hasty, true));
            let (Some(silent), Some(heard)) = (silent, heard) else { return silent.or(heard) };
            let entry = self.entries.get(&silent)?;
            Some(if world.had_its_chance(&entry.content) { silent } else { silent.min(heard) })
        };
        of(true).or_else(|| of(false))
    }

    fn oldest(&self, lane: Lane, class: usize) -> Option<u64> {
        self.queues[lane as usize][class].first().copied()
    }

    fn evict(&mut self, number: u64, world: &mut impl World<T>) {
        if let Some((lane, content)) = self.remove(number) {
            world.evict(lane, content);
        }
    }
}
