//! The port: opened by every shard, accepted from by every shard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringseal_auth::{HandshakeResult, Outcome};
use ringseal_wire::{HEADER_LEN, HeaderView, ReplicaId};
use socket2::{Domain, Protocol, Socket, Type};

use crate::admission::{Admission, Buckets, Lane, LogBudget, Look, Newcomer, Topic, World};
use crate::contest;
use crate::error::Reason;
use crate::handler::Handler;
use crate::handoff::{Early, Handoff};
use crate::handshake::{self, Failure};
use crate::metrics::{Eviction, Role, Tag};
use crate::runtime::{self, Arrived, Happened, Listener, Stream, Visitor, Watch};
use crate::settings::KeyId;
use crate::shard::{Core, Local};
use crate::slot::LastReason;

/// How many connections may wait to be accepted, per shard. What waits there is out of our hands, so
/// it is much and does not wait for long.
const BACKLOG: i32 = 4096;

/// How many connections are dealt with before everybody else has a turn.
const BATCH: usize = 64;

/// How long accepting rests after an error, such as having no descriptor left.
const REST: Duration = Duration::from_millis(50);

/// For how long a newcomer is not called silent. A Hello follows its connection at once, so this is
/// what a busy sender and the network may put between the two.
const CHANCE: Duration = Duration::from_millis(50);

/// Opens `address` once for each shard. The first socket is bound alone, so a port that another
/// process has is an error; only then it lets its siblings in beside it.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn open(
    address: SocketAddr,
    shards: usize,
) -> io::Result<(Vec<(Listener, Watch)>, SocketAddr)> {
    let socket = || Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let first = socket()?;
    first.set_reuse_address(true)?;
    first.bind(&address.into())?;
    let first = Listener::open(first, BACKLOG, HEADER_LEN)?;
    first.socket().set_reuse_port(true)?;
    let bound = first.socket().local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        let sibling = socket()?;
        sibling.set_reuse_address(true)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&bound)?;
        listeners.push(Listener::open(sibling, BACKLOG, HEADER_LEN)?);
    }
    let bound = bound.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let watched = listeners.into_iter().map(|listener| {
        let watch = Watch::new()?;
        watch.add_listener(&listener)?;
        Ok((listener, watch))
    });
    Ok((watched.collect::<io::Result<_>>()?, bound))
}

/// A shard's port and the descriptor that is kept back for it.
struct Door {
    listener: Listener,
    reserve: Option<OwnedFd>,
}

/// Accepts connections, and starts the handshakes of those who have spoken, until it is cancelled.
pub(crate) async fn run<H: Handler>(core: Rc<Core<H>>, listener: Listener) {
    let local = &core.local;
    let reserve = listener.spare().ok();
    let mut door = Door { listener, reserve };
    let mut happened = Vec::new();
    local.metrics().listening.set(1);
    loop {
        local.watch.ready().await;
        loop {
            let mut more = local.watch.take(&mut happened);
            let mut knock = false;
            for happened in happened.drain(..) {
                match happened {
                    Happened::Knock => knock = true,
                    Happened::Stirred { number, gone } => attend(&core, number, gone),
                }
            }
            if knock {
                match open_to_all(&core, &mut door) {
                    Ok(full) => more |= full,
                    Err(error) => rest(local, &error).await,
                }
            }
            local.show_waiting();
            if !more {
                break;
            }
            runtime::yield_now().await;
        }
    }
}

async fn rest(local: &Local, error: &io::Error) {
    // A log line each time would be one every 50 ms for as long as it lasts.
    if local.metrics().accept_errors.get().is_power_of_two() {
        tracing::warn!(shard = local.shard, %error, "cannot accept; trying again");
    }
    runtime::sleep(REST).await;
}

/// Accepts a batch; true when there may be more.
fn open_to_all<H: Handler>(core: &Rc<Core<H>>, door: &mut Door) -> io::Result<bool> {
    let local = &core.local;
    let known = local.shared.sources.known();
    let (limit, now) = (runtime::descriptor_limit(), Instant::now());
    let mut shed = false;
    for _ in 0..BATCH {
        match door.listener.accept() {
            Ok(None) => {
                door.reserve = door.reserve.take().or_else(|| door.listener.spare().ok());
                return Ok(false);
            }
            Ok(Some((visitor, from))) => {
                let last = visitor.descriptors_in_use() + kept_free(limit) >= limit;
                if local.admission.borrow().is_short(last) {
                    shed_one(core, now);
                }
                let is_known = known.contains(&from.ip().to_canonical());
                let lane = if is_known { Lane::Roster } else { Lane::Other };
                let last = local.admission.borrow().mark(last);
                let (visitor, task) = (Some(visitor), None);
                welcome(core, lane, Newcomer { visitor, task, from, came: now, last });
                shed = false;
            }
            Err(error) => {
                local.metrics().accept_errors.add(1);
                // Whoever has a task gives its descriptor back only when the task has had a turn, so
                // one at a time is asked to go; then comes the reserve.
                shed = runtime::is_shortage(&error) && !shed && shed_one(core, now);
                let lent = shed || (runtime::is_shortage(&error) && door.reserve.take().is_some());
                if !lent {
                    return Err(error);
                }
            }
        }
    }
    Ok(true)
}

