//! One core's part of the bus: its links, its mailbox, its connectors and its listener.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringseal_auth::Policy;
use ringseal_wire::{Frame, FrameView, ReplicaId};

use crate::admission::Admission;
use crate::buffers::Buffers;
use crate::config::RetiredLinks;
use crate::connector::{self, Signal};
use crate::error::{Reason, SendError, SendErrorKind};
use crate::handler::Handler;
use crate::handoff::Handoff;
use crate::link::{self, LinkState, Outbox};
use crate::listener;
use crate::mesh::{Control, Mailbox, Outgoing};
use crate::metrics::{Role, ShardMetrics};
use crate::observer::Observed;
use crate::owner::Owner;
use crate::registry::Shared;
use crate::runtime::{self, Beat, Listener, Scratch, Stream, Task, Watch};
use crate::settings::Settings;
use crate::sources;
use crate::upkeep::{self, RENEWAL};

/// One shard of a bus, ready to run on an executor of the embedder's.
///
/// [`Bus::start`](crate::Bus::start) runs shards on threads of its own;
/// [`Mesh::new`](crate::Mesh::new) gives them to an embedder who has executors already.
#[derive(Debug)]
pub struct Shard {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) port: (Listener, Watch),
}

impl Shard {
    /// The shard's number, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Runs the shard until the bus is shut down. Must be awaited inside a glommio executor, or by
    /// [`run_here`]; the shard's tasks live there until this returns.
    pub async fn run(self, handler: impl Handler) {
        let Self { index, shared, port: (listener, watch) } = self;
        let _beat = Beat::of_this_executor().await;
        let handler = RefCell::new(Observed::new(handler, shared.clone()));
        let core = Rc::new(Core { local: Local::new(index, shared, watch), handler });
        let ticker = runtime::spawn(upkeep::tick(core.clone()));
        let mut tasks = vec![runtime::spawn(listener::run(core.clone(), listener))];
        if index == 0 {
            tasks.push(runtime::spawn(sources::run(core.local.shared.clone())));
        }
        core.dial_roster();

        let deadline = core.serve().await;
        core.local.metrics().listening.set(0);
        tasks.extend(core.local.admission.borrow_mut().close());
        let connectors = mem::take(&mut *core.local.connectors.borrow_mut());
        tasks.extend(connectors.into_values().map(|connector| connector.task));
        tasks.extend(core.local.renewal.take());
        for task in tasks {
            task.cancel().await;
        }
        core.end_links(deadline).await;
        ticker.cancel().await;
    }
}

/// Runs shards on the calling thread, which spins for `spin` before it sleeps, until their buses are
/// shut down. Shards of several buses may share a thread, as those of a whole cluster in a test do.
///
/// # Errors
///
/// The kernel's, when it does not permit io_uring; no shard has run then.
pub fn run_here<H: Handler>(
    shards: impl IntoIterator<Item = (Shard, H)>,
    spin: Duration,
) -> io::Result<()> {
    let shards: Vec<_> = shards.into_iter().collect();
    runtime::run_here(spin, async {
        let run = |(shard, handler): (Shard, H)| runtime::spawn(shard.run(handler));
        let tasks: Vec<_> = shards.into_iter().map(run).collect();
        for task in tasks {
            task.finish().await;
        }
    })
}

/// What all tasks of a shard share, whatever its handler is.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) shard: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: RefCell<Buffers>,
    pub(crate) scratch: RefCell<Scratch>,
    pub(crate) admission: RefCell<Admission>,
    pub(crate) watch: Watch,
    connectors: RefCell<BTreeMap<ReplicaId, Connector>>,
    renewal: RefCell<Option<Task<()>>>,
    /// The policy that our links were made or looked at under.
    policy: Cell<Policy>,
    links: RefCell<Box<[Option<Rc<LinkState>>]>>,
}

#[derive(Debug)]
struct Connector {
    signal: Rc<Signal>,
    task: Task<()>,
}

/// A shard with its handler.
#[derive(Debug)]
pub(crate) struct Core<H> {
    pub(crate) local: Local,
    pub(crate) handler: RefCell<Observed<H>>,
}

impl Local {
    fn new(shard: usize, shared: Arc<Shared>, watch: Watch) -> Self {
        let settings = shared.settings();
        let limits = settings.limits;
        Self {
            shard,
            buffers: RefCell::new(Buffers::new(limits.receive_budget)),
            scratch: RefCell::new(Scratch::new()),
            admission: RefCell::new(Admission::new(limits.preauth_connections)),
            watch,
            connectors: RefCell::default(),
            renewal: RefCell::default(),
            policy: Cell::new(settings.policy()),
            links: RefCell::new(vec![None; 256].into()),
            shared,
        }
    }

