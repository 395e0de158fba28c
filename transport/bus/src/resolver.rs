//! Turns names into addresses without making a shard wait.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use crate::roster::Address;
use crate::runtime;

/// Resolves one peer's name, on a thread that lives as long as the question. A question that the
/// system has not answered by its deadline is waited for again instead of asked again, so a resolver
/// that hangs costs one thread per peer and no more.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    pending: Option<Arc<Mutex<Answer>>>,
}

#[derive(Debug, Default)]
struct Answer {
    addresses: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

impl Resolver {
    /// The socket addresses behind `address`, in the resolver's order.
    ///
    /// # Errors
    ///
    /// What the system's resolver says, or [`TimedOut`](io::ErrorKind::TimedOut).
    pub(crate) async fn resolve(
        &mut self,
        address: &Address,
        deadline: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match address {
            Address::Socket(socket) => return Ok(vec![*socket]),
            Address::Name { host, port } => (host, *port),
        };
        let answer = match self.pending.take() {
            Some(answer) => answer,
            None => ask(host.clone(), port)?,
        };
        let arrived = poll_fn(|cx| {
            let mut answer = answer.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(addresses) = answer.addresses.take() {
                return Poll::Ready(addresses);
            }
            answer.waker = Some(cx.waker().clone());
            Poll::Pending
        });
        let Some(addresses) = runtime::until(deadline, arrived).await else {
            self.pending = Some(answer);
            let message = format!("{host} was not resolved in time");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        addresses.map_err(|error| io::Error::new(error.kind(), format!("{host}: {error}")))
    }
}

fn ask(host: String, port: u16) -> io::Result<Arc<Mutex<Answer>>> {
    let answer = Arc::new(Mutex::new(Answer::default()));
    let theirs = answer.clone();
    thread::Builder::new().name("ringseal-dns".to_owned()).spawn(move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let mut answer = theirs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        answer.addresses = Some(addresses);
        if let Some(waker) = answer.waker.take() {
            waker.wake();
        }
    })?;
    Ok(answer)
}
