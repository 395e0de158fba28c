//! The reference: an acceptor with one cap that all connections share until they are authenticated.
//!
//! One tokio thread accepts. A connection takes one of [`CAP`] places the moment it is accepted,
//! before a byte is read, and gives it back when its handshake has ended, one way or the other; one
//! that finds no place is closed at once. A handshake may take [`GRACE`], whoever it is with. The
//! handshake itself is the bus's own, by `ringseal-auth`; a link sends back what it receives, up to
//! 64 KiB at a time. There is nothing else: no registry of links, no frames taken apart, so what it
//! does beside admitting costs less than a bus does.

use std::net::Ipv4Addr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ringseal_auth::{Acceptor, HelloStep, KeyRing};
use ringseal_wire::{HEADER_LEN, HeaderView, ReplicaId};
use rustix::thread::gettid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::cluster::{self, Cluster, LINKED, PLAIN, TAGGED, TARGET};
use super::target::{Listening, START};

/// How many connections may be in their handshake.
const CAP: usize = 256;

/// How long a handshake may take.
const GRACE: Duration = Duration::from_secs(10);

/// How long accepting rests after an error.
const REST: Duration = Duration::from_millis(50);

/// Starts the acceptor on a thread of its own, where it runs until the process ends.
pub(super) fn start(cluster: &Cluster) -> Result<Listening> {
    let keys = Arc::new(cluster.keys()?);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let Err(error) = serve(&keys, &tell);
        eprintln!("the reference has ended: {error:#}");
    });
    told.recv_timeout(START).context("the reference does not start")
}

fn serve(keys: &Arc<KeyRing>, tell: &mpsc::Sender<Listening>) -> Result<std::convert::Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let thread = gettid().as_raw_nonzero().get();
        tell.send(Listening { address: listener.local_addr()?, thread })?;
        let places = Arc::new(Semaphore::new(CAP));
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(REST).await;
                continue;
            };
            // The newest is turned away: dropping it closes it.
            if let Ok(place) = places.clone().try_acquire_owned() {
                tokio::spawn(greet(stream, keys.clone(), place));
            }
        }
    })
}

async fn greet(mut stream: TcpStream, keys: Arc<KeyRing>, place: OwnedSemaphorePermit) {
    let admitted = timeout(GRACE, shake_hands(&mut stream, &keys)).await;
    drop(place);
    if let Ok(Ok(())) = admitted {
        // How a link ends is of no interest here.
        echo(stream).await.unwrap_or_default();
    }
}

async fn shake_hands(stream: &mut TcpStream, keys: &KeyRing) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut frame = [0; HEADER_LEN];
    stream.read_exact(&mut frame).await?;
    let nonce = cluster::nonce()?;
    let in_roster = |id: ReplicaId| {
        let id = id.get();
        id == LINKED || PLAIN.contains(&id) || TAGGED.contains(&id)
    };
    let acceptor = Acceptor::new(cluster::identity(keys, TARGET));
    match acceptor.on_hello(HeaderView::new(&frame), in_roster, || nonce) {
        HelloStep::Challenge { frame: challenge, next } => {
            stream.write_all(challenge.as_bytes()).await?;
            stream.read_exact(&mut frame).await?;
            next.on_finish(HeaderView::new(&frame))?;
            Ok(())
        }
        HelloStep::Refused { answer: Some(answer), error } => {
            stream.write_all(answer.as_bytes()).await?;
            Err(error.into())
        }
        HelloStep::Refused { answer: None, error } => Err(error.into()),
        HelloStep::Admitted(_) => bail!("nobody is admitted without a proof"),
    }
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => stream.write_all(&buffer[..read]).await?,
        }
    }
}
