//! Dials the replicas with higher ids and keeps dialling.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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
use crate::registry::LastReason;
use crate::resolver::Resolver;
use crate::runtime::{self, Stream};
use crate::shard::Core;

/// Tells connectors that the links they have made are over.
#[derive(Debug, Default)]
pub(crate) struct Redials(RefCell<BTreeMap<ReplicaId, Rc<Signal>>>);

#[derive(Debug, Default)]
struct Signal {
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Redials {
    /// The link to `peer` that a connector of this shard made is over.
    pub(crate) fn link_ended(&self, peer: ReplicaId) {
        if let Some(signal) = self.0.borrow().get(&peer) {
            signal.ended.set(true);
            if let Some(waker) = signal.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn signal(&self, peer: ReplicaId) -> Rc<Signal> {
        self.0.borrow_mut().entry(peer).or_default().clone()
    }
}

impl Signal {
    async fn wait(&self) {
        poll_fn(|cx| {
            if self.ended.take() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Keeps one higher replica linked until it is cancelled.
pub(crate) async fn run<H: Handler>(core: Rc<Core<H>>, peer: ReplicaId) {
    let local = &core.local;
    let shared = &local.shared;
    let signal = local.redials.signal(peer);
    let mut backoff = Backoff::new(shared.limits.reconnect_period);
    let mut resolver = Resolver::default();
    loop {
        let began = Instant::now();
        let result = attempt(&core, peer, &mut resolver).await;
        let word = result.as_ref().map_or_else(|failure| failure.result, |()| HandshakeResult::Ok);
        local.metrics().handshake(Role::Dialer, word, began.elapsed());
        match result {
            Ok(()) => {
                let up = Instant::now();
                signal.wait().await;
                backoff.link_lasted(up.elapsed());
            }
            Err(failure) => {
                shared.slot(peer).note_reason(LastReason::Handshake(failure.result));
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
        runtime::sleep(backoff.next(u32::from_le_bytes(random))).await;
        local.metrics().reconnects.add(1);
    }
}

/// Makes one link, or says why not.
async fn attempt<H: Handler>(
    core: &Rc<Core<H>>,
    peer: ReplicaId,
    resolver: &mut Resolver,
) -> Result<(), Failure> {
    let local = &core.local;
    let shared = &local.shared;
    let deadline = Instant::now() + shared.limits.handshake_grace;
    let mut stream = connect(core, peer, resolver, deadline).await?;
    let (outcome, early) = handshake::dial(shared, &mut stream, peer, deadline).await?;
    if let Some(leniency) = outcome.leniency() {
        tracing::warn!(
            peer = peer.get(),
            shard = local.shard,
            role = Role::Dialer.as_str(),
            reason = leniency.as_str(),
            "linked, though enforcing would refuse it"
        );
        shared.note_leniency(local.shard, leniency);
    }
    // Nobody else makes links to a higher replica, so the peer is vacant.
    let owner = shared
        .claim(peer, Role::Dialer, outcome.authenticated())
        .map_err(|holder| io::Error::other(format!("the peer has a link already: {holder:?}")))?;
    core.place(Handoff { socket: stream, owner, outcome, dialed_by: Some(local.shard), early });
    Ok(())
}

/// Connects to the first of the peer's addresses that answers.
async fn connect<H: Handler>(
    core: &Rc<Core<H>>,
    peer: ReplicaId,
    resolver: &mut Resolver,
    deadline: Instant,
) -> io::Result<Stream> {
    let Some(address) = core.local.shared.roster.get(peer) else {
        return Err(io::Error::other("the replica has left the roster"));
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{address} has no address"));
    for socket in resolver.resolve(address, deadline).await? {
        match runtime::connect(socket, deadline).await {
            Ok(stream) => {
                stream.configure()?;
                return Ok(stream);
            }
            Err(error) => last = io::Error::new(error.kind(), format!("{socket}: {error}")),
        }
    }
    Err(last)
}