    pub(crate) fn metrics(&self) -> &ShardMetrics {
        &self.shared.metrics[self.shard]
    }

    /// The peers that this shard's connectors dial: every higher id, spread over the shards.
    fn peers_to_dial(&self, settings: &Settings) -> BTreeSet<ReplicaId> {
        let shards = self.shared.mailboxes.len();
        let ours =
            |peer: &ReplicaId| *peer > self.shared.replica && peer.index() % shards == self.shard;
        settings.roster.iter().map(|(id, _)| id).filter(ours).collect()
    }

    pub(crate) fn show_waiting(&self) {
        self.metrics().preauth.set(self.admission.borrow().lanes.len() as u64);
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.shared.mailboxes[self.shard]
    }

    /// Sends a frame from this shard's thread: straight to the outbox when the link is ours.
    #[inline]
    pub(crate) fn send(&self, peer: ReplicaId, frame: Frame) -> Result<(), SendError> {
        let owner = match self.shared.admit(peer, frame.wire_len(), frame.command()) {
            Ok(owner) => owner,
            Err(kind) => return Err(SendError { kind, frame }),
        };
        if owner.shard() == self.shard {
            // What has been sent through the mailbox before must not be overtaken.
            self.take_outgoing();
            self.enqueue(peer, owner.incarnation(), |outbox| outbox.push(frame));
        } else {
            self.mail(peer, owner, frame);
        }
        Ok(())
    }

    /// The same for a received frame.
    #[inline]
    pub(crate) fn forward(
        &self,
        peer: ReplicaId,
        frame: FrameView<'_>,
    ) -> Result<(), SendErrorKind> {
        let owner = self.shared.admit(peer, frame.wire_len(), frame.command())?;
        if owner.shard() == self.shard {
            self.take_outgoing();
            self.enqueue(peer, owner.incarnation(), |outbox| outbox.pass_on(frame));
        } else {
            self.mail(peer, owner, frame.to_frame());
        }
        Ok(())
    }

    fn mail(&self, peer: ReplicaId, owner: Owner, frame: Frame) {
        let outgoing = Outgoing { peer, incarnation: owner.incarnation(), frame };
        self.shared.mailboxes[owner.shard()].send(outgoing);
    }

    /// Moves the frames that have come by mailbox to their outboxes.
    #[inline]
    pub(crate) fn take_outgoing(&self) {
        if self.mailbox().has_outgoing() {
            self.take_all_outgoing();
        }
    }

    #[cold]
    fn take_all_outgoing(&self) {
        while let Some(Outgoing { peer, incarnation, frame }) = self.mailbox().next_outgoing() {
            self.enqueue(peer, incarnation, |outbox| outbox.push(frame));
        }
    }

    /// Puts an accepted frame into the outbox of a link of ours.
    #[inline]
    fn enqueue(&self, peer: ReplicaId, incarnation: u64, put: impl FnOnce(&mut Outbox)) {
        let links = self.links.borrow();
        let link = links[peer.index()].as_ref();
        // A link is not removed while credit is out, so an accepted frame always finds it.
        let link = link.filter(|link| link.owner.incarnation() == incarnation);
        debug_assert!(link.is_some(), "a frame outlived its link");
        if let Some(link) = link {
            put(&mut link.outbox.borrow_mut());
            link.wake();
        }
    }

    pub(crate) fn remove(&self, state: &LinkState) {
        self.links.borrow_mut()[state.peer.index()] = None;
    }

    fn link(&self, peer: ReplicaId) -> Option<Rc<LinkState>> {
        self.links.borrow()[peer.index()].clone()
    }

    fn link_of(&self, peer: ReplicaId, incarnation: u64) -> Option<Rc<LinkState>> {
        self.link(peer).filter(|link| link.owner.incarnation() == incarnation)
    }

    pub(crate) fn each_link(&self, f: impl Fn(&LinkState)) {
        self.links.borrow().iter().flatten().for_each(|link| f(link));
    }
}

impl<H: Handler> Core<H> {
    /// Takes mail until the bus is told to stop; returns the deadline for that.
    async fn serve(self: &Rc<Self>) -> Instant {
        loop {
            self.local.mailbox().ready().await;
            if let Some(deadline) = self.serve_mailbox() {
                return deadline;
            }
        }
    }

