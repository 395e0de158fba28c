//! The lanes under a world that the test makes up.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::lanes::{Lane, Lanes, Look, World};

/// What each newcomer would be found to be, and what became of those who went.
#[derive(Debug, Default)]
struct Script {
    /// By number; whoever is not in it is silent.
    said: BTreeMap<u64, Look>,
    /// Who came too lately to have said something.
    late: BTreeSet<u64>,
    looks: Vec<u64>,
    evicted: Vec<(Lane, u64)>,
}

/// The content of every entry is the number that it will get.
impl World<u64> for Script {
    fn had_its_chance(&self, entry: &u64) -> bool {
        !self.late.contains(entry)
    }

    fn look(&mut self, number: u64, entry: &mut u64) -> Look {
        assert_eq!(number, *entry);
        self.looks.push(number);
        self.said.get(&number).copied().unwrap_or(Look::Silent)
    }

    fn evict(&mut self, lane: Lane, entry: u64) {
        self.evicted.push((lane, entry));
    }
}

/// A table of 16: 4 members, 4 from the roster, 8 others.
struct Table {
    lanes: Lanes<u64>,
    script: Script,
    next: u64,
}

impl Table {
    fn new() -> Self {
        Self { lanes: Lanes::new(16), script: Script::default(), next: 0 }
    }

    fn enter(&mut self, lane: Lane, hasty: bool) -> u64 {
        let number = self.lanes.enter(lane, hasty, self.next, &mut self.script);
        assert_eq!(number, self.next);
        self.next += 1;
        number
    }

    fn fill(&mut self, lane: Lane, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.enter(lane, false)).collect()
    }

    fn note(&mut self, number: u64, look: Look) {
        self.lanes.note(number, look, &mut self.script);
    }

    /// Those evicted since the last call.
    fn evicted(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.script.evicted).into_iter().map(|(_, number)| number).collect()
    }
}

#[test]
fn a_full_lane_loses_its_oldest_and_never_the_newest() {
    let mut table = Table::new();
    table.fill(Lane::Other, 8);
    assert!(table.evicted().is_empty());
    table.fill(Lane::Other, 3);
    assert_eq!(table.evicted(), [0, 1, 2]);
    assert_eq!(table.lanes.len(), 8);
}

#[test]
fn lanes_take_no_room_from_each_other() {
    let mut table = Table::new();
    let known = table.fill(Lane::Roster, 4);
    table.note(known[0], Look::Member);
    table.fill(Lane::Other, 1000);
    assert_eq!(table.script.evicted.len(), 992);
    assert!(table.script.evicted.iter().all(|(lane, _)| *lane == Lane::Other));
    for number in known {
        assert!(table.lanes.remove(number).is_some());
    }
}

#[test]
fn whoever_has_spoken_goes_after_all_who_are_silent() {
    let mut table = Table::new();
    table.fill(Lane::Other, 8);
    table.note(0, Look::Heard);
    table.script.said.insert(1, Look::Heard);
    table.fill(Lane::Other, 6);
    assert_eq!(table.evicted(), [2, 3, 4, 5, 6, 7]);
    table.script.said = (8..16).map(|number| (number, Look::Heard)).collect();
    table.fill(Lane::Other, 2);
    assert_eq!(table.evicted(), [0, 1], "all have spoken, so the oldest goes");
}

#[test]
fn a_lane_full_of_hellos_leaves_a_newcomer_the_time_to_say_its_own() {
    let mut table = Table::new();
    for number in table.fill(Lane::Other, 8) {
        table.note(number, Look::Heard);
    }
    table.script.late = (8..16).collect();
    table.fill(Lane::Other, 8);
    assert_eq!(table.evicted(), [0, 1, 2, 3, 4, 5, 6, 7]);
    for number in 9..16 {
        table.note(number, Look::Heard);
    }
    table.script.late.clear();
    table.fill(Lane::Other, 1);
    assert_eq!(table.evicted(), [8], "it has had its chance");
}

