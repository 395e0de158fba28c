//! Rosters of every size and shape: ids need not be dense, and there may be 256 of them.

use std::io::Write;
use std::net::TcpListener;

use ringseal::Role;
use ringseal_tests::address;
use ringseal_tests::cluster::{Net, Node, peer_status, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::raw;
use ringseal_tests::script::{Echo, Listen};

/// Replica 255 of a full roster, linked with all 255 others at once.
#[test]
fn the_last_of_256_is_linked_with_all_others() {
    let ids: Vec<u8> = (0..=u8::MAX).collect();
    let net = Net::new(&ids).without_auth().with_shards(2);
    let last = net.start(255, Echo::default);
    let mut peers: Vec<_> = (0..255).map(|id| raw::dial(net.address(255), id)).collect();
    wait_until("all links are up", || last.metrics().links_up == 255);
    for (id, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&frames::numbered(id as u32, 1, 300).to_bytes()).expect("it reads");
    }
    for (id, peer) in peers.iter_mut().enumerate() {
        let echo = raw::read_frame(peer).expect("the echo comes");
        assert_eq!(number_of(echo.header()), (id as u32, 1));
    }
    assert_eq!(last.broadcast(&frames::numbered(255, 2, 400)).accepted, 255);
    for peer in &mut peers {
        assert_eq!(
            number_of(raw::read_frame(peer).expect("the broadcast comes").header()),
            (255, 2)
        );
    }
    let mut counts = [0; 2];
    for peer in last.peers() {
        let link = peer.link.expect("it is up");
        assert_eq!((link.role, link.authenticated), (Role::Acceptor, false));
        counts[link.shard] += 1;
    }
    assert!(counts == [127, 128] || counts == [128, 127], "{counts:?}");
    drop(peers);
    wait_until("all links are down", || last.metrics().links_up == 0);
    last.shutdown();
}

/// Replica 0 of a full roster dials everybody, all at once, and goes on while only some answer.
#[test]
fn the_first_of_256_dials_all_others() {
    let ids: Vec<u8> = (0..=u8::MAX).collect();
    // Every third replica listens.
    let listeners: Vec<(u8, TcpListener)> = (1..=u8::MAX)
        .step_by(3)
        .map(|id| (id, TcpListener::bind(address::unused()).expect("the address is ours")))
        .collect();
    let mut net = Net::new(&ids).without_auth().with_shards(2);
    for (id, listener) in &listeners {
        net = net.with_address(*id, listener.local_addr().expect("it is bound"));
    }
    let zero = net.start(0, || Listen);
    let mut peers: Vec<_> = listeners.iter().map(|(_, listener)| raw::accept(listener)).collect();
    wait_until("all who listen are linked", || zero.metrics().links_up == peers.len() as u64);
    for ((id, _), peer) in listeners.iter().zip(&mut peers) {
        assert_eq!(peer_status(&zero, *id).link.map(|link| link.role), Some(Role::Dialer));
        zero.send((*id).into(), frames::numbered(0, (*id).into(), 300)).expect("it is up");
        let frame = raw::read_frame(peer).expect("the frame comes");
        assert_eq!(number_of(frame.header()), (0, (*id).into()));
    }
    wait_until("the silent are dialled again", || zero.metrics().reconnects >= 170);
    drop(peers);
    zero.shutdown();
}

#[test]
fn a_cluster_of_one_is_a_cluster() {
    let alone = Net::new(&[42]).start(42, || Listen);
    assert!(alone.peers().is_empty());
    assert_eq!(alone.broadcast(&frames::numbered(0, 0, 256)).accepted, 0);
    alone.shutdown();
}

#[test]
fn sparse_ids_link_like_any() {
    let nodes = Net::new(&[2, 100, 101, 255]).with_shards(2).start_all(|| Listen);
    for node in &nodes {
        for peer in node.peers() {
            let dials = node.replica() < peer.id;
            let role = peer.link.map(|link| link.role);
            assert_eq!(role, Some(if dials { Role::Dialer } else { Role::Acceptor }));
        }
    }
    nodes.into_iter().for_each(Node::shutdown);
}