    /// Does what the mailbox asks for.
    fn serve_mailbox(self: &Rc<Self>) -> Option<Instant> {
        let local = &self.local;
        // Whether or not the sender has got as far as saying so: otherwise we would find the mailbox full
        // again at once, and keep it from that.
        local.take_all_outgoing();
        let mut stop = None;
        while let Some(control) = local.mailbox().next_control() {
            match control {
                Control::Adopt(handoff) if local.shared.stopping() => {
                    local.shared.vacate(handoff.outcome.peer(), handoff.owner);
                }
                Control::Adopt(handoff) => self.own(handoff.adopt()),
                Control::Resume(peer) => {
                    if let Some(link) = local.link(peer) {
                        link.resume(local);
                    }
                }
                Control::Contest { peer, incarnation } => {
                    if let Some(link) = local.link_of(peer, incarnation) {
                        link.contest();
                    }
                }
                Control::End { peer, incarnation, reason } => {
                    if let Some(link) = local.link_of(peer, incarnation) {
                        link.end(reason);
                    }
                }
                Control::Renew { peer, incarnation } => {
                    if let Some(link) = local.link_of(peer, incarnation) {
                        link.drain(Reason::Reload, Instant::now() + RENEWAL);
                    }
                }
                Control::Redial { peer, incarnation, prompt } => {
                    if let Some(connector) = local.connectors.borrow().get(&peer) {
                        connector.signal.link_ended(incarnation, prompt);
                    }
                }
                Control::Reload => self.reload(),
                Control::Stop(deadline) => stop = Some(deadline),
            }
        }
        stop
    }

    /// Brings a connection whose handshake has succeeded to the shard that its claim names.
    pub(crate) fn place(self: &Rc<Self>, handoff: Handoff<Stream>) {
        let (owner, peer) = (handoff.owner, handoff.outcome.peer());
        if owner.shard() == self.local.shard {
            self.own(handoff);
            return;
        }
        let dialed_by = handoff.dialed_by;
        match handoff.lend() {
            Ok(handoff) => {
                self.local.shared.mailboxes[owner.shard()].tell(Control::Adopt(Box::new(handoff)));
            }
            Err(error) => {
                tracing::warn!(peer = peer.get(), %error, "cannot hand a link over to its shard");
                self.give_up(peer, owner, dialed_by);
            }
        }
    }

    fn own(self: &Rc<Self>, handoff: Handoff<Stream>) {
        let (peer, owner) = (handoff.outcome.peer(), handoff.owner);
        self.handler.borrow_mut().admitted(&handoff);
        let state = Rc::new(LinkState::new(peer, owner));
        self.local.links.borrow_mut()[peer.index()] = Some(state.clone());
        runtime::spawn(link::run(self.clone(), state, handoff)).detach();
    }

    fn give_up(&self, peer: ReplicaId, owner: Owner, dialed_by: Option<usize>) {
        self.local.shared.vacate(peer, owner);
        if let Some(shard) = dialed_by {
            let incarnation = owner.incarnation();
            let redial = Control::Redial { peer, incarnation, prompt: false };
            self.local.shared.mailboxes[shard].tell(redial);
        }
    }

    /// Takes on the settings that are in force now.
    fn reload(self: &Rc<Self>) {
        let local = &self.local;
        let settings = local.shared.settings();
        local.buffers.borrow_mut().set_budget(settings.limits.receive_budget);
        local.admission.borrow_mut().lanes.set_capacity(settings.limits.preauth_connections);
        let policy = settings.policy();
        let began = local.policy.replace(policy) == Policy::Off;
        local.each_link(|link| {
            let (authenticated, role) = (link.owner.authenticated(), link.owner.role());
            if !settings.permits(link.peer, authenticated) {
                link.end(Reason::Reload);
            } else if !authenticated && policy != Policy::Off && (began || role == Role::Dialer) {
                // Only a new handshake can tell whether both ends authenticate by now.
                link.drain(Reason::Reload, Instant::now() + RENEWAL);
            }
        });
        self.dial_roster();
        if local.shard == 0 && settings.retired_links == RetiredLinks::Reconnect {
            // A renewal that is under way is dropped: the new one sees what it would have seen.
            *local.renewal.borrow_mut() = Some(runtime::spawn(upkeep::renew(self.clone())));
        }
    }

    /// Sees to it that exactly the roster's higher ids are dialled, those without a link now.
    fn dial_roster(self: &Rc<Self>) {
        let wanted = self.local.peers_to_dial(&self.local.shared.settings());
        let mut connectors = self.local.connectors.borrow_mut();
        connectors.retain(|peer, _| wanted.contains(peer));
        for peer in wanted {
            let connector = connectors.entry(peer).or_insert_with(|| {
                let signal = Rc::new(Signal::default());
                let task = runtime::spawn(connector::run(self.clone(), peer, signal.clone()));
                Connector { signal, task }
            });
            connector.signal.hurry();
        }
    }

    /// Lets every link write what it has accepted, until `deadline`.
    async fn end_links(self: &Rc<Self>, deadline: Instant) {
        self.local.each_link(|link| link.drain(Reason::Shutdown, deadline));
        while self.local.links.borrow().iter().any(Option::is_some) {
            self.serve_mailbox();
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }
}
