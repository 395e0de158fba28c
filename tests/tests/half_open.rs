//! What happens to a peer that has a link and comes again.

use std::time::{Duration, Instant};

use ringseal::{Leniency, Reason};
use ringseal_tests::stranger::{End, Stranger, TRUE};
use ringseal_tests::target::{Setup, Target, eventually, soft};

const US: u8 = 3;

/// What "at once" may mean on a busy machine: less than the second after which an idle holder's
/// kernel is asked for a sign of life.
const AT_ONCE: Duration = Duration::from_millis(900);

fn target() -> Target {
    Setup::new(US).callers([1, 2]).shards(2).start()
}

fn soft_target() -> Target {
    Setup::new(US).callers([1, 2]).shards(2).auth(soft()).start()
}

fn join(target: &Target) -> Stranger {
    Stranger::join(target.address(), &TRUE, 1, US)
}

/// A peer 1 that does not authenticate.
fn join_plain(target: &Target) -> Stranger {
    let mut stranger = Stranger::connect(target.address());
    stranger.write(TRUE.plain_hello(1).as_bytes());
    stranger
}

#[test]
fn a_duplicate_of_a_living_link_is_refused_while_the_first_keeps_working() {
    let target = target();
    let mut first = join(&target);
    let (incarnation, _) = target.up(1);
    first.ping();
    let began = Instant::now();
    let mut second = join(&target);
    eventually("the second is hung up on", || {
        first.ping();
        !second.is_open_and_quiet()
    });
    assert_eq!(second.expect_end(), End::Eof);
    assert!(began.elapsed() < Duration::from_secs(4), "held for {:?}", began.elapsed());
    first.ping();
    let link = target.bus.peers()[0].link.expect("up");
    assert_eq!(link.incarnation, incarnation);
    assert!(target.rest().is_empty(), "the handler heard nothing of it");
    target.shutdown();
}

#[test]
fn an_idle_living_link_survives_too_and_others_than_the_held_one_are_closed_at_once() {
    let target = target();
    let mut first = join(&target);
    target.up(1);
    let mut newcomers: Vec<_> = (0..5).map(|_| join(&target)).collect();
    // One is held until the idle link's next probe is answered; nobody else waits with it.
    let began = Instant::now();
    eventually("all but one are closed", || {
        newcomers.iter().filter(|newcomer| newcomer.is_open_and_quiet()).count() <= 1
    });
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    for newcomer in &mut newcomers {
        assert_eq!(newcomer.expect_end(), End::Eof);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "held for {:?}", began.elapsed());
    first.ping();
    assert!(target.rest().is_empty());
    target.shutdown();
}

/// Ends peer 1's link by `end` and links it anew, many times; nearly always that is done at once.
fn relink(end: fn(Stranger), reason: Reason) {
    const ROUNDS: usize = 20;
    const SOON: Duration = Duration::from_millis(500);
    let target = target();
    let mut link = join(&target);
    target.up(1);
    let mut late = 0;
    for _ in 0..ROUNDS {
        link.ping();
        end(link);
        let began = Instant::now();
        link = join(&target);
        target.up(1);
        late += usize::from(began.elapsed() > SOON);
        assert_eq!(target.down(1), reason);
    }
    assert!(late <= ROUNDS / 4, "{late} of {ROUNDS} were linked late");
    target.shutdown();
}

#[test]
fn a_newcomer_after_a_reset_is_linked_at_once() {
    relink(Stranger::reset, Reason::Reset);
}

#[test]
fn a_newcomer_after_a_close_is_linked_at_once() {
    relink(drop, Reason::Eof);
}

#[test]
fn a_newcomer_that_leaves_while_it_is_held_changes_nothing() {
    let target = target();
    let mut first = join(&target);
    target.up(1);
    for _ in 0..3 {
        drop(join(&target));
        join(&target).reset();
    }
    first.ping();
    target.wait("one link is up", |m| m.links_up == 1 && m.preauth_connections == 0);
    assert!(target.rest().is_empty());
    target.shutdown();
}

#[test]
fn an_authenticated_newcomer_displaces_an_unauthenticated_link_at_once() {
    let target = soft_target();
    let mut plain = join_plain(&target);
    assert!(!target.up(1).1);
    plain.ping();
    let began = Instant::now();
    let mut proven = join(&target);
    assert!(target.up(1).1);
    assert!(began.elapsed() < AT_ONCE, "displaced after {:?}", began.elapsed());
    assert_eq!(target.down(1), Reason::Superseded);
    plain.expect_end();
    proven.ping();
    target.shutdown();
}

#[test]
fn a_held_stranger_does_not_keep_an_authenticated_newcomer_out() {
    let target = soft_target();
    let plain = join_plain(&target);
    assert!(!target.up(1).1);
    let held = join_plain(&target);
    target.wait("a second admission", |m| m.soft_admissions.contains(&(Leniency::AuthRequired, 2)));
    let began = Instant::now();
    let mut proven = join(&target);
    eventually("the proven link is up", || {
        let link = target.bus.peers()[0].link;
        assert!(began.elapsed() < AT_ONCE, "not displaced after {:?}: {link:?}", began.elapsed());
        link.is_some_and(|link| link.authenticated)
    });
    proven.ping();
    drop((plain, held));
    proven.ping();
    target.shutdown();
}

#[test]
fn an_unauthenticated_newcomer_never_displaces_an_authenticated_link() {
    let target = soft_target();
    let mut proven = join(&target);
    assert!(target.up(1).1);
    for _ in 0..10 {
        let began = Instant::now();
        let mut plain = join_plain(&target);
        assert_eq!(plain.expect_end(), End::Eof);
        assert!(began.elapsed() < AT_ONCE, "closed after {:?}", began.elapsed());
        proven.ping();
    }
    assert!(target.rest().is_empty());
    target.shutdown();
}
