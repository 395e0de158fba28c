//! The half-open rule: what happens when a peer that has a link comes again.

use std::time::{Duration, Instant};

use ringseal_auth::Outcome;

use crate::error::Reason;
use crate::mesh::Control;
use crate::metrics::Role;
use crate::owner::{Owner, State};
use crate::registry::Shared;
use crate::runtime::{self, Stream};

/// How often a held newcomer looks whether its wait is over.
const LOOK: Duration = Duration::from_millis(5);

/// How long a newcomer waits for the holder's shard, which decides within 3 s unless the machine is
/// too busy to run it.
const HELD: Duration = Duration::from_secs(6);

/// Claims the newcomer's peer. If the peer has a link already, the newcomer is held until that link
/// has shown life, which refuses the newcomer, or has ended.
///
/// One newcomer is held per peer. An authenticated one displaces an unauthenticated link at once, an
/// unauthenticated one never displaces an authenticated link.
pub(crate) async fn claim(shared: &Shared, newcomer: Outcome, stream: &Stream) -> Option<Owner> {
    let peer = newcomer.peer();
    let claim = || shared.claim(peer, Role::Acceptor, newcomer.authenticated());
    let mut holder = match claim() {
        Ok(owner) => return Some(owner),
        Err(holder) => holder,
    };
    let slot = shared.slot(peer);
    let mut held = None;
    let deadline = Instant::now() + HELD;
    loop {
        // Who displaces the holder at once is not kept out by somebody who waits for its death.
        if held.is_none() && !displaces(newcomer, holder) {
            held = Some(slot.hold()?);
        }
        contest(shared, newcomer, holder)?;
        let incarnation = holder.incarnation();
        while slot.owner.load().incarnation() == incarnation {
            let over = slot.is_alive(incarnation) || Instant::now() >= deadline;
            if over || stream.has_ended() || shared.stopping() {
                return None;
            }
            runtime::sleep(LOOK).await;
        }
        holder = match claim() {
            Ok(owner) => return Some(owner),
            Err(holder) => holder,
        };
    }
}

/// Tells the shard of `holder` that its link is contested, or that it is over; `None` when the
/// newcomer has no right to either.
fn contest(shared: &Shared, newcomer: Outcome, holder: Owner) -> Option<()> {
    let (peer, incarnation) = (newcomer.peer(), holder.incarnation());
    let control = match (newcomer.authenticated(), holder.authenticated()) {
        (false, true) => return None,
        // A link that is ending has nothing left to wait for once its peer comes anew.
        _ if holder.state() == State::Draining => {
            Control::End { peer, incarnation, reason: Reason::Superseded }
        }
        (true, false) => Control::End { peer, incarnation, reason: Reason::Superseded },
        (true, true) | (false, false) => Control::Contest { peer, incarnation },
    };
    shared.mailboxes[holder.shard()].tell(control);
    Some(())
}

/// Whether the newcomer need not wait for the holder to show that it is dead.
fn displaces(newcomer: Outcome, holder: Owner) -> bool {
    newcomer.authenticated() && !holder.authenticated()
}
