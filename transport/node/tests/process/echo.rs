//! The echo handler of a running node.

use std::thread;

use ringseal_tests::cluster::wait_until;
use ringseal_tests::frames::patterned;
use ringseal_tests::stranger::{Stranger, TRUE};

use crate::node::{Node, Plan};

const FRAMES: u64 = 3000;

/// Sizes from a bare header up to 32 KiB.
fn frame(number: u64) -> ringseal::Frame {
    patterned(number, 256 + usize::try_from(number * 7919 % 32_512).expect("small"))
}

#[test]
fn thousands_of_frames_sent_before_any_is_read_all_come_back_unchanged_and_in_order() {
    let plan = Plan::for_a_stranger().bus("outbox_frames = 4");
    let node = Node::start(plan);
    let stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    let mut writer = Stranger::new(stranger.stream().try_clone().expect("a descriptor"));
    let mut reader = stranger;
    thread::scope(|scope| {
        let writing = scope.spawn(move || {
            for number in 0..FRAMES {
                writer.send(&frame(number));
            }
        });
        // Nothing is read before everything between the two ends is full: then the node has paused.
        node.wait_for_metric("ringseal_paused_links", |paused| paused == 1);
        assert!(node.metric("ringseal_backpressure_total") > 0);
        assert!(!writing.is_finished(), "what was sent fits into the buffers: send more");
        for number in 0..FRAMES {
            let back = reader.read_frame().expect("the link is up");
            assert!(back == frame(number), "frame {number} came back as {back:?}");
        }
    });
    assert!(reader.is_open_and_quiet(), "each comes back once");
    assert_eq!(node.metric("ringseal_frames_total{direction=\"in\"}"), FRAMES);
    assert_eq!(node.metric("ringseal_frames_total{direction=\"out\"}"), FRAMES);
    wait_until("nothing waits any more", || node.peer(0)["outbox"] == 0);
    node.wait_for_metric("ringseal_paused_links", |paused| paused == 0);
    node.stop();
}

#[test]
fn a_burst_that_is_written_whole_before_any_of_it_is_read_comes_back_in_order() {
    const BURST: u64 = 2000;
    let node = Node::start(Plan::for_a_stranger());
    let mut stranger = Stranger::join(node.plan.address(), &TRUE, 0, 1);
    let frames = (0..BURST).map(|number| patterned(number, 256 + number as usize % 40));
    let frames: Vec<_> = frames.collect();
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.to_bytes()).collect();
    stranger.write(&bytes);
    // The outbox holds 1024 frames, and the rest fits into the sockets' buffers or waits there.
    node.wait_for_metric("ringseal_frames_total{direction=\"in\"}", |frames| frames >= 1024);
    for frame in &frames {
        assert!(stranger.read_frame().expect("the link is up") == *frame);
    }
    node.stop();
}