/// How many descriptors strangers leave to links, dials and the embedder.
fn kept_free(limit: u64) -> u64 {
    (limit / 8).clamp(8, 256)
}

fn shed_one<H: Handler>(core: &Rc<Core<H>>, now: Instant) -> bool {
    let Admission { lanes, buckets, log, .. } = &mut *core.local.admission.borrow_mut();
    lanes.shed(&mut Doorkeeper { core, buckets, log, now, reason: Eviction::Descriptors })
}

/// Lets a newcomer wait for its first frame.
fn welcome<H: Handler>(core: &Rc<Core<H>>, lane: Lane, newcomer: Newcomer) {
    let Admission { lanes, buckets, log, .. } = &mut *core.local.admission.borrow_mut();
    let now = newcomer.came;
    let hasty = !buckets.take(newcomer.from.ip().into(), now);
    let mut world = Doorkeeper { core, buckets, log, now, reason: Eviction::Room };
    let number = lanes.enter(lane, hasty, newcomer, &mut world);
    let visitor = lanes.silent(number).and_then(|newcomer| newcomer.visitor.as_ref());
    if visitor.is_some_and(|visitor| core.local.watch.add(visitor, number).is_err()) {
        // The kernel has no room to watch one more, so this one cannot be served.
        if let Some((lane, newcomer)) = lanes.remove(number) {
            world.evict(lane, newcomer);
        }
    }
}

/// Something has happened to a visitor.
fn attend<H: Handler>(core: &Rc<Core<H>>, number: u64, gone: bool) {
    let now = Instant::now();
    if look_at(core, number, now) == Some(Look::Silent) && gone {
        fail(&core.local, number, now, &io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
}

/// Looks at a newcomer that has not been heard yet.
fn look_at<H: Handler>(core: &Rc<Core<H>>, number: u64, now: Instant) -> Option<Look> {
    let Admission { lanes, buckets, log, .. } = &mut *core.local.admission.borrow_mut();
    let mut world = Doorkeeper { core, buckets, log, now, reason: Eviction::Room };
    let look = world.look(number, lanes.silent(number)?);
    lanes.note(number, look, &mut world);
    Some(look)
}

/// Ends the wait of those who have been silent for too long.
pub(crate) async fn expire<H: Handler>(core: &Rc<Core<H>>) {
    while expire_some(core) {
        runtime::yield_now().await;
    }
}

/// The same for a batch; true when there may be more.
fn expire_some<H: Handler>(core: &Rc<Core<H>>) -> bool {
    let local = &core.local;
    let (grace, now) = (local.shared.settings().limits.hello_grace, Instant::now());
    for _ in 0..BATCH {
        let overdue = local.admission.borrow().overdue(grace, now);
        let Some(number) = overdue else { return false };
        // The frame may have come while the shard was busy.
        if look_at(core, number, now) == Some(Look::Silent) {
            fail(local, number, now, &Failure::slow("say who it is"));
            local.show_waiting();
        }
    }
    true
}

/// A newcomer has gone without a word.
fn fail(local: &Local, number: u64, now: Instant, failure: &Failure) {
    let gone = local.admission.borrow_mut().lanes.remove(number);
    if let Some((lane, Newcomer { from, came, .. })) = gone {
        local.metrics().handshake(Role::Acceptor, failure.result, now.duration_since(came));
        report(local, (lane, from), failure);
    }
}

/// What the lanes see of a shard.
struct Doorkeeper<'a, H> {
    core: &'a Rc<Core<H>>,
    buckets: &'a mut Buckets,
    log: &'a mut LogBudget,
    now: Instant,
    /// Why somebody would have to go.
    reason: Eviction,
}

impl<H: Handler> World<Newcomer> for Doorkeeper<'_, H> {
    fn had_its_chance(&self, newcomer: &Newcomer) -> bool {
        self.now.saturating_duration_since(newcomer.came) >= CHANCE
    }

    fn look(&mut self, number: u64, newcomer: &mut Newcomer) -> Look {
        let mut frame = [0; HEADER_LEN];
        let Some(visitor) = newcomer.visitor.take_if(|v| v.peek(&mut frame) == Arrived::All) else {
            return Look::Silent;
        };
        let local = &self.core.local;
        let tag =
            handshake::read_tag(&local.shared, &local.shared.settings(), HeaderView::new(&frame));
        local.metrics().tags[tag as usize].add(1);
        let greet = greet(self.core.clone(), visitor, number, (newcomer.from, newcomer.came));
        newcomer.task = Some(runtime::spawn(greet));
        if tag != Tag::Fresh {
            return Look::Heard;
        }
        // A member that comes often is no flood.
        self.buckets.give_back(newcomer.from.ip().into());
        Look::Member
    }

    fn evict(&mut self, lane: Lane, newcomer: Newcomer) {
        let (metrics, shard) = (self.core.local.metrics(), self.core.local.shard);
        let waited = self.now.saturating_duration_since(newcomer.came);
        metrics.handshake(Role::Acceptor, HandshakeResult::Evicted, waited);
        metrics.evictions[lane as usize][self.reason as usize].add(1);
        let topic = Topic::Handshake(HandshakeResult::Evicted);
        let from = Some(newcomer.from);
        self.core.local.shared.refused(Role::Acceptor, None, from, topic.as_str());
        if let Some(suppressed) = self.log.line(lane, topic, self.now) {
            tracing::info!(
                from = %newcomer.from,
                shard,
                role = Role::Acceptor.as_str(),
                lane = lane.as_str(),
                reason = topic.as_str(),
                suppressed,
                "newcomer evicted for want of {}",
                self.reason.as_str()
            );
        }
    }
}

