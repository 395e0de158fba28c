//! The ways to embed a bus, and what an embedder's own code may do to it.

use std::thread;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use ringseal::{Flow, FrameView, Handler, Link, Mesh, Shard, ShutdownError};
use ringseal_tests::cluster::{DRAIN, Net, Node, peer_status, wait_until};
use ringseal_tests::frames::{self, number_of};
use ringseal_tests::script::{Echo, Listen};

/// Sends every frame back.
struct Mirror;

impl Handler for Mirror {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        link.forward(link.peer(), frame).expect("the echo has room");
        Flow::Continue
    }
}

/// Runs a shard on an executor that also does other work. Its preempt timer is glommio's long one: with
/// a short one it may, on a busy machine, go to sleep over its very first task, before the shard can do
/// anything about that.
fn host(shard: Shard) {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .ring_depth(128)
        .make()
        .expect("io_uring is available");
    executor.run(async {
        let other_work = glommio::spawn_local(async { 42 });
        shard.run(Mirror).await;
        assert_eq!(other_work.await, 42);
    });
}

fn expect_echoes(node: &Node, peer: u8) {
    node.wait_for_link(peer);
    for number in 0..100 {
        node.send(peer.into(), frames::numbered(0, number, 700)).expect("there is room");
    }
    let received = node.journal.frames_from(peer, 100);
    let numbers: Vec<_> = received.iter().map(|frame| number_of(frame.header()).1).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_bus_with_threads_of_its_own_talks_to_one_in_hosted_executors() {
    let net = Net::new(&[0, 1, 2]).with_shards(2);
    let (mesh, shards) = Mesh::new(net.config(1)).expect("the port is free");
    assert_eq!(shards.iter().map(Shard::index).collect::<Vec<_>>(), [0, 1]);
    let threads: Vec<_> = shards.into_iter().map(|shard| thread::spawn(|| host(shard))).collect();
    let owned = [0, 2].map(|id| net.start(id, || Listen));
    // One dials the hosted bus, the other is dialled by it.
    owned.iter().for_each(|node| expect_echoes(node, 1));
    assert_eq!(mesh.metrics().links_up, 2);
    mesh.stop(DRAIN);
    threads.into_iter().for_each(|thread| thread.join().expect("the executor ends"));
    owned.into_iter().for_each(Node::shutdown);
}

#[test]
fn shards_that_never_run_leave_nothing_behind() {
    let net = Net::new(&[0, 1]);
    for _ in 0..3 {
        let (mesh, shards) = Mesh::new(net.config(1)).expect("the port is free again");
        assert_eq!(mesh.local_addr(), net.address(1));
        drop(shards);
    }
}

#[test]
fn a_port_in_use_is_an_error() {
    for shards in [1, 2] {
        let net = Net::new(&[0, 1]).with_shards(shards);
        let one = net.start(1, || Listen);
        let error = Mesh::new(net.config(1)).expect_err("the port is taken");
        assert!(error.to_string().contains(&net.address(1).to_string()), "{error}");
        one.shutdown();
        drop(Mesh::new(net.config(1)).expect("the port is free again"));
    }
}

/// A handler's panic is told by `shutdown`; the peers see their links end.
#[test]
fn a_panic_of_a_handler_is_told() {
    let net = Net::new(&[0, 1]);
    let one = net.start(1, || {
        |_: &mut Link<'_>, _: FrameView<'_>| -> Flow {
            panic!("a handler's panic, as the test wants it")
        }
    });
    let zero = net.start(0, || Listen);
    let link = zero.wait_for_link(1);
    zero.send(1.into(), frames::numbered(0, 0, 300)).expect("the link is up");
    let _ = zero.journal.wait_down(1, link.incarnation);
    assert_eq!(one.bus.shutdown(DRAIN), Err(ShutdownError::Panicked { shard: 0 }));
    zero.shutdown();
}

/// With K shards and N links, counts differ by at most one.
#[test]
fn links_are_spread_over_the_shards() {
    for (shards, links) in [(2, 5), (3, 7), (4, 4)] {
        let ids: Vec<u8> = (0..=links).map(|id| id * 3).collect();
        let net = Net::new(&ids);
        // The one in the middle dials some and is dialled by others.
        let middle = ids[ids.len() / 2];
        let hub = net.clone().with_shards(shards).start(middle, Echo::default);
        let spokes: Vec<_> = ids.iter().filter(|id| **id != middle).collect();
        let spokes: Vec<_> = spokes.into_iter().map(|id| net.start(*id, || Listen)).collect();
        let mut counts = vec![0; shards];
        for spoke in &spokes {
            counts[hub.wait_for_link(spoke.replica().get()).shard] += 1;
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.expect("shards") - least.expect("shards") <= 1, "{counts:?}");
        spokes.iter().for_each(|spoke| expect_echoes(spoke, middle));
        hub.shutdown();
        spokes.into_iter().for_each(Node::shutdown);
    }
}

/// A handle outlives its bus and says so.
#[test]
fn a_handle_outlives_its_bus() {
    let nodes = Net::new(&[0, 1]).with_shards(2).start_all(|| Listen);
    let meshes: Vec<Mesh> = nodes.iter().map(|node| node.bus.mesh().clone()).collect();
    nodes.into_iter().for_each(Node::shutdown);
    for mesh in &meshes {
        let metrics = mesh.metrics();
        assert_eq!((metrics.links_up, metrics.shards_listening), (0, 0));
        assert!(mesh.peers().iter().all(|peer| peer.link.is_none() && peer.outbox == 0));
        mesh.stop(Duration::ZERO);
        mesh.resume(0.into());
    }
}

#[test]
fn many_handles_on_many_threads() {
    let nodes = Net::new(&[0, 1]).with_shards(2).quiet().start_all(|| Listen);
    let mesh = nodes[0].bus.mesh().clone();
    let threads = (0..16).map(|_| {
        let mesh = mesh.clone();
        thread::spawn(move || {
            for number in 0..20 {
                mesh.send(1.into(), frames::numbered(0, number, 300)).expect("there is room");
                assert!(peer_status(&mesh, 1).link.is_some());
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("no panic"));
    nodes[1].journal.wait_count(0, 320);
    wait_until("credit returns", || peer_status(&mesh, 1).outbox == 0);
    nodes.into_iter().for_each(Node::shutdown);
}
