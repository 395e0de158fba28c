//! Every frame arrives whole, whoever sends it to whom, however large it is.

use std::io::{Read, Write};
use std::thread;

use ringseal::{Command, Frame, Header, SendErrorKind};
use ringseal_tests::cluster::{Net, Node, wait_until};
use ringseal_tests::frames::{self, HEADER};
use ringseal_tests::raw;
use ringseal_tests::script::{Echo, Listen};

/// The largest frame of these tests: above every buffer, small enough for a debug build.
const MAX: u32 = 3 << 20;

/// A frame of every size class: nothing but a header, around the packing limit, around the receive
/// buffer's size, above it, and the largest allowed.
const SIZES: [usize; 18] = [
    256,
    257,
    300,
    2048,
    (2 << 10) + HEADER,
    (2 << 10) + HEADER + 1,
    4096,
    65_535,
    65_536,
    65_537,
    65_536 + HEADER - 1,
    65_536 + HEADER,
    65_536 + HEADER + 1,
    90_000,
    256,
    1 << 20,
    MAX as usize,
    256,
];

fn net(ids: &[u8], shards: usize) -> Net {
    let limits = |limits: &mut ringseal::Limits| limits.max_message_size = MAX;
    Net::new(ids).with_shards(shards).with_limits(limits)
}

/// A number that tells frames of different pairs apart.
fn number(from: u8, to: u8, at: usize) -> u64 {
    u64::from(from) << 32 | u64::from(to) << 16 | at as u64
}

fn send_every_size(from: &Node, to: u8) {
    for (at, size) in SIZES.into_iter().enumerate() {
        let frame = frames::patterned(number(from.replica().get(), to, at), size);
        from.send(to.into(), frame).expect("there is room");
    }
}

fn expect_every_size(from: u8, to: &Node) {
    let received = to.journal.frames_from(from, SIZES.len() as u64);
    assert_eq!(received.len(), SIZES.len());
    for (at, (frame, size)) in received.iter().zip(SIZES).enumerate() {
        let sent = frames::patterned(number(from, to.replica().get(), at), size);
        assert!(*frame == sent, "frame {at} of {size} bytes: sent {sent:?}, received {frame:?}");
    }
}

fn everyone_sends_to_everyone(ids: &[u8], shards: usize) {
    let nodes = net(ids, shards).start_all(|| Listen);
    thread::scope(|scope| {
        for node in &nodes {
            scope.spawn(|| {
                let others = ids.iter().filter(|id| **id != node.replica().get());
                others.for_each(|to| send_every_size(node, *to));
            });
        }
    });
    for to in &nodes {
        let others = ids.iter().filter(|id| **id != to.replica().get());
        others.for_each(|from| expect_every_size(*from, to));
    }
    for node in &nodes {
        let others = ids.iter().filter(|id| **id != node.replica().get());
        others.for_each(|peer| node.wait_for_empty_outbox(*peer));
    }
    nodes.into_iter().for_each(Node::shutdown);
}

#[test]
fn three_replicas_on_one_shard_each() {
    everyone_sends_to_everyone(&[0, 1, 2], 1);
}

#[test]
fn three_replicas_on_three_shards_each() {
    everyone_sends_to_everyone(&[3, 90, 255], 3);
}

#[test]
fn five_replicas_on_two_shards_each() {
    everyone_sends_to_everyone(&[0, 7, 8, 100, 254], 2);
}

#[test]
fn every_command_but_the_handshakes_is_carried() {
    let net = net(&[0, 1], 1);
    let nodes = net.start_all(|| Listen);
    let commands = || (0..=u8::MAX).map(Command::new);
    for command in commands() {
        let frame = Frame::new(Header::new(command), "body".into()).expect("small");
        match nodes[0].send(1.into(), frame) {
            Ok(()) => assert!(!command.is_handshake()),
            Err(error) => {
                assert_eq!(error.kind, SendErrorKind::ReservedCommand);
                assert!(command.is_handshake());
            }
        }
    }
    let received = nodes[1].journal.frames_from(0, 253);
    let sent: Vec<_> = commands().filter(|command| !command.is_handshake()).collect();
    assert_eq!(received.iter().map(Frame::command).collect::<Vec<_>>(), sent);
}

#[test]
fn counters_agree_with_what_was_sent() {
    let nodes = net(&[0, 1], 1).start_all(|| Listen);
    send_every_size(&nodes[0], 1);
    expect_every_size(0, &nodes[1]);
    nodes[0].wait_for_empty_outbox(1);
    let bytes: usize = SIZES.iter().sum();
    let (sender, receiver) = (nodes[0].metrics(), nodes[1].journal.count_from(0));
    assert_eq!(receiver, SIZES.len() as u64);
    assert_eq!(sender.frames_out, SIZES.len() as u64);
    assert_eq!(sender.bytes_out, bytes as u64);
    let mesh = nodes[1].bus.mesh().clone();
    // A shutdown returns when the shard is done counting.
    nodes.into_iter().rev().for_each(Node::shutdown);
    let receiver = mesh.metrics();
    assert_eq!(receiver.frames_in, SIZES.len() as u64);
    assert_eq!(receiver.bytes_in, bytes as u64);
    assert_eq!(mesh.peers()[0].bytes_in, bytes as u64);
}

/// The peer has the first answers to work on while we are at the next.
#[test]
fn the_answers_to_a_long_batch_leave_in_parts() {
    const BATCHES: u64 = 10;
    let net = Net::new(&[0, 1]).without_auth().quiet();
    let one = net.start(1, Echo::default);
    let mut peer = raw::dial(net.address(1), 0);
    let batch = frames::numbered(0, 7, HEADER).to_bytes().repeat(256);
    let mut echo = vec![0; batch.len()];
    for _ in 0..BATCHES {
        peer.write_all(&batch).expect("the bus reads");
        peer.read_exact(&mut echo).expect("the bus answers");
        assert!(echo == batch);
    }
    // Counted a moment after the peer has them.
    wait_until("every batch took two writes", || one.metrics().writes >= 2 * BATCHES);
    one.shutdown();
}
