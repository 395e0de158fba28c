//! HTTP for operators and Prometheus, on a thread of its own.
//!
//! Nothing here runs on a shard, and nothing here can hold a shard up: every answer is made of a
//! snapshot of counters.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ringseal::{Address, ReplicaId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use crate::metrics::{self, Snapshot};
use crate::page;
use crate::status::{Node, Peers, readiness};

/// How many connections are served at a time; others wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a client may take over the head of a request, idling included: short, so that clients
/// who only connect do not keep a health check out for long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection is kept at most, so that one that does not read is not kept for ever.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// How many header lines a request may have.
const HEADERS: usize = 64;
/// How long answers under way may take once the server is told to stop.
const DRAIN: Duration = Duration::from_millis(500);
/// How long to wait after an error while accepting, which is mostly a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the answers are made of.
#[derive(Debug)]
pub struct Subject<N> {
    /// The cluster's name.
    pub cluster: String,
    /// Our own id.
    pub replica: ReplicaId,
    /// The node itself.
    pub node: N,
}

/// A running server. It stops when it is dropped, or with a word about it by [`stop`](Self::stop).
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    local_addr: SocketAddr,
}

/// Opens the port.
///
/// # Errors
///
/// The name does not resolve, or the port is not to be had.
pub fn bind(address: &Address) -> io::Result<StdListener> {
    let candidates: Vec<SocketAddr> = match address {
        Address::Socket(socket) => vec![*socket],
        Address::Name { host, port } => (host.as_str(), *port).to_socket_addrs()?.collect(),
    };
    let listener = StdListener::bind(candidates.as_slice())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves an open port from a new thread.
///
/// # Errors
///
/// The system gives no thread or no descriptor for its runtime.
pub fn serve<N: Node>(listener: StdListener, subject: Subject<N>) -> io::Result<Server> {
    let local_addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let router = router(subject);
    let thread = std::thread::Builder::new().name("ringseal-http".to_owned()).spawn(move || {
        runtime.block_on(accept(listener, router, stopped));
    })?;
    Ok(Server { stop: Some(stop), thread: Some(thread), local_addr })
}

impl Server {
    /// Where the server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Finishes the answers under way, for half a second at most, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread had panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn router<N: Node>(subject: Subject<N>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/health", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready::<N>))
        .route("/metrics", get(scrape::<N>))
        .route("/peers", get(peers::<N>))
        .with_state(Arc::new(subject))
}

async fn index() -> Response {
    match page::page() {
        Ok(page) => page.into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("no randomness: {error}\n")).into_response()
        }
    }
}

async fn ready<N: Node>(State(subject): State<Arc<Subject<N>>>) -> impl IntoResponse {
    // The roster may change while the node runs.
    let replicas = subject.node.peers().len() + 1;
    match readiness(&subject.node.metrics(), replicas) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn scrape<N: Node>(State(subject): State<Arc<Subject<N>>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, metrics::render(Snapshot::of(&subject.node)))
}

async fn peers<N: Node>(State(subject): State<Arc<Subject<N>>>) -> impl IntoResponse {
    let metrics = subject.node.metrics();
    let answer = Peers {
        cluster: &subject.cluster,
        replica: subject.replica.get(),
        safe_to_enforce: metrics.safe_to_enforce,
        last_lenient: metrics.last_lenient.map(ReplicaId::get),
        peers: subject.node.peers(),
    };
    Json(answer).into_response()
}

/// Accepts until told to stop, and then lets the answers under way finish.
async fn accept(listener: TcpListener, router: Router, mut stopped: oneshot::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            _ = &mut stopped => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = graceful.watch(connection(stream, router.clone()));
                tokio::spawn(async move {
                    let _place = place;
                    // An error here is the client's, and there is nobody else to tell.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "HTTP cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use ringseal::Metrics;

    use super::*;
    use crate::status::{Peer, PeerTimes};

    struct Fake(u64);

    impl Node for Fake {
        fn metrics(&self) -> Metrics {
            let mut metrics = Metrics::default();
            metrics.shards = 1;
            metrics.shards_listening = 1;
            metrics.links_up = self.0;
            metrics
        }

        fn peers(&self) -> Vec<Peer> {
            vec![Peer {
                id: 2,
                address: "127.0.0.1:7002".to_owned(),
                state: "down",
                direction: "outbound",
                shard: None,
                authenticated: false,
                since_ms: 1,
                frames_in: 2,
                frames_out: 3,
                bytes_in: 4,
                bytes_out: 5,
                outbox: 6,
                rtt_us: Some(7),
                last_reason: Some("eof"),
            }]
        }

        fn peer_times(&self) -> Vec<PeerTimes> {
            vec![PeerTimes { id: 2, ..PeerTimes::default() }]
        }

        fn audit_missed(&self) -> Option<u64> {
            None
        }
    }

    fn start(links_up: u64) -> Server {
        let listener = bind(&"127.0.0.1:0".parse().expect("address")).expect("a free port");
        let replica = ReplicaId::new(1);
        let subject = Subject { cluster: "orders".to_owned(), replica, node: Fake(links_up) };
        serve(listener, subject).expect("a thread")
    }

    fn get(server: &Server, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(server.local_addr()).expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn health_and_readiness_are_two_things() {
        let lonely = start(0);
        assert!(get(&lonely, "/health").0.starts_with("HTTP/1.1 200"));
        let (head, body) = get(&lonely, "/health/ready");
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert_eq!(body, "1 of 2 replicas are here, ourselves included; a majority is 2\n");
        let linked = start(1);
        assert!(get(&linked, "/health/ready").0.starts_with("HTTP/1.1 200"));
        assert!(get(&linked, "/nothing").0.starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn metrics_and_peers_are_what_their_types_say() {
        let server = start(1);
        let (head, body) = get(&server, "/metrics");
        assert!(head.contains(metrics::CONTENT_TYPE), "{head}");
        assert!(body.contains("ringseal_links_up 1\n"), "{body}");
        let (head, body) = get(&server, "/peers");
        assert!(head.contains("application/json"), "{head}");
        assert_eq!(
            body,
            "{\"cluster\":\"orders\",\"replica\":1,\"safe_to_enforce\":false,\"last_lenient\":null,\"peers\":[{\"id\":2,\
             \"address\":\"127.0.0.1:7002\",\"state\":\"down\",\"direction\":\"outbound\",\
             \"shard\":null,\"authenticated\":false,\"since_ms\":1,\"frames_in\":2,\"frames_out\":3,\
             \"bytes_in\":4,\"bytes_out\":5,\"outbox\":6,\"rtt_us\":7,\"last_reason\":\"eof\"}]}"
        );
    }

    #[test]
    fn a_head_beyond_all_bounds_ends_its_connection_and_no_other() {
        let server = start(1);
        let mut stream = TcpStream::connect(server.local_addr()).expect("connected");
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nx: ");
        let _ = stream.write_all(&vec![b'a'; 4 * HEAD_BYTES]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        assert!(get(&server, "/health").0.starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn stopping_does_not_wait_for_idle_clients_and_frees_the_port() {
        let server = start(1);
        let address = server.local_addr();
        let _idle = TcpStream::connect(address).expect("connected");
        let begun = std::time::Instant::now();
        server.stop();
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let server = start(1);
        let error = bind(&server.local_addr().into()).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
