//! A raw peer on a plain socket: it can play either end of the handshake with the state machines of
//! `ringseal-auth`, or send whatever bytes it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ringseal::auth::{
    Acceptor, Auth, Dialer, DialerNext, DialerStep, HelloStep, Identity, Outcome, cluster_id,
};
use ringseal::wire::HEADER_LEN;
use ringseal::{
    Command, Enforcement, Environment, Frame, Header, KeyRing, ReplicaId, Secret, System,
    Transcript,
};
use ringseal_auth::Nonce;
use ringseal_auth::tag::TagClock;
use socket2::{Domain, SockRef, Socket, Type};

use crate::address;
use crate::target::CLUSTER;

/// How long a stranger waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What a stranger knows of the cluster, rightly or wrongly.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// The cluster's name.
    pub cluster: &'static str,
    /// The byte that the secret repeats.
    pub secret: u8,
    /// The form of the transcript.
    pub transcript: Transcript,
}

/// What a true replica of the cluster knows.
pub const TRUE: Credentials =
    Credentials { cluster: CLUSTER, secret: SECRET, transcript: Transcript::Current };

/// The byte that the cluster's secret repeats.
pub const SECRET: u8 = 0x5a;

/// The secret that repeats `byte`.
#[must_use]
pub fn secret(byte: u8) -> Secret {
    Secret::new(vec![byte; Secret::MIN_LEN]).expect("it is long enough")
}

/// Randomness for nonces and garbage.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

impl Credentials {
    /// The key ring of the secret.
    #[must_use]
    pub fn keys(&self) -> KeyRing {
        KeyRing::new(&secret(self.secret), None)
    }

    /// A frame that says it is `replica`'s, as every handshake frame does.
    #[must_use]
    pub fn frame(&self, command: Command, replica: u8) -> Header {
        let mut frame = Header::new(command);
        frame.set_cluster(cluster_id(self.cluster)).set_replica(ReplicaId::new(replica));
        frame
    }

    /// A Hello with a fresh nonce.
    #[must_use]
    pub fn hello(&self, replica: u8) -> Header {
        let mut hello = self.frame(Command::REPLICA_HELLO, replica);
        hello.reserved_command_mut()[..32].copy_from_slice(&random::<32>());
        hello
    }

    /// A Hello to `acceptor` that shows membership by a tag made at `time_ms`.
    #[must_use]
    pub fn tagged_hello(&self, replica: u8, acceptor: u8, time_ms: u64) -> Header {
        let keys = self.keys();
        self.dialer(&keys, replica, acceptor).start(fresh_nonce(), Some(time_ms)).0
    }

    /// A Hello without a nonce, as a node without authentication sends it.
    #[must_use]
    pub fn plain_hello(&self, replica: u8) -> Header {
        self.frame(Command::REPLICA_HELLO, replica)
    }

    /// The refusal that `replica` sends.
    #[must_use]
    pub fn refusal(&self, replica: u8, status: u8) -> Header {
        let mut refusal = self.frame(Command::REPLICA_CHALLENGE, replica);
        refusal.reserved_command_mut()[64] = status;
        refusal
    }

    fn identity<'k>(&self, keys: &'k KeyRing, replica: u8) -> Identity<'k> {
        let (enforcement, transcript) = (Enforcement::Enforce, self.transcript);
        let auth = Auth::On { keys, enforcement, transcript };
        Identity::new(cluster_id(self.cluster), ReplicaId::new(replica), auth)
    }

    fn dialer<'k>(&self, keys: &'k KeyRing, replica: u8, acceptor: u8) -> Dialer<'k> {
        let dialer = Dialer::new(self.identity(keys, replica), ReplicaId::new(acceptor));
        dialer.expect("a lower id")
    }

    /// A true Challenge to `hello` by `replica`.
    #[must_use]
    pub fn challenge(&self, replica: u8, hello: &Header) -> Header {
        let keys = self.keys();
        let acceptor = Acceptor::new(self.identity(&keys, replica));
        match acceptor.on_hello(hello.as_view(), |_| true, fresh_nonce) {
            HelloStep::Challenge { frame, .. } => frame,
            step => panic!("{hello:?} is a Hello to challenge: {step:?}"),
        }
    }
}

fn fresh_nonce() -> Nonce {
    Nonce::new(random()).expect("not zero")
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side has closed.
    Eof,
    /// The connection was reset.
    Reset,
}

/// One end of a raw connection. Dropping it closes it.
#[derive(Debug)]
pub struct Stranger {
    stream: TcpStream,
}