/// Takes a visitor from its first frame to its shard, or to its refusal.
async fn greet<H: Handler>(
    core: Rc<Core<H>>,
    visitor: Visitor,
    number: u64,
    (from, came): (SocketAddr, Instant),
) {
    let local = &core.local;
    let settings = local.shared.settings();
    let deadline = came + settings.limits.handshake_grace;
    let result = handshake::accept(local, &settings, visitor, deadline).await;
    let word = result.as_ref().map_or_else(|failure| failure.result, |_| HandshakeResult::Ok);
    local.metrics().handshake(Role::Acceptor, word, came.elapsed());
    let lane = local.admission.borrow_mut().decided(number);
    local.show_waiting();
    match result {
        Ok((stream, outcome)) => {
            local.shared.slot(outcome.peer()).handshakes.add(came.elapsed());
            let key = settings.key_id(outcome.key());
            settle(&core, stream, (outcome, key), lane).await;
        }
        Err(failure) => {
            if let Some(peer) = failure.peer {
                local.shared.slot(peer).note_reason(LastReason::Handshake(failure.result));
            }
            report(local, (lane, from), &failure);
        }
    }
    local.admission.borrow_mut().leave(number);
}

/// Makes a link of a connection whose handshake has succeeded, unless the peer has a living one.
async fn settle<H: Handler>(
    core: &Rc<Core<H>>,
    stream: Stream,
    (outcome, key): (Outcome, KeyId),
    lane: Lane,
) {
    let local = &core.local;
    let peer = outcome.peer();
    if let Some(leniency) = outcome.leniency() {
        if let Some(suppressed) = may_log(local, lane, Topic::Lenient) {
            tracing::warn!(
                peer = peer.get(),
                shard = local.shard,
                role = Role::Acceptor.as_str(),
                reason = leniency.as_str(),
                suppressed,
                "admitted, though enforcing would refuse it"
            );
        }
        local.shared.note_leniency(local.shard, peer, leniency);
    }
    match contest::claim(&local.shared, outcome, &stream).await {
        Some(owner) => {
            let (socket, early) = (stream, Early::NONE);
            core.place(Handoff { socket, owner, outcome, key, dialed_by: None, early });
        }
        None => {
            let (from, reason) = (stream.peer_addr(), Reason::Duplicate.as_str());
            local.shared.refused(Role::Acceptor, Some(peer), from, reason);
            if let Some(suppressed) = may_log(local, lane, Topic::Duplicate) {
                tracing::info!(
                    peer = peer.get(),
                    shard = local.shard,
                    role = Role::Acceptor.as_str(),
                    reason = Reason::Duplicate.as_str(),
                    suppressed,
                    "newcomer closed: the peer has a link that is alive"
                );
            }
            stream.finish();
            stream.discard_input();
        }
    }
}

/// Tells the observer of a failed handshake, and the log unless there have been too many like it.
fn report(local: &Local, (lane, from): (Lane, SocketAddr), failure: &Failure) {
    local.shared.refused(Role::Acceptor, failure.peer, Some(from), failure.result.as_str());
    if let Some(suppressed) = may_log(local, lane, Topic::Handshake(failure.result)) {
        tracing::info!(
            peer = failure.peer.map(ReplicaId::get),
            %from,
            shard = local.shard,
            role = Role::Acceptor.as_str(),
            lane = lane.as_str(),
            reason = failure.result.as_str(),
            suppressed,
            "handshake failed: {failure}"
        );
    }
}

fn may_log(local: &Local, lane: Lane, topic: Topic) -> Option<u64> {
    local.admission.borrow_mut().log.line(lane, topic, Instant::now())
}

/// Tells of what was suppressed and nothing like it has come since.
pub(crate) fn sum_up(local: &Local) {
    let mut admission = local.admission.borrow_mut();
    for (lane, topic, suppressed) in admission.log.leftovers(Instant::now()) {
        tracing::info!(
            shard = local.shard,
            role = Role::Acceptor.as_str(),
            lane = lane.as_str(),
            reason = topic.as_str(),
            suppressed,
            "and so many more"
        );
    }
}
