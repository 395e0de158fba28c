//! The port: opened by every shard, accepted from by every shard.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringseal_auth::{HandshakeResult, Outcome};
use ringseal_wire::ReplicaId;
use socket2::{Domain, Protocol, Socket, Type};

use crate::contest;
use crate::error::Reason;
use crate::handler::Handler;
use crate::handoff::{Early, Handoff};
use crate::handshake::{self, Failure};
use crate::metrics::Role;
use crate::runtime::{self, Listener, Stream};
use crate::settings::KeyId;
use crate::shard::Core;
use crate::slot::LastReason;

/// How many connections may wait to be accepted, per shard.
const BACKLOG: i32 = 1024;

/// How long accepting rests after an error, such as having no descriptor left.
const REST: Duration = Duration::from_millis(50);

/// Opens `address` once for each shard. The first socket is bound alone, so a port that another
/// process has is an error; only then it lets its siblings in beside it.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn open(address: SocketAddr, shards: usize) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
    let socket = || Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let first = socket()?;
    first.set_reuse_address(true)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![OwnedFd::from(first)];
    for _ in 1..shards {
        let sibling = socket()?;
        sibling.set_reuse_address(true)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&bound)?;
        sibling.listen(BACKLOG)?;
        listeners.push(sibling.into());
    }
    let bound = bound.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((listeners, bound))
}

/// Accepts connections until it is cancelled.
pub(crate) async fn run<H: Handler>(core: Rc<Core<H>>, listener: Listener) {
    let local = &core.local;
    local.metrics().listening.set(1);
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let greet = |entry| runtime::spawn(greet(core.clone(), stream, entry));
                if local.admission.borrow_mut().enter(greet) {
                    let result = HandshakeResult::Evicted;
                    local.metrics().handshake(Role::Acceptor, result, Duration::ZERO);
                    local.shared.refused(Role::Acceptor, None, None, result.as_str());
                }
                local.show_waiting();
            }
            Err(error) => {
                let errors = &local.metrics().accept_errors;
                errors.add(1);
                // A log line each time would be one every 50 ms for as long as it lasts.
                if errors.get().is_power_of_two() {
                    tracing::warn!(shard = local.shard, %error, "cannot accept; trying again");
                }
                runtime::sleep(REST).await;
            }
        }
    }
}

/// Takes one connection from its first byte to its shard, or to its refusal.
async fn greet<H: Handler>(core: Rc<Core<H>>, mut stream: Stream, entry: u64) {
    let local = &core.local;
    let began = Instant::now();
    let settings = local.shared.settings();
    let result = match stream.configure() {
        Ok(()) => handshake::accept(&local.shared, &settings, &mut stream, began).await,
        Err(error) => Err(Failure::from(error)),
    };
    let word = result.as_ref().map_or_else(|failure| failure.result, |_| HandshakeResult::Ok);
    local.metrics().handshake(Role::Acceptor, word, began.elapsed());
    local.admission.borrow_mut().decided(entry);
    local.show_waiting();
    match result {
        Ok(outcome) => {
            local.shared.slot(outcome.peer()).handshakes.add(began.elapsed());
            let key = settings.key_id(outcome.key());
            settle(&core, stream, outcome, key).await;
        }
        Err(failure) => {
            if let Some(peer) = failure.peer {
                local.shared.slot(peer).note_reason(LastReason::Handshake(failure.result));
            }
            let (from, reason) = (stream.peer_addr(), failure.result.as_str());
            local.shared.refused(Role::Acceptor, failure.peer, from, reason);
            tracing::info!(
                peer = failure.peer.map(ReplicaId::get),
                from = stream.peer_addr().map(tracing::field::display),
                shard = local.shard,
                role = Role::Acceptor.as_str(),
                reason = failure.result.as_str(),
                "handshake failed: {failure}"
            );
            stream.finish();
            stream.discard_input();
        }
    }
    local.admission.borrow_mut().leave(entry);
}

/// Makes a link of a connection whose handshake has succeeded, unless the peer has a living one.
async fn settle<H: Handler>(core: &Rc<Core<H>>, stream: Stream, outcome: Outcome, key: KeyId) {
    let local = &core.local;
    let peer = outcome.peer();
    if let Some(leniency) = outcome.leniency() {
        tracing::warn!(
            peer = peer.get(),
            shard = local.shard,
            role = Role::Acceptor.as_str(),
            reason = leniency.as_str(),
            "admitted, though enforcing would refuse it"
        );
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
            tracing::info!(
                peer = peer.get(),
                shard = local.shard,
                role = Role::Acceptor.as_str(),
                reason = Reason::Duplicate.as_str(),
                "newcomer closed: the peer has a link that is alive"
            );
            stream.finish();
            stream.discard_input();
        }
    }
}
