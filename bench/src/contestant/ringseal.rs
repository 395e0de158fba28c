//! `ringseal`: the real bus on both ends, every peer authenticated.
//!
//! A frame goes `send` -> outbox -> socket -> deframer -> handler -> `send` and back. The server is
//! one [`Bus`]. The client has a bus for each link, because a pair of replicas has one link, and they
//! share a thread.
//!
//! In the connecting shapes the accepting end is the bus; the dialing end is a blocking socket, as
//! it is for every contestant that shakes hands.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use ringseal::auth::Secret;
use ringseal::{
    Auth, Bus, Config, Enforcement, Flow, Frame, FrameView, Handler, HeaderView, KeyRing, Limits,
    Link, Mesh, Reason, ReplicaId, Roster, SendErrorKind, Shard, Transcript,
};
use ringseal_wire::Deframer;

use super::blocking::{Connects, Dial};
use super::{Client, Contestant, Listening, Scene, in_memory};
use crate::fixture::{self, Cluster};
use crate::frame::{self, HEADER, LARGEST};
use crate::measure::{Latencies, Outcome, Run};
use crate::shape::{Shape, Traffic};
use crate::window::{self, Answer, Answerer, Deadline, Window};

/// The accepting replica: the highest id, so that every other one dials it.
const SERVER: ReplicaId = ReplicaId::new(255);

/// How long a link may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bus, parked or spinning when it has nothing to do.
pub(super) struct Ringseal {
    name: &'static str,
    spin: Duration,
}

impl Ringseal {
    /// As it comes.
    pub(super) const PARKING: Self = Self { name: "ringseal", spin: Duration::ZERO };

    /// Both ends spin before they park: for round trips on cores that have nothing else to do.
    pub(super) const SPINNING: Self =
        Self { name: "ringseal-spin", spin: Duration::from_millis(1) };

    fn config(&self, scene: &Scene, replica: ReplicaId, server: SocketAddr) -> Result<Config> {
        let any: SocketAddr = "127.0.0.1:0".parse()?;
        // A client knows the server alone, or it would dial the higher ones of the other clients.
        let clients = match replica {
            SERVER => 0..SERVER.get(),
            client => client.get()..client.get() + 1,
        };
        let clients = clients.map(|id| (ReplicaId::new(id), any.into()));
        let roster = Roster::new(clients.chain([(SERVER, server.into())]))?;
        let secret = Secret::new(scene.material.psk.to_vec())?;
        let auth = Auth::On {
            keys: KeyRing::new(&secret, None),
            enforcement: Enforcement::Enforce,
            transcript: Transcript::Current,
        };
        let window = scene.shape.traffic().map_or(1, |traffic| traffic.window);
        let outbox_frames = u32::try_from(window.max(64))?;
        Ok(Config::new("bench", replica, roster, auth)?
            .with_limits(Limits { outbox_frames, ..Limits::default() })?
            .with_shards(1)?
            .with_spin(self.spin)?)
    }
}

impl Contestant for Ringseal {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, shape: Shape) -> bool {
        self.spin.is_zero() || matches!(shape, Shape::RoundTrip { .. })
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let traffic = scene.shape.traffic();
        let shards = traffic.map_or(1, |traffic| traffic.shards);
        let config = self.config(scene, SERVER, "127.0.0.1:0".parse()?)?.with_shards(shards)?;
        let crossing = (shards > 1).then(Arc::<Crossing>::default);
        let bus = Bus::start(config, move |shard| {
            let answerer = traffic.map_or(Answerer::Echo, |traffic| Answerer::new(&traffic));
            Server { answerer, shard, crossing: crossing.clone() }
        })?;
        listening(bus.local_addr())?;
        loop {
            thread::park();
        }
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let Some(traffic) = scene.shape.traffic() else {
            let at_once = scene.shape.at_once().context("a shape without traffic connects")?;
            let dialer = |id| -> Result<Box<dyn Dial>> {
                let (cluster, id) = (Cluster::new(&scene.material.psk)?, u8::try_from(id)?);
                Ok(Box::new(Dialer { cluster, replica: ReplicaId::new(id) }))
            };
            let dialers = (0..at_once).map(dialer).collect::<Result<_>>()?;
            return Ok(Box::new(Connects::new(server, dialers)));
        };
        let bus = |id| -> Result<_> {
            let replica = ReplicaId::new(u8::try_from(id)?);
            Ok(Mesh::new(self.config(scene, replica, server)?)?)
        };
        let buses = (0..traffic.links).map(bus).collect::<Result<_>>()?;
        Ok(Box::new(Links::start(traffic, self.spin, buses)?))
    }

    fn alone(&self, scene: &Scene) -> Result<Box<dyn Client>> {
        in_memory::prepare(scene)
    }
}

