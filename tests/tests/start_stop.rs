//! Starting and stopping a hundred times leaves as much behind as once. Alone in its binary, because
//! it counts the process's descriptors and threads.

use std::fs;

use ringseal_tests::cluster::{Net, Node, wait_until};
use ringseal_tests::frames;
use ringseal_tests::script::Listen;

fn count(what: &str) -> usize {
    fs::read_dir(format!("/proc/self/{what}")).expect("procfs is there").count()
}

fn cycle(net: &Net) {
    let nodes = net.start_all(|| Listen);
    nodes[0].send(1.into(), frames::numbered(0, 0, 300)).expect("the link is up");
    nodes[1].journal.wait_count(0, 1);
    nodes.into_iter().for_each(Node::shutdown);
}

#[test]
fn a_hundred_cycles_leave_what_the_first_left() {
    let net = Net::new(&[0, 1]).with_shards(2);
    cycle(&net);
    let (descriptors, threads) = (count("fd"), count("task"));
    for _ in 0..99 {
        cycle(&net);
    }
    // A ring closes what it still polls a little later.
    wait_until("no descriptor is left over", || count("fd") <= descriptors);
    wait_until("no thread is left over", || count("task") <= threads);
}