impl Stranger {
    /// Connects and says nothing.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        Self::new(stream.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}")))
    }

    /// Connects from an address of this machine's.
    #[must_use]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        Self::try_connect_from(source, address).expect("somebody listens")
    }

    /// The same where the other side may have hung up before we know that we are connected.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn try_connect_from(source: IpAddr, address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok(Self::new(socket.into()))
    }

    /// Takes over a connection.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("an option of every TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream }
    }

    /// Connects and proves to `acceptor` that it is `replica`: the link is up at both ends soon.
    #[must_use]
    pub fn join(address: SocketAddr, who: &Credentials, replica: u8, acceptor: u8) -> Self {
        let mut stranger = Self::connect(address);
        let finish = stranger.prove(who, replica, acceptor);
        stranger.write(finish.as_bytes());
        stranger
    }

    /// The same with a fresh tag, as the bus itself does.
    ///
    /// # Errors
    ///
    /// The sentence of what went wrong.
    pub fn join_as_member(
        mut self,
        who: &Credentials,
        replica: u8,
        acceptor: u8,
    ) -> Result<Self, String> {
        static CLOCK: TagClock = TagClock::new();
        let time_ms = CLOCK.next(System.unix_ms());
        let finish = self.try_prove_at(who, (replica, acceptor), Some(time_ms))?;
        self.try_write(finish.as_bytes()).map_err(|error| error.to_string())?;
        Ok(self)
    }

    /// Sends a Hello, checks the Challenge and returns the Finish, unsent.
    #[must_use]
    pub fn prove(&mut self, who: &Credentials, replica: u8, acceptor: u8) -> Header {
        self.try_prove(who, replica, acceptor).expect("the acceptor proves itself")
    }

    /// The same where the acceptor may fail the test or hang up.
    ///
    /// # Errors
    ///
    /// The sentence of what went wrong.
    pub fn try_prove(
        &mut self,
        who: &Credentials,
        replica: u8,
        acceptor: u8,
    ) -> Result<Header, String> {
        self.try_prove_at(who, (replica, acceptor), None)
    }

    /// The same with a tag that was made at this time, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// The sentence of what went wrong.
    pub fn try_prove_at(
        &mut self,
        who: &Credentials,
        (replica, acceptor): (u8, u8),
        time_ms: Option<u64>,
    ) -> Result<Header, String> {
        let keys = who.keys();
        let (hello, next) = who.dialer(&keys, replica, acceptor).start(fresh_nonce(), time_ms);
        let DialerNext::AwaitChallenge(next) = next else { unreachable!("it authenticates") };
        self.try_write(hello.as_bytes()).map_err(|error| error.to_string())?;
        let challenge = self.read_header().map_err(|end| format!("{end:?}"))?;
        match next.on_frame(challenge.as_view()).map_err(|error| error.to_string())? {
            DialerStep::Finish { frame, .. } => Ok(frame),
            DialerStep::Plain { .. } => unreachable!("it enforces"),
        }
    }

    /// Plays the acceptor `replica`, whole.
    pub fn admit(&mut self, who: &Credentials, replica: u8) -> Outcome {
        let keys = who.keys();
        let hello = self.read_header().expect("a Hello");
        let acceptor = Acceptor::new(who.identity(&keys, replica));
        let step = acceptor.on_hello(hello.as_view(), |_| true, fresh_nonce);
        let HelloStep::Challenge { frame, next } = step else { panic!("a good Hello: {step:?}") };
        self.write(frame.as_bytes());
        let finish = self.read_header().expect("a Finish");
        next.on_finish(finish.as_view()).expect("the dialer proves itself")
    }

    /// Writes all of `bytes` at once.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).expect("the connection is open");
    }

    /// Writes all of `bytes` unless the other side is gone.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) {
        self.write(&frame.to_bytes());
    }

    /// Reads 256 bytes.
    ///
    /// # Errors
    ///
    /// How the connection ended instead.
    pub fn read_header(&mut self) -> Result<Header, End> {
        let mut bytes = [0; HEADER_LEN];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Ok(Header::from_bytes(bytes)),
            Err(error) => Err(end_of(&error)),
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// How the connection ended instead.
    pub fn read_frame(&mut self) -> Result<Frame, End> {
        let header = self.read_header()?;
        let mut body = vec![0; header.size() as usize - HEADER_LEN];
        self.stream.read_exact(&mut body).map_err(|error| end_of(&error))?;
        Ok(Frame::new(header, body.into()).expect("as large as announced"))
    }

    /// Waits until the other side ends the connection without another byte.
    pub fn expect_end(&mut self) -> End {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => End::Eof,
            Ok(_) => panic!("a byte came where the connection had to end"),
            Err(error) => end_of(&error),
        }
    }

    /// Whether the connection is open and has nothing to read at this moment.
    #[must_use]
    pub fn is_open_and_quiet(&self) -> bool {
        self.stream.set_nonblocking(true).expect("an open socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("an open socket");
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a Ping with a body of its own and waits for its Pong: the link carries traffic.
    pub fn ping(&mut self) {
        self.try_ping().expect("the link is up");
    }

    /// The same where the link may have ended.
    ///
    /// # Errors
    ///
    /// How the connection ended instead.
    pub fn try_ping(&mut self) -> Result<(), End> {
        let body = random::<300>().to_vec();
        let ping = Frame::new(Header::new(Command::PING), body.into()).expect("small");
        self.try_write(&ping.to_bytes()).map_err(|error| end_of(&error))?;
        let pong = self.read_frame()?;
        assert_eq!((pong.command(), pong.body()), (Command::PONG, ping.body()));
        Ok(())
    }

    /// Ends our direction; the other one stays open.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open socket");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("an open socket");
    }

    /// Our own address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("an open socket")
    }

    /// The socket itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn end_of(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::UnexpectedEof => End::Eof,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
        _ => panic!("nothing came within {PATIENCE:?}: {error}"),
    }
}

/// A port that plays an acceptor.
#[derive(Debug)]
pub struct Trap {
    listener: TcpListener,
}

impl Trap {
    /// Opens a port that nobody else uses.
    #[must_use]
    pub fn open() -> Self {
        Self { listener: TcpListener::bind(address::unused()).expect("the port is free") }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an open socket")
    }

    /// The next connection.
    #[must_use]
    pub fn accept(&self) -> Stranger {
        self.accept_within(PATIENCE).expect("somebody dials")
    }

    /// The next connection, if one comes within `patience`.
    #[must_use]
    pub fn accept_within(&self, patience: Duration) -> Option<Stranger> {
        let socket = SockRef::from(&self.listener);
        socket.set_read_timeout(Some(patience)).expect("not zero");
        let began = Instant::now();
        match self.listener.accept() {
            Ok((stream, _)) => Some(Stranger::new(stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept after {:?}: {error}", began.elapsed()),
        }
    }
}
