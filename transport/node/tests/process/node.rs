//! `ringseal node` as a child process, and its HTTP as a client sees it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ringseal_tests::address;
use ringseal_tests::cluster::{PATIENCE, wait_for, wait_until};
use ringseal_tests::target::CLUSTER;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::child::{Process, ringseal};

/// The secret that the strangers and replicas of `ringseal-tests` hold.
pub(crate) const SECRET: &str = "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";

/// What a node is to be: the tables of its configuration file.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) cluster: &'static str,
    pub(crate) id: u8,
    pub(crate) replicas: Vec<(u8, SocketAddr)>,
    pub(crate) auth: String,
    pub(crate) bus: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) http: SocketAddr,
}

impl Plan {
    /// An echo on one shard that knows the cluster's secret.
    pub(crate) fn new(id: u8, replicas: &[(u8, SocketAddr)]) -> Self {
        Self {
            cluster: CLUSTER,
            id,
            replicas: replicas.to_vec(),
            auth: format!("shared_secret = \"{SECRET}\""),
            bus: "",
            handler: "echo",
            http: address::unused(),
        }
    }

    /// Replica 1 of a cluster whose replica 0 is a stranger, who dials it.
    pub(crate) fn for_a_stranger() -> Self {
        Self::new(1, &[(0, address::unused()), (1, address::unused())])
    }

    pub(crate) fn auth(self, auth: impl Into<String>) -> Self {
        Self { auth: auth.into(), ..self }
    }

    pub(crate) fn bus(self, bus: &'static str) -> Self {
        Self { bus, ..self }
    }

    /// Where the node listens for its peers.
    pub(crate) fn address(&self) -> SocketAddr {
        let own = self.replicas.iter().find(|(id, _)| *id == self.id);
        own.expect("the node is in its roster").1
    }

    pub(crate) fn to_toml(&self) -> String {
        let Self { cluster, id, auth, bus, handler, http, .. } = self;
        let mut text = format!("[cluster]\nname = \"{cluster}\"\nreplica = {id}\n");
        for (id, address) in &self.replicas {
            text += &format!("[[cluster.replicas]]\nid = {id}\naddress = \"{address}\"\n");
        }
        text + &format!(
            "[cluster.auth]\n{auth}\n\
             [bus]\nshards = 1\nreconnect_period = \"100ms\"\n{bus}\n\
             [node]\nhandler = \"{handler}\"\n[http]\nlisten = \"{http}\"\n"
        )
    }

    /// Writes the configuration file.
    pub(crate) fn write(&self) -> Written {
        Written::new(&self.to_toml())
    }
}

/// A configuration file in a directory of its own.
#[derive(Debug)]
pub(crate) struct Written {
    directory: TempDir,
}

impl Written {
    pub(crate) fn new(text: &str) -> Self {
        let written = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::write(written.file(), text).expect("the directory is ours");
        written
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.beside("node.toml")
    }

    /// The path of another file in the same directory.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) plan: Plan,
    pub(crate) process: Process,
    written: Written,
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(crate) fn start(plan: Plan) -> Self {
        Self::start_from(plan.write(), plan, &[])
    }

    /// Starts a node from a file and an environment that `plan` sums up.
    pub(crate) fn start_from(written: Written, plan: Plan, environment: &[(&str, &str)]) -> Self {
        let process = supervise(&written, environment, &[NO_ROOM]);
        Self { plan, process, written }.serving()
    }

    fn serving(mut self) -> Self {
        wait_until("the node serves and its shards listen", || {
            assert!(self.process.is_running(), "the node has ended");
            // It may not be ready yet, for want of peers.
            let answer = self.try_get("/health/ready");
            answer.is_some_and(|answer| !answer.body.ends_with("shards listen\n"))
        });
        self
    }

    /// Kills the node as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        assert_eq!(self.process.wait(), None, "a signal ended it");
    }

    /// Starts it again after it has ended in good order, at once and on the same ports.
    pub(crate) fn restart(self) -> Self {
        self.start_again(&[NO_ROOM])
    }

    /// Starts it again after it was killed. The kernel takes a killed process's io_uring apart after
    /// the process has ended, and until then the port may still be taken.
    pub(crate) fn revive(self) -> Self {
        self.start_again(&[NO_ROOM, "in use"])
    }

    fn start_again(self, expected: &[&str]) -> Self {
        let Self { plan, mut process, written } = self;
        assert!(!process.is_running());
        let process = supervise(&written, &[], expected);
        Self { plan, process, written }.serving()
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.written.file()
    }

    /// The path of another file beside the configuration file.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.written.beside(name)
    }

    /// Asks for a path.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("the node answers")
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        ask(self.plan.http, "GET", path)
    }

    /// The answer of `/peers`.
    pub(crate) fn peers(&self) -> Value {
        serde_json::from_str(&self.get("/peers").body).expect("JSON")
    }

    /// One entry of `/peers`.
    pub(crate) fn peer(&self, id: u8) -> Value {
        let answer = self.peers();
        let peers = answer["peers"].as_array().expect("a list");
        peers.iter().find(|peer| peer["id"] == id).expect("it is in the roster").clone()
    }

    pub(crate) fn is_linked(&self, id: u8) -> bool {
        self.peer(id)["state"] == "up"
    }

    /// Waits until every other replica is linked.
    pub(crate) fn wait_for_all(&self) {
        wait_until("every link is up", || {
            let answer = self.peers();
            answer["peers"].as_array().expect("a list").iter().all(|peer| peer["state"] == "up")
        });
    }

    /// The value of a metric with exactly these labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        value.parse().expect("a whole number")
    }

    pub(crate) fn wait_for_metric(&self, name: &str, condition: impl Fn(u64) -> bool) -> u64 {
        wait_for(name, || Some(self.metric(name)).filter(|value| condition(*value)))
    }

    /// Ends the node in good order; its files stay.
    pub(crate) fn end(&mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.wait(), Some(0), "{}", self.process.stderr());
    }

    /// Ends the node in good order.
    pub(crate) fn stop(mut self) -> Process {
        self.end();
        self.process
    }
}

/// Why a shard may not start while many others run: all of a user's processes share what memory may be
/// locked.
pub(crate) const NO_ROOM: &str = "locked memory";

/// Starts a node as a supervisor does: again and again, if it ends for one of the `expected` reasons.
fn supervise(written: &Written, environment: &[(&str, &str)], expected: &[&str]) -> Process {
    wait_for("the node runs", || {
        let mut command = ringseal();
        command.arg("node").arg("--config").arg(written.file());
        let mut process = Process::spawn(command.envs(environment.iter().copied()));
        wait_until("the node runs or ends", || {
            process.stderr().contains("the node runs") || !process.is_running()
        });
        let running = process.is_running();
        let error = process.stderr();
        assert!(running || expected.iter().any(|reason| error.contains(reason)), "{error}");
        running.then_some(process)
    })
}

/// An answer to an HTTP request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Makes a request on a connection of its own; nothing if there is nobody to answer it.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}
