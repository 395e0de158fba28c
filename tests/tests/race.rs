//! Many connections for one replica at the same moment.

use ringseal_tests::kernel;
use ringseal_tests::stranger::{Stranger, TRUE};
use ringseal_tests::target::{Setup, eventually};

const US: u8 = 3;
const RIVALS: usize = 200;

// The only test of its process, so that every descriptor is the bus's or its own.
#[test]
fn of_two_hundred_at_once_one_is_linked_and_none_leaks() {
    let setup = Setup::new(US).callers([1]).shards(3).graces(60_000, 60_000);
    let target = setup.start();
    drop(Stranger::join(target.address(), &TRUE, 1, US));
    target.up(1);
    target.down(1);
    let baseline = kernel::descriptors();

    for round in 0..3 {
        let mut rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                let mut rival = Stranger::connect(target.address());
                let finish = rival.prove(&TRUE, 1, US);
                (rival, finish)
            })
            .collect();
        for (rival, finish) in &mut rivals {
            rival.write(finish.as_bytes());
        }
        target.up(1);
        eventually("all but one are closed", || {
            rivals.iter().filter(|(rival, _)| rival.is_open_and_quiet()).count() == 1
        });
        assert_eq!(target.metrics().links_up, 1, "round {round}");
        let winner = rivals.iter_mut().find(|(rival, _)| rival.is_open_and_quiet());
        winner.expect("one is open").0.ping();
        assert!(target.rest().is_empty(), "round {round}: the first link has stayed");
        drop(rivals);
        target.down(1);
        target.wait("nobody is left", |m| m.links_up == 0 && m.preauth_connections == 0);
        eventually("every descriptor is closed", || kernel::descriptors() <= baseline);
    }
    target.shutdown();
}