#[test]
fn so_many_hellos_that_nobody_has_read_cost_a_newcomer_a_bounded_search() {
    let mut table = Table { lanes: Lanes::new(400), ..Table::new() };
    table.script.said = (0..200).map(|number| (number, Look::Heard)).collect();
    table.fill(Lane::Other, 201);
    assert_eq!(table.script.looks.len(), 8);
    assert_eq!(table.evicted(), [0], "the oldest of those that were found to have spoken");
}

#[test]
fn a_members_hello_is_found_among_strangers_before_it_is_lost() {
    let mut table = Table::new();
    table.fill(Lane::Other, 8);
    table.script.said.insert(0, Look::Member);
    table.fill(Lane::Other, 1);
    assert!(table.evicted().is_empty(), "the member has left the lane, which made room");
    table.fill(Lane::Other, 100);
    assert!(!table.evicted().contains(&0));
    assert_eq!(table.lanes.remove(0), Some((Lane::Member, 0)));
}

#[test]
fn members_compete_with_members_alone() {
    let mut table = Table::new();
    let members = table.fill(Lane::Other, 8);
    for member in &members {
        table.note(*member, Look::Member);
    }
    assert_eq!(table.evicted(), [0, 1, 2, 3]);
    assert_eq!(table.lanes.remove(4), Some((Lane::Member, 4)));
}

#[test]
fn the_hasty_go_first_whatever_they_have_said() {
    let mut table = Table::new();
    table.fill(Lane::Other, 4);
    let hasty: Vec<_> = (0..4).map(|_| table.enter(Lane::Other, true)).collect();
    table.note(hasty[0], Look::Heard);
    table.fill(Lane::Other, 5);
    assert_eq!(table.evicted(), [hasty[1], hasty[2], hasty[3], hasty[0], 0]);
}

#[test]
fn nobody_is_refused_while_there_is_room() {
    let mut table = Table::new();
    for _ in 0..8 {
        table.enter(Lane::Other, true);
    }
    assert!(table.evicted().is_empty());
    assert!(table.script.looks.is_empty());
}

#[test]
fn shedding_spares_members_and_comes_to_the_rosters_addresses_last() {
    let mut table = Table::new();
    let roster = table.fill(Lane::Roster, 2);
    let others = table.fill(Lane::Other, 3);
    table.note(others[0], Look::Member);
    table.script.said.insert(others[1], Look::Heard);
    let mut shed = 0;
    while table.lanes.shed(&mut table.script) {
        shed += 1;
    }
    assert_eq!(shed, 4);
    assert_eq!(table.evicted(), [others[2], others[1], roster[0], roster[1]]);
    assert_eq!(table.lanes.len(), 1);
}

#[test]
fn the_longest_silence_is_found_in_any_lane_and_class() {
    let mut table = Table::new();
    let order = [(Lane::Other, true), (Lane::Roster, false), (Lane::Other, false)];
    for (lane, hasty) in order {
        table.enter(lane, hasty);
    }
    for number in 0..3 {
        assert_eq!(table.lanes.oldest_silent(), Some((number, &number)));
        table.note(number, Look::Heard);
        assert!(table.lanes.silent(number).is_none());
    }
    assert_eq!(table.lanes.oldest_silent(), None);
}

#[test]
fn a_smaller_table_keeps_those_who_wait() {
    let mut table = Table::new();
    table.fill(Lane::Other, 8);
    table.lanes.set_capacity(4);
    assert_eq!(table.lanes.len(), 8);
    table.fill(Lane::Other, 1);
    assert_eq!(table.evicted(), [0], "one goes for each that comes");
}

#[derive(Clone, Debug)]
enum Step {
    Enter { roster: bool, hasty: bool, says: u8 },
    Learn { nth: usize, look: u8 },
    Leave { nth: usize },
    Shed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), any::<bool>(), 0..6_u8)
            .prop_map(|(roster, hasty, says)| Step::Enter { roster, hasty, says }),
        2 => (0..64_usize, 0..3_u8).prop_map(|(nth, look)| Step::Learn { nth, look }),
        1 => (0..64_usize).prop_map(|nth| Step::Leave { nth }),
        1 => Just(Step::Shed),
    ]
}