/// The whole frame in `bytes`, as the bus sends it.
fn to_frame(bytes: &Bytes) -> Result<Frame> {
    let mut deframer = Deframer::new(LARGEST as u32);
    deframer.feed(bytes);
    Ok(deframer.next_frame()?.context("not a whole frame")?.to_frame())
}

/// The server's handler of one shard: answers every frame on the spot.
struct Server {
    answerer: Answerer,
    shard: usize,
    crossing: Option<Arc<Crossing>>,
}

/// Which peers' links each of two shards has. What comes from one shard's n-th is answered to the
/// other's n-th.
type Crossing = [Mutex<Vec<ReplicaId>>; 2];

impl Server {
    /// Where the answer to what came over `link` goes.
    fn addressee(&self, link: &Link<'_>) -> ReplicaId {
        let Some(crossing) = &self.crossing else { return link.peer() };
        let peers = |shard: usize| crossing[shard].lock().expect("no handler panics");
        let place = peers(self.shard).iter().position(|peer| *peer == link.peer());
        let partner = place.and_then(|place| peers(1 - self.shard).get(place).copied());
        partner.unwrap_or(link.peer())
    }
}

impl Handler for Server {
    fn on_link_up(&mut self, link: &mut Link<'_>, _incarnation: u64) {
        if let Some(crossing) = &self.crossing {
            crossing[self.shard].lock().expect("no handler panics").push(link.peer());
        }
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let to = self.addressee(link);
        match self.answerer.answer(frame.as_bytes()) {
            Answer::Same => link.forward(to, frame).expect("a window fits the outbox"),
            Answer::Other(answer) => {
                let answer = to_frame(&answer).expect("the answer is one frame");
                link.send_to(to, answer).expect("a window fits the outbox");
            }
            Answer::Nothing => {}
        }
        Flow::Continue
    }
}

/// What a handler tells the client's thread: nothing when its link is up, then how each run went.
type News = Result<Option<(u64, Option<Latencies>)>>;

/// The client's buses, as the client's thread sees them.
struct Links {
    traffic: Traffic,
    meshes: Vec<Mesh>,
    start: Sender<Duration>,
    news: Receiver<News>,
}

impl Links {
    /// Runs `buses` on a thread of their own and waits until every link is up.
    fn start(traffic: Traffic, spin: Duration, buses: Vec<(Mesh, Vec<Shard>)>) -> Result<Self> {
        let ((start, starts), (news, heard)) = (unbounded(), unbounded());
        let mut links = Self { traffic, meshes: Vec::new(), start, news: heard };
        let mut shards = Vec::new();
        for (mesh, shard) in buses {
            links.meshes.push(mesh);
            shards.extend(shard);
        }
        thread::Builder::new().spawn(move || {
            let run = || -> Result<()> {
                let together = Rc::default();
                let mut seats = Vec::new();
                for shard in shards {
                    let activity =
                        if traffic.shards > 1 { Rc::clone(&together) } else { Rc::default() };
                    let (starts, news) = (starts.clone(), news.clone());
                    seats.push((shard, Driver::new(traffic, activity, starts, news)?));
                }
                Ok(ringseal::run_here(seats, spin)?)
            };
            news.send(run().map(|()| None)).unwrap_or_default();
        })?;
        for _ in 0..traffic.links {
            ensure!(links.hear(Duration::ZERO)?.is_none(), "a run has ended before it began");
        }
        Ok(links)
    }

    /// The next news, `time` being what it is about.
    fn hear(&self, time: Duration) -> Result<Option<(u64, Option<Latencies>)>> {
        self.news.recv_timeout(time + PATIENCE).context("no word from the bus")?
    }
}

impl Client for Links {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let run = Run::start();
        let runs = if self.traffic.shards > 1 { 1 } else { self.meshes.len() };
        for _ in 0..runs {
            self.start.send(time).map_err(|_| anyhow!("the executor has ended"))?;
        }
        for mesh in &self.meshes {
            mesh.send(SERVER, ping()?)?;
        }
        let (mut frames, mut latencies) = (0, None);
        for _ in 0..runs {
            let (more, timed) = self.hear(time)?.context("a second link of one bus")?;
            frames += more;
            latencies = timed;
        }
        Ok(run.finish(frames, latencies))
    }
}

/// The client's handler of one link.
struct Driver {
    traffic: Traffic,
    request: Bytes,
    frame: Frame,
    activity: Rc<RefCell<Activity>>,
    starts: Receiver<Duration>,
    news: Sender<News>,
}

/// What a run is doing.
#[derive(Default)]
enum Activity {
    /// Waiting for the Ping of the client's thread, which comes back and begins a run.
    #[default]
    Idle,
    Echo(Window),
    OneWay {
        clock: Deadline,
        sent: u64,
        over: bool,
    },
}

