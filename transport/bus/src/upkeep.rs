//! What a shard does by the clock, whatever its links do.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::handler::Handler;
use crate::link::LinkState;
use crate::listener;
use crate::mesh::Control;
use crate::runtime;
use crate::shard::Core;

/// How often a shard looks at what nothing wakes it for. It bounds what a lost wake-up can cost.
const TICK: Duration = Duration::from_millis(10);

/// How often it looks for links that have died silently, and returns unused memory.
const INSPECTION: Duration = Duration::from_secs(1);

/// How long a link that is made anew may take to write what it has accepted.
pub(crate) const RENEWAL: Duration = Duration::from_secs(1);

/// Looks regularly at what nothing wakes a task for.
pub(crate) async fn tick<H: Handler>(core: Rc<Core<H>>) {
    let mut inspected = Instant::now();
    loop {
        runtime::sleep(TICK).await;
        core.local.mailbox().nudge();
        core.local.each_link(LinkState::tick);
        listener::expire(&core).await;
        if inspected.elapsed() >= INSPECTION {
            inspected = Instant::now();
            core.local.each_link(LinkState::look_for_life);
            listener::sum_up(&core.local);
            core.local.buffers.borrow_mut().trim();
        }
    }
}

/// Makes the links anew that were made with a secret which is gone, one at a time, whichever shards
/// own them.
pub(crate) async fn renew<H: Handler>(core: Rc<Core<H>>) {
    let shared = &core.local.shared;
    let settings = shared.settings();
    for (peer, _) in settings.roster.iter() {
        let slot = shared.slot(peer);
        let owner = slot.owner.load();
        if !owner.is_up() || !settings.has_retired(slot.key()) {
            continue;
        }
        let incarnation = owner.incarnation();
        shared.mailboxes[owner.shard()].tell(Control::Renew { peer, incarnation });
        let deadline = Instant::now() + 2 * RENEWAL;
        let renewed = || {
            let owner = slot.owner.load();
            owner.is_up() && owner.incarnation() != incarnation
        };
        while !renewed() && Instant::now() < deadline {
            runtime::sleep(TICK).await;
        }
    }
}