fn look(number: u8) -> Look {
    [Look::Heard, Look::Member].get(usize::from(number)).copied().unwrap_or(Look::Silent)
}

/// Where each newcomer must be, kept the slow way.
#[derive(Debug, Default)]
struct Model {
    lane: BTreeMap<u64, Lane>,
}

impl Model {
    fn count(&self, lane: Lane) -> usize {
        self.lane.values().filter(|found| **found == lane).count()
    }

    fn nth(&self, nth: usize) -> Option<u64> {
        self.lane.keys().nth(nth % self.lane.len().max(1)).copied()
    }

    /// Takes over what looks and evictions have changed; `before` is how many looks there were.
    fn follow(&mut self, table: &mut Table, looked: usize) {
        for number in &table.script.looks[looked..] {
            if table.script.said.get(number) == Some(&Look::Member) {
                self.lane.insert(*number, Lane::Member);
            }
        }
        for (lane, number) in std::mem::take(&mut table.script.evicted) {
            assert_eq!(self.lane.remove(&number), Some(lane), "{number} goes from its own lane");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_bound_holds(
        capacity in 4..64_usize,
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let mut table = Table { lanes: Lanes::new(capacity), ..Table::new() };
        let quarter = capacity / 4;
        let mut model = Model::default();
        for step in steps {
            let looked = table.script.looks.len();
            match step {
                Step::Enter { roster, hasty, says } => {
                    let lane = if roster { Lane::Roster } else { Lane::Other };
                    table.script.said.insert(table.next, look(says));
                    let number = table.enter(lane, hasty);
                    model.lane.insert(number, lane);
                    prop_assert!(!table.script.evicted.contains(&(lane, number)), "never the newest");
                    prop_assert!(table.script.looks.len() - looked <= 8);
                }
                Step::Learn { nth, look: found } => {
                    let number = model.nth(nth).filter(|n| table.lanes.silent(*n).is_some());
                    if let Some(number) = number {
                        table.note(number, look(found));
                        if look(found) == Look::Member {
                            model.lane.insert(number, Lane::Member);
                        }
                    }
                }
                Step::Leave { nth } => if let Some(number) = model.nth(nth) {
                    let lane = model.lane.remove(&number);
                    prop_assert_eq!(table.lanes.remove(number), lane.map(|lane| (lane, number)));
                },
                Step::Shed => {
                    let sheddable = model.count(Lane::Roster) + model.count(Lane::Other);
                    let shed = table.lanes.shed(&mut table.script);
                    prop_assert!(!shed || sheddable > 0);
                }
            }
            model.follow(&mut table, looked);
            for lane in Lane::ALL {
                let room = if lane == Lane::Other { capacity - 2 * quarter } else { quarter };
                prop_assert!(model.count(lane) <= room, "{:?}", lane);
            }
            prop_assert_eq!(table.lanes.len(), model.lane.len());
        }
    }

    #[test]
    fn no_member_that_has_spoken_goes_from_among_strangers(
        says in proptest::collection::vec(0..6_u8, 1..300),
    ) {
        let mut table = Table::new();
        let mut members = BTreeSet::new();
        for says in says {
            let number = table.next;
            // Four members have a lane of their own; a fifth would compete with them.
            let found = if members.len() == 4 { Look::Heard } else { look(says) };
            if found == Look::Member {
                members.insert(number);
            }
            table.script.said.insert(number, found);
            let looked = table.script.looks.len();
            table.enter(Lane::Other, number.is_multiple_of(3));
            prop_assert!(table.script.looks.len() - looked <= 8);
        }
        prop_assert!(table.script.evicted.iter().all(|(_, number)| !members.contains(number)));
    }
}
