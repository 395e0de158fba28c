//! Every refusal of a send has its own word and gives the very frame back.

use std::thread;

use bytes::Bytes;
use ringseal::{Command, Frame, Header, Mesh, SendErrorKind};
use ringseal_tests::cluster::{DRAIN, Net, Node, peer_status, wait_until};
use ringseal_tests::raw;
use ringseal_tests::script::Listen;

fn frame(body: usize) -> Frame {
    let body = Bytes::from(vec![7; body]);
    Frame::new(Header::new(Command::PREPARE), body).expect("small")
}

/// Expects that `frame` is refused and comes back: not a copy, the same memory.
fn expect_refusal(mesh: &Mesh, peer: u8, frame: Frame, kind: SendErrorKind) {
    let slices = frame.slices().map(<[u8]>::as_ptr_range);
    let error = mesh.send(peer.into(), frame).expect_err("a refusal");
    assert_eq!(error.kind, kind);
    assert_eq!(error.frame.slices().map(<[u8]>::as_ptr_range), slices);
    assert_eq!(error.to_string(), kind.to_string());
}

#[test]
fn nobody_is_there() {
    let zero = Net::new(&[0, 1]).start(0, || Listen);
    expect_refusal(&zero, 1, frame(44), SendErrorKind::NotConnected);
    zero.shutdown();
}

#[test]
fn the_peer_is_unknown_or_is_us() {
    let zero = Net::new(&[0, 1]).start(0, || Listen);
    for peer in [0, 2, 255] {
        expect_refusal(&zero, peer, frame(44), SendErrorKind::UnknownPeer);
    }
    zero.shutdown();
}

#[test]
fn the_frame_is_too_large() {
    let net = Net::new(&[0, 1]).with_limits(|limits| limits.max_message_size = 1000);
    let nodes = net.start_all(|| Listen);
    expect_refusal(&nodes[0], 1, frame(745), SendErrorKind::TooLarge);
    nodes[0].send(1.into(), frame(744)).expect("exactly as large as allowed");
    nodes[1].journal.wait_count(0, 1);
    nodes.into_iter().for_each(Node::shutdown);
}

#[test]
fn the_command_belongs_to_the_handshake() {
    let nodes = Net::new(&[0, 1]).start_all(|| Listen);
    for command in 14..=16 {
        let frame = Frame::new(Header::new(Command::new(command)), "body".into()).expect("small");
        expect_refusal(&nodes[0], 1, frame, SendErrorKind::ReservedCommand);
    }
    nodes.into_iter().for_each(Node::shutdown);
}

/// Fills the outbox to replica 0, which does not read, with frames of `size` bytes: never do more than
/// `room` of them wait, and in the end so many do and not the smallest frame finds room.
fn expect_full(one: &Mesh, room: u32, size: usize) {
    let mut refusals = 0;
    wait_until("nothing moves any more", || {
        let written = peer_status(one, 0).frames_out;
        while one.send(0.into(), frame(size - 256)).is_ok() {}
        let waiting = peer_status(one, 0).outbox;
        assert!(waiting <= room, "{waiting} frames wait where there is room for {room}");
        refusals = if peer_status(one, 0).frames_out == written { refusals + 1 } else { 0 };
        // The kernel takes some frames first, as many as it likes and whenever it likes.
        refusals > 100 && waiting == room
    });
    expect_refusal(one, 0, frame(0), SendErrorKind::Backpressure);
}

#[test]
fn the_outbox_is_full_of_frames() {
    let net = Net::new(&[0, 1]).without_auth().with_limits(|limits| limits.outbox_frames = 10);
    let one = net.start(1, || Listen);
    let silent = raw::dial(net.address(1), 0);
    one.wait_for_link(0);
    expect_full(&one, 10, 100_000);
    assert!(one.metrics().backpressure >= 2);
    drop(silent);
    one.shutdown();
}

#[test]
fn the_outbox_is_full_of_bytes() {
    let net = Net::new(&[0, 1]).without_auth().with_limits(|limits| {
        limits.max_message_size = 1 << 20;
        limits.outbox_bytes = 1 << 20;
    });
    let one = net.start(1, || Listen);
    let silent = raw::dial(net.address(1), 0);
    one.wait_for_link(0);
    // 256 KiB each, header included: four fill the outbox to the byte.
    expect_full(&one, 4, 256 << 10);
    drop(silent);
    one.shutdown();
}

#[test]
fn the_bus_is_shutting_down() {
    let nodes = Net::new(&[0, 1]).start_all(|| Listen);
    nodes[0].stop(DRAIN);
    expect_refusal(&nodes[0], 1, frame(44), SendErrorKind::ShuttingDown);
    let mesh = nodes[0].bus.mesh().clone();
    nodes.into_iter().for_each(Node::shutdown);
    expect_refusal(&mesh, 1, frame(44), SendErrorKind::ShuttingDown);
    expect_refusal(&mesh, 0, frame(44), SendErrorKind::UnknownPeer);
}

#[test]
fn a_broadcast_names_those_it_did_not_reach() {
    let net = Net::new(&[0, 1, 2, 3]);
    let [zero, one, two] = [0, 1, 2].map(|id| net.start(id, || Listen));
    zero.wait_for_link(1);
    zero.wait_for_link(2);
    let sent = frame(300_000);
    let result = zero.broadcast(&sent);
    assert_eq!(result.accepted, 2);
    assert_eq!(result.refused, [(3.into(), SendErrorKind::NotConnected)]);
    for node in [&one, &two] {
        assert!(node.journal.frames_from(0, 1)[0] == sent);
    }
    [zero, one, two].into_iter().for_each(Node::shutdown);
}

#[test]
fn a_broadcast_shares_one_body() {
    let net = Net::new(&[0, 1, 2]).without_auth();
    let two = net.start(2, || Listen);
    let mut slow = [0, 1].map(|id| raw::dial(net.address(2), id));
    two.wait_for_link(0);
    two.wait_for_link(1);
    // More than the kernel takes while nobody reads: the last one waits in both outboxes.
    let sent = frame(8 << 20);
    for _ in 0..4 {
        assert_eq!(two.broadcast(&sent).accepted, 2);
    }
    let body = sent.into_body();
    assert!(!body.is_unique(), "what waits is our body, not a copy");
    thread::scope(|scope| {
        for peer in &mut slow {
            scope.spawn(|| (0..4).for_each(|_| assert!(raw::read_frame(peer).is_some())));
        }
    });
    two.wait_for_empty_outbox(0);
    two.wait_for_empty_outbox(1);
    assert!(body.is_unique(), "nothing holds the body any more");
    two.shutdown();
}
