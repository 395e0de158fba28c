//! The task of one link: read, hand over, write, until either side ends it.
//!
//! One task does both directions, so that what a read brings is answered by the write that follows
//! it, in the same turn.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::Reason;
use crate::handler::{Flow, Handler};
use crate::handoff::Handoff;
use crate::link::reader::{Read, Reader};
use crate::link::{Link, LinkState};
use crate::mesh::Control;
use crate::owner::State;
use crate::runtime::{self, Stream};
use crate::shard::Core;
use crate::slot::LastReason;

/// How many reads and writes a link may make before others have their turn.
const TURNS: usize = 8;

/// How many frames are handed over before their answers are written: enough to be worth a system call,
/// and few enough that the peer works on these while we are at the next.
const FRAMES: u64 = 128;

/// How long a contested link may take to show life before the newcomer takes over.
const CONTEST: Duration = Duration::from_secs(3);

/// Silence of the peer's kernel, while it owes us answers, that counts as its death: what keepalive
/// allows on an idle connection (1 s idle and 3 probes, 1 s apart).
const DEAD_AFTER: Duration = Duration::from_secs(4);

/// How long a link whose peer has closed its direction goes on writing.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The kernel tells times of a connection in ticks that may be this far off.
const CLOCK_SLACK: Duration = Duration::from_millis(12);

/// Runs a link from its adoption to its end. The link is in the shard's table already.
pub(crate) async fn run<H: Handler>(
    core: Rc<Core<H>>,
    state: Rc<LinkState>,
    handoff: Handoff<Stream>,
) {
    let local = &core.local;
    let slot = local.shared.slot(state.peer);
    let role = handoff.owner.role();
    slot.set_key(handoff.key);
    slot.forget_round_trip();
    slot.owner.advance(handoff.owner, State::Up);
    slot.state_began(local.shared.environment.unix_ms());
    local.metrics().links_up.add(1);
    tracing::info!(
        peer = state.peer.get(),
        shard = local.shard,
        role = role.as_str(),
        authenticated = handoff.outcome.authenticated(),
        "link up"
    );
    core.handler.borrow_mut().on_link_up(&mut Link::new(local, &state), state.owner.incarnation());

    let settings = local.shared.settings();
    // The handshake may have begun under other settings than are in force now.
    if !settings.permits(state.peer, handoff.outcome.authenticated()) {
        state.end(Reason::Reload);
    }
    let max_frame = settings.limits.max_message_size;
    drop(settings);
    let mut task = LinkTask {
        core: &core,
        state: &state,
        stream: handoff.socket,
        reader: Reader::new(max_frame, handoff.early.as_slice()),
        ended: false,
        finished: false,
        broken: None,
    };
    let reason = poll_fn(|cx| task.poll(cx)).await;
    task.reader.close(&mut local.buffers.borrow_mut());
    if !(task.ended && task.finished) {
        task.stream.shutdown();
    }
    drop(task);

    let lost = close(&core, &state).await;
    tracing::info!(
        peer = state.peer.get(),
        shard = local.shard,
        role = role.as_str(),
        reason = reason.as_str(),
        lost,
        "link down"
    );
    local.metrics().links_up.sub(1);
    local.metrics().dropped[reason as usize].add(lost);
    state.set_paused(local, false);
    slot.note_reason(LastReason::Link(reason));
    slot.state_began(local.shared.environment.unix_ms());
    core.handler.borrow_mut().on_link_down(state.peer, reason, lost);
    local.remove(&state);
    local.shared.vacate(state.peer, state.owner.with(State::Draining));
    if let Some(shard) = handoff.dialed_by {
        let (peer, incarnation) = (state.peer, state.owner.incarnation());
        let prompt = reason == Reason::Reload;
        local.shared.mailboxes[shard].tell(Control::Redial { peer, incarnation, prompt });
    }
}

/// Lets no new frame in, waits for those on their way and returns how many are lost.
async fn close<H: Handler>(core: &Core<H>, state: &LinkState) -> u64 {
    let local = &core.local;
    let slot = local.shared.slot(state.peer);
    state.let_nobody_in(slot);
    loop {
        local.take_outgoing();
        // Whoever has reserved credit and has not enqueued yet is between two instructions.
        if slot.credit.frames() as usize == state.outbox.borrow().len() {
            break;
        }
        runtime::sleep(Duration::from_millis(1)).await;
    }
    let (frames, bytes) = state.outbox.borrow_mut().clear();
    slot.credit.release(frames, bytes);
    slot.credit.take_wanted();
    frames.into()
}

