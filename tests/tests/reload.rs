//! Secrets, enforcement, roster and limits change while the cluster runs.

use std::time::{Duration, Instant};

use ringseal::{Enforcement, Limits, ReplicaId, RetiredLinks};
use ringseal_tests::cluster::wait_until;
use ringseal_tests::fleet::{Orders, Ship};

const ALL: [u8; 5] = [0, 1, 2, 3, 4];
const OLD: u8 = 1;
const NEW: u8 = 2;

fn launch(orders: &Orders) -> Vec<Ship> {
    let ships: Vec<_> = orders.roster.keys().map(|id| Ship::launch(*id, orders)).collect();
    ships
}

fn settle(ships: &[Ship], authenticated: bool) {
    ships.iter().for_each(|ship| ship.wait_for(&ALL, authenticated));
}

/// Ends the fleet and checks that every accepted frame has arrived.
fn expect_no_loss(mut ships: Vec<Ship>) {
    ships.iter_mut().for_each(Ship::fall_silent);
    for (from, sender) in ships.iter().enumerate() {
        for (to, receiver) in ships.iter().enumerate().filter(|(to, _)| *to != from) {
            let (accepted, _) = sender.traffic(to as u8);
            wait_until(&format!("all that {from} has sent {to} arrives"), || {
                receiver.traffic(from as u8).1 == accepted
            });
        }
    }
    ships.iter().for_each(|ship| assert_eq!(ship.harm(), (0, 0), "lost, disordered"));
    ships.into_iter().for_each(Ship::sink);
}

#[test]
fn three_reloads_change_the_secret_with_no_refused_handshake_and_no_lost_frame() {
    let mut orders = Orders::new(5);
    orders.keys = (OLD, None);
    let ships = launch(&orders);
    settle(&ships, true);
    let first: Vec<_> = ships.iter().map(Ship::links).collect();
    for keys in [(OLD, Some(NEW)), (NEW, Some(OLD))] {
        orders.keys = keys;
        for ship in &ships {
            ship.reload(&orders);
            settle(&ships, true);
        }
    }
    let links: Vec<_> = ships.iter().map(Ship::links).collect();
    assert_eq!(links, first, "as long as both secrets are held, every link stays");
    orders.keys = (NEW, None);
    ships.iter().for_each(|ship| ship.reload(&orders));
    for (ship, first) in ships.iter().zip(&first) {
        wait_until("every link is made anew with the new secret", || {
            let links = ship.links();
            links.len() == 4 && links.iter().all(|(peer, number)| first[peer] != *number)
        });
    }
    settle(&ships, true);
    ships.iter().for_each(|ship| assert_eq!(ship.refusals(), 0));
    expect_no_loss(ships);
}

#[test]
fn links_of_a_retired_secret_are_kept_if_so_ordered() {
    let mut orders = Orders::new(5);
    orders.retired = RetiredLinks::Keep;
    let ships = launch(&orders);
    settle(&ships, true);
    let before: Vec<_> = ships.iter().map(Ship::links).collect();
    orders.keys = (NEW, None);
    ships.iter().for_each(|ship| ship.reload(&orders));
    settle(&ships, true);
    assert_eq!(ships.iter().map(Ship::links).collect::<Vec<_>>(), before);
    expect_no_loss(ships);
}

#[test]
fn a_cluster_moves_from_off_over_soft_to_enforce_and_back() {
    let mut orders = Orders::new(5);
    orders.enforcement = None;
    let ships = launch(&orders);
    settle(&ships, false);
    for (enforcement, authenticated) in [
        (Some(Enforcement::Soft), true),
        (Some(Enforcement::Enforce), true),
        (Some(Enforcement::Soft), true),
    ] {
        orders.enforcement = enforcement;
        ships.iter().for_each(|ship| ship.reload(&orders));
        settle(&ships, authenticated);
    }
    for ship in &ships {
        assert!(ship.bus.metrics().safe_to_enforce);
        assert_eq!(ship.refusals(), 0);
        assert_eq!(ship.harm(), (0, 0), "lost, disordered");
    }
    orders.enforcement = None;
    ships.iter().for_each(|ship| ship.reload(&orders));
    for ship in &ships {
        ship.wait_for(&ALL, true);
    }
    expect_no_loss(ships);
}

#[test]
fn a_replica_that_leaves_the_roster_loses_its_link_and_one_that_comes_is_linked() {
    let full = Orders::new(5);
    let ships = launch(&full);
    settle(&ships, true);
    let mut without = full.clone();
    without.roster.remove(&3);
    let began = Instant::now();
    for ship in ships.iter().filter(|ship| ship.bus.replica() != ReplicaId::new(3)) {
        ship.reload(&without);
    }
    for ship in ships.iter().filter(|ship| ship.bus.replica() != ReplicaId::new(3)) {
        ship.wait_for(&[0, 1, 2, 4], true);
    }
    assert!(ships[3].links().is_empty() || began.elapsed() < Duration::from_secs(1));
    wait_until("replica 3 is alone", || ships[3].links().is_empty());
    for ship in ships.iter().filter(|ship| ship.bus.replica() != ReplicaId::new(3)) {
        ship.reload(&full);
    }
    settle(&ships, true);
    ships.into_iter().for_each(Ship::sink);
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name_and_changes_nothing() {
    let orders = Orders::new(2);
    let ships = launch(&orders);
    ships.iter().for_each(|ship| ship.wait_for(&[0, 1], true));
    let links = ships[0].links();
    let mut elsewhere = orders.clone();
    elsewhere.roster.insert(0, ([127, 0, 0, 1], 1).into());
    elsewhere.roster.remove(&1);
    elsewhere.roster.insert(9, ([127, 0, 0, 1], 2).into());
    let error = ships[0].bus.reload(elsewhere.config(0)).expect_err("another address");
    assert_eq!(error.key, "cluster.listen");
    let error = ships[0].bus.reload(orders.config(1)).expect_err("another id");
    assert_eq!(error.key, "cluster.replica");
    let shards = orders.config(0).with_shards(7).expect("a number of shards");
    assert_eq!(ships[0].bus.reload(shards).expect_err("other shards").key, "bus.shards");
    assert_eq!(ships[0].links(), links);
    assert_eq!(ships[0].bus.peers().len(), 1);
    ships.into_iter().for_each(Ship::sink);
}

#[test]
fn limits_change_at_once() {
    let orders = Orders::new(2);
    let mut ships = launch(&orders);
    ships.iter().for_each(|ship| ship.wait_for(&[0, 1], true));
    ships.iter_mut().for_each(Ship::fall_silent);
    let limits = Limits { max_message_size: 1000, ..Limits::default() };
    let config = orders.config(0).with_limits(limits).expect("in range");
    ships[0].bus.reload(config).expect("limits can change");
    let frame = ringseal_tests::frames::patterned(1, 2000);
    let error = ships[0].bus.send(ReplicaId::new(1), frame).expect_err("too large now");
    assert_eq!(error.kind, ringseal::SendErrorKind::TooLarge);
    ships.into_iter().for_each(Ship::sink);
}
