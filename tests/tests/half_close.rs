//! A peer that has said its last word still hears everything it is owed.

use std::io::{Read, Write};
use std::net::Shutdown;

use ringseal::Reason;
use ringseal_tests::cluster::{Net, peer_status, wait_until};
use ringseal_tests::frames;
use ringseal_tests::raw;
use ringseal_tests::script::Echo;

const FRAMES: u64 = 800;
const SIZE: usize = 20_000;

#[test]
fn an_echo_is_complete_although_its_reader_closes_first_and_reads_late() {
    let net = Net::new(&[0, 1]).without_auth().quiet();
    let node = net.start(1, Echo::default);
    let mut peer = raw::dial(net.address(1), 0);
    let sent: Vec<u8> =
        (0..FRAMES).flat_map(|number| frames::numbered(0, number, SIZE).to_bytes()).collect();
    peer.write_all(&sent).expect("the node reads");
    peer.shutdown(Shutdown::Write).expect("the socket is ours");
    wait_until("the node has read everything", || node.journal.count_from(0) == FRAMES);
    assert!(peer_status(&node, 0).outbox > 0, "the socket cannot hold it all");
    let mut echo = Vec::new();
    peer.read_to_end(&mut echo).expect("a clean end");
    assert!(echo == sent, "{} bytes of {}", echo.len(), sent.len());
    wait_until("the link is down", || !node.journal.downs(0).is_empty());
    let [(_, reason, lost)] = node.journal.downs(0)[..] else { panic!("one link") };
    assert_eq!((reason, lost), (Reason::Eof, 0));
    node.shutdown();
}