struct LinkTask<'a, H> {
    core: &'a Core<H>,
    state: &'a LinkState,
    stream: Stream,
    reader: Reader,
    /// Whether the peer has ended its direction.
    ended: bool,
    /// Whether we have ended ours.
    finished: bool,
    /// Why nothing can be written any more. What the peer had sent before that is still to be read.
    broken: Option<Reason>,
}

/// What a step leaves to do.
enum Next {
    /// Go on: there is or may be more.
    More,
    /// Nothing until something wakes the task.
    Wait,
}

/// What of the frames that have arrived has been handed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivered {
    /// All that are whole.
    All,
    /// As many as go before their answers are written.
    Part,
    /// No more than the handler wanted.
    Paused,
}

/// What a flush leaves in the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    /// Nothing.
    Empty,
    /// What others have to have their turn before, or the handler has sent when it was told of room.
    More,
    /// What the socket has no room for, or no way to its peer.
    Blocked,
}

impl<H: Handler> LinkTask<'_, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        // While we run, nobody needs to wake us.
        self.state.waker.borrow_mut().take();
        for _ in 0..TURNS {
            match self.turn(cx) {
                Ok(Next::More) => {}
                Ok(Next::Wait) => {
                    *self.state.waker.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Err(reason) => return Poll::Ready(reason),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Next, Reason> {
        self.core.local.take_outgoing();
        if self.state.check.take() {
            self.reader.rest(&mut self.core.local.buffers.borrow_mut());
            self.check_life()?;
        }
        if let Some((reason, deadline)) = self.state.ending.get() {
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                return Err(reason);
            }
            self.state.let_nobody_in(self.core.local.shared.slot(self.state.peer));
        }
        let delivered = self.deliver()?;
        let flushed = self.flush(cx);
        let more = match delivered {
            Delivered::All => false,
            Delivered::Part => true,
            Delivered::Paused => !self.state.paused.get(),
        };
        if more {
            return Ok(Next::More);
        }
        if let Some((reason, _)) = self.state.ending.get() {
            self.finish(reason, flushed)?;
        }
        let next = match (self.state.paused.get() || self.ended, self.broken) {
            (true, Some(reason)) => return Err(reason),
            (true, None) => Next::Wait,
            (false, broken) => self.read(cx).map_err(|reason| broken.unwrap_or(reason))?,
        };
        Ok(if flushed == Flushed::More { Next::More } else { next })
    }

    /// Hands over whole frames.
    fn deliver(&mut self) -> Result<Delivered, Reason> {
        if self.state.paused.get() {
            return Ok(Delivered::Paused);
        }
        let core = self.core;
        let slot = core.local.shared.slot(self.state.peer);
        let mut handler = core.handler.borrow_mut();
        let mut link = Link::new(&core.local, self.state);
        let mut frames = 0;
        let delivered = loop {
            if frames == FRAMES {
                break Ok(Delivered::Part);
            }
            let frame = match self.reader.next_frame() {
                Ok(Some(frame)) if !frame.command().is_handshake() => frame,
                Ok(None) => break Ok(Delivered::All),
                Ok(Some(frame)) => {
                    let error = format_args!("{} on an established link", frame.command());
                    break Err(self.state.protocol_error(&core.local, error));
                }
                Err(error) => {
                    break Err(self.state.protocol_error(&core.local, format_args!("{error}")));
                }
            };
            frames += 1;
            if handler.on_frame(&mut link, frame) == Flow::Pause {
                self.state.set_paused(&core.local, true);
                break Ok(Delivered::Paused);
            }
        };
        core.local.metrics().frames_in.add(frames);
        slot.frames_in.add(frames);
        delivered
    }

    /// Writes what has gathered, as much as one call takes, and tells the handler of room if it waits for
    /// that. The rest, and what the handler then sends, is for the next turn, so that a link that always
    /// has more leaves others theirs.
    fn flush(&mut self, cx: &mut Context<'_>) -> Flushed {
        let local = &self.core.local;
        let slot = local.shared.slot(self.state.peer);
        if !self.state.outbox.borrow().is_empty() {
            if self.broken.is_some() || self.stream.poll_writable(cx).is_pending() {
                return Flushed::Blocked;
            }
            let written = {
                let outbox = self.state.outbox.borrow();
                let mut scratch = local.scratch.borrow_mut();
                let mut batch = scratch.batch();
                outbox.gather(&mut batch);
                self.stream.poll_write(cx, &batch)
            };
            let written = match written {
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => {
                    self.broken = Some(Reason::of(&error));
                    return Flushed::Blocked;
                }
                Poll::Pending => return Flushed::Blocked,
            };
            let (frames, bytes) = self.state.outbox.borrow_mut().advance(written);
            slot.credit.release(frames, bytes);
            let metrics = local.metrics();
            metrics.writes.add(1);
            metrics.frames_out.add(frames.into());
            metrics.bytes_out.add(written as u64);
            slot.frames_out.add(frames.into());
            slot.bytes_out.add(written as u64);
            if !self.state.outbox.borrow().is_empty() {
                return Flushed::More;
            }
        }
        if slot.credit.take_wanted() {
            self.core.handler.borrow_mut().on_writable(&mut Link::new(local, self.state));
        }
        let refilled = !self.state.outbox.borrow().is_empty();
        if refilled { Flushed::More } else { Flushed::Empty }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Next, Reason> {
        let local = &self.core.local;
        let mut buffers = local.buffers.borrow_mut();
        match self.reader.poll_read(cx, &mut self.stream, &mut buffers) {
            Poll::Pending => Ok(Next::Wait),
            Poll::Ready(Ok(Read::Bytes(count))) => {
                local.metrics().reads.add(1);
                local.metrics().bytes_in.add(count as u64);
                local.shared.slot(self.state.peer).bytes_in.add(count as u64);
                Ok(Next::More)
            }
            Poll::Ready(Ok(Read::Starved)) => {
                self.state.starved.set(true);
                Ok(Next::Wait)
            }
            Poll::Ready(Ok(Read::End)) => {
                // The peer may have closed its direction only: what it is owed still goes out.
                self.ended = true;
                self.state.drain(Reason::Eof, Instant::now() + LAST_WORDS);
                Ok(Next::More)
            }
            Poll::Ready(Err(error)) => Err(Reason::of(&error)),
        }
    }

    /// Ends our direction of a link that is ending, once everything is written, and then the link.
    fn finish(&mut self, reason: Reason, flushed: Flushed) -> Result<(), Reason> {
        let slot = self.core.local.shared.slot(self.state.peer);
        if self.broken.is_some() && self.ended {
            return Err(reason);
        }
        if flushed != Flushed::Empty || slot.credit.frames() > 0 {
            return Ok(());
        }
        if !self.finished {
            self.finished = true;
            self.stream.finish();
        }
        // Nothing is under way once both directions have ended. A bus that shuts down does not wait
        // for what the peer has still to say, only until the peer's kernel has all we said.
        let done = self.ended || reason == Reason::Shutdown && !self.unacknowledged();
        if done { Err(reason) } else { Ok(()) }
    }

    fn unacknowledged(&self) -> bool {
        self.stream.liveness().is_ok_and(|life| life.connected && !life.acknowledged)
    }

    /// Looks for signs of life that reading and writing do not show.
    fn check_life(&mut self) -> Result<(), Reason> {
        let life = self.stream.liveness().map_err(|error| Reason::of(&error))?;
        if !life.connected && self.state.paused.get() {
            let error = self.stream.take_error().unwrap_or(io::ErrorKind::ConnectionReset.into());
            return Err(Reason::of(&error));
        }
        if life.unanswered >= 3 && life.silent_for >= DEAD_AFTER {
            return Err(Reason::Keepalive);
        }
        let slot = self.core.local.shared.slot(self.state.peer);
        if let Some(since) = self.state.contested.get() {
            let contested = Instant::now() - since;
            let alive = life.connected && !life.finished;
            if alive && life.silent_for + CLOCK_SLACK < contested {
                slot.note_alive(self.state.owner.incarnation());
                self.state.contested.set(None);
            } else if contested >= CONTEST {
                return Err(Reason::Superseded);
            }
        } else {
            slot.note_round_trip(life.round_trip);
        }
        Ok(())
    }
}