impl Driver {
    fn new(
        traffic: Traffic,
        activity: Rc<RefCell<Activity>>,
        starts: Receiver<Duration>,
        news: Sender<News>,
    ) -> Result<Self> {
        let request = frame::build(traffic.size, frame::REQUEST);
        let frame = to_frame(&request)?;
        Ok(Self { traffic, request, frame, activity, starts, news })
    }

    /// Takes a run one frame further; its end, if this was the last.
    fn advance(
        &self,
        activity: &mut Activity,
        link: &mut Link<'_>,
        frame: FrameView<'_>,
    ) -> Result<Option<(u64, Option<Latencies>)>> {
        let ping = frame.command().get() == frame::PING;
        if ping && matches!(activity, Activity::Idle) {
            // Links that share a run each get a Ping, and the first begins it.
            if let Ok(time) = self.starts.try_recv() {
                *activity = self.begin(time)?;
            }
        } else if let Activity::OneWay { sent, .. } = activity {
            window::check_count(frame.as_bytes(), *sent)?;
            return Ok(Some((*sent, None)));
        } else if let (Activity::Echo(window), false) = (&mut *activity, ping) {
            window.arrived(frame.as_bytes(), &[])?;
        }
        let most = match (ping, self.traffic.shards) {
            (true, _) => self.traffic.window,
            (false, 1) => usize::MAX,
            // Links that share a window began with equal parts of it and keep them.
            (false, _) => 1,
        };
        self.fill(activity, link, most)?;
        match activity {
            Activity::Echo(window) if window.done() => Ok(Some(window.finish())),
            _ => Ok(None),
        }
    }

    fn begin(&self, time: Duration) -> Result<Activity> {
        if !self.traffic.echo {
            let clock = Deadline::new(time, 32);
            return Ok(Activity::OneWay { clock, sent: 0, over: false });
        }
        let shared = if self.traffic.shards > 1 { self.traffic.links } else { 1 };
        let window = self.traffic.window * shared;
        let traffic = Traffic { window, ..self.traffic };
        Ok(Activity::Echo(Window::new(&traffic, self.request.clone(), time)?))
    }

    /// Sends as much as the run may now.
    fn fill(&self, activity: &mut Activity, link: &mut Link<'_>, most: usize) -> Result<()> {
        match activity {
            Activity::Idle => {}
            Activity::Echo(window) => {
                for _ in 0..window.to_send_at_most(most) {
                    link.send(self.frame.clone())?;
                }
            }
            Activity::OneWay { clock, sent, over } => {
                while !*over {
                    let more = clock.tick();
                    let next = if more { self.frame.clone() } else { ping()? };
                    match link.send(next) {
                        Ok(()) => (*sent, *over) = (*sent + u64::from(more), !more),
                        Err(refused) if refused.kind == SendErrorKind::Backpressure => break,
                        Err(refused) => return Err(refused.into()),
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // Nobody listens any more when the process is about to end.
        self.news.send(news).unwrap_or_default();
    }
}

impl Handler for Driver {
    fn on_link_up(&mut self, _link: &mut Link<'_>, _incarnation: u64) {
        self.tell(Ok(None));
    }

    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let mut activity = self.activity.borrow_mut();
        match self.advance(&mut activity, link, frame) {
            Ok(None) => {}
            end => {
                *activity = Activity::Idle;
                self.tell(end);
            }
        }
        Flow::Continue
    }

    fn on_writable(&mut self, link: &mut Link<'_>) {
        if let Err(error) = self.fill(&mut self.activity.borrow_mut(), link, usize::MAX) {
            self.tell(Err(error));
        }
    }

    fn on_link_down(&mut self, _peer: ReplicaId, reason: Reason, _lost: u64) {
        self.tell(Err(anyhow!("the link has ended: {}", reason.as_str())));
    }
}

fn ping() -> Result<Frame> {
    to_frame(&frame::build(HEADER, frame::PING))
}

/// The dialing end of the connecting shapes.
struct Dialer {
    cluster: Cluster,
    replica: ReplicaId,
}

impl Dial for Dialer {
    fn dial(&mut self, stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> Result<()> {
        let mut challenge = [0; HEADER];
        let (hello, next) =
            self.cluster.hello_between(self.replica, SERVER, fixture::random_nonce()?)?;
        stream.write_all(hello.as_bytes())?;
        stream.read_exact(&mut challenge)?;
        let finish = fixture::finish(next, HeaderView::new(&challenge))?;
        stream.write_all(&[finish.as_bytes(), frame].concat())?;
        stream.read_exact(answer)?;
        Ok(())
    }
}
