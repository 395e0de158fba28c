//! Dials the replicas with higher ids and keeps dialling.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use ringseal_auth::HandshakeResult;
use ringseal_wire::ReplicaId;

use crate::backoff::Backoff;
use crate::handler::Handler;
use crate::handoff::Handoff;
use crate::handshake::{self, Failure};
use crate::metrics::Role;
use crate::registry::Shared;
use crate::resolver::Resolver;
use crate::roster::Address;
use crate::runtime::{self, Stream};
use crate::settings::Settings;
use crate::shard::Core;
use crate::slot::LastReason;

/// What a shard tells its connectors.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// The link that has ended last, and whether it was ended to be made anew.
    ended: Cell<Option<(u64, bool)>>,
    hurry: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// The link that the connector has made is over; `prompt` when it was ended to be made anew.
    pub(crate) fn link_ended(&self, incarnation: u64, prompt: bool) {
        self.ended.set(Some((incarnation, prompt)));
        self.wake();
    }

    /// There is reason to dial now and not after the wait.
    pub(crate) fn hurry(&self) {
        self.hurry.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn wait<T>(&self, ready: impl Fn() -> Option<T>) -> T {
        poll_fn(|cx| {
            if let Some(ready) = ready() {
                return Poll::Ready(ready);
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits for the end of a link; true when it was ended to be made anew.
    async fn end_of(&self, incarnation: u64) -> bool {
        let ended = || self.ended.get().filter(|(ended, _)| *ended == incarnation);
        self.wait(ended).await.1
    }

    async fn hurried(&self) {
        self.wait(|| self.hurry.take().then_some(())).await;
    }
}

/// Keeps one higher replica linked until it is cancelled.
pub(crate) async fn run<H: Handler>(core: Rc<Core<H>>, peer: ReplicaId, signal: Rc<Signal>) {
    let local = &core.local;
    let shared = &local.shared;
    let mut backoff = Backoff::new();
    let mut resolver = Resolver::default();
    loop {
        signal.hurry.set(false);
        let began = Instant::now();
        let result = attempt(&core, peer, &mut resolver).await;
        let word = result.as_ref().map_or_else(|failure| failure.result, |_| HandshakeResult::Ok);
        local.metrics().handshake(Role::Dialer, word, began.elapsed());
        match result {
            Ok(incarnation) => {
                shared.slot(peer).handshakes.add(began.elapsed());
                let up = Instant::now();
                if signal.end_of(incarnation).await {
                    backoff = Backoff::new();
                }
                backoff.link_lasted(shared.settings().limits.reconnect_period, up.elapsed());
            }
            Err(failure) => {
                shared.slot(peer).note_reason(LastReason::Handshake(failure.result));
                let address = shared.settings().roster.get(peer).and_then(Address::socket);
                shared.refused(Role::Dialer, Some(peer), address, failure.result.as_str());
                tracing::info!(
                    peer = peer.get(),
                    shard = local.shard,
                    role = Role::Dialer.as_str(),
                    reason = failure.result.as_str(),
                    "dial failed: {failure}"
                );
            }
        }
        let mut random = [0; 4];
        // Without randomness every replica waits alike, which is worse and not wrong.
        let _ = shared.environment.random(&mut random);
        let period = shared.settings().limits.reconnect_period;
        let wait = backoff.next(period, u32::from_le_bytes(random));
        let _ = runtime::until(Instant::now() + wait, signal.hurried()).await;
        local.metrics().reconnects.add(1);
    }
}

/// Makes one link and returns its incarnation, or says why not.
async fn attempt<H: Handler>(
    core: &Rc<Core<H>>,
    peer: ReplicaId,
    resolver: &mut Resolver,
) -> Result<u64, Failure> {
    let local = &core.local;
    let shared = &local.shared;
    let settings = shared.settings();
    let deadline = Instant::now() + settings.limits.handshake_grace;
    let mut stream = connect(shared, &settings, resolver, (peer, deadline)).await?;
    let (outcome, early) =
        handshake::dial(shared, &settings, &mut stream, (peer, deadline)).await?;
    if let Some(leniency) = outcome.leniency() {
        tracing::warn!(
            peer = peer.get(),
            shard = local.shard,
            role = Role::Dialer.as_str(),
            reason = leniency.as_str(),
            "linked, though enforcing would refuse it"
        );
        shared.note_leniency(local.shard, peer, leniency);
    }
    // Nobody else makes links to a higher replica, so the peer is vacant.
    let owner = shared
        .claim(peer, Role::Dialer, outcome.authenticated())
        .map_err(|holder| io::Error::other(format!("the peer has a link already: {holder:?}")))?;
    let (key, dialed_by) = (settings.key_id(outcome.key()), Some(local.shard));
    core.place(Handoff { socket: stream, owner, outcome, key, dialed_by, early });
    Ok(owner.incarnation())
}

/// Connects to the first of the peer's addresses that answers.
async fn connect(
    shared: &Shared,
    settings: &Settings,
    resolver: &mut Resolver,
    (peer, deadline): (ReplicaId, Instant),
) -> io::Result<Stream> {
    let Some(address) = settings.roster.get(peer) else {
        return Err(io::Error::other("the replica has left the roster"));
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    let sockets = resolver.resolve(address, deadline).await?;
    shared.sources.found(peer, address, &sockets);
    for socket in sockets {
        match runtime::connect(socket, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{socket}: {error}")),
        }
    }
    Err(last)
}
