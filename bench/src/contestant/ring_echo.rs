//! `ring-echo`: a plain echo loop on the technique of the bus's own runtime.
//!
//! One thread and one io_uring, made for a single issuer that runs the kernel's deferred work itself.
//! The ring only waits, with one oneshot poll per direction; reading and writing are plain calls that
//! never block. There is no bus, no queue and no handler: what several links on one thread cost at
//! least, if this is how they wait.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::mem::{replace, take};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use io_uring::{IoUring, opcode, types::Fd};
use rustix::event::PollFlags;

use super::{Client, Contestant, Listening, Scene};
use crate::frame;
use crate::measure::{Outcome, Run};
use crate::shape::{Shape, Traffic};
use crate::window::Window;

/// Polls that are handed to the kernel together.
const SUBMISSIONS: u32 = 256;

/// The echo loop.
pub(super) struct RingEcho;

impl Contestant for RingEcho {
    fn name(&self) -> &'static str {
        "ring-echo"
    }

    fn runs(&self, shape: Shape) -> bool {
        matches!(shape, Shape::Echo { shards: 1, .. })
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let traffic = scene.shape.traffic().context("ring-echo only echoes")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding")?;
        listening(listener.local_addr()?)?;
        let accept = |_| Link::new(listener.accept().context("accepting")?.0, &traffic);
        let mut links = (0..traffic.links).map(accept).collect::<Result<Vec<_>>>()?;
        let mut ring = Ring::new()?;
        for (at, link) in links.iter_mut().enumerate() {
            ring.poll(link, at, Direction::In)?;
        }
        let mut fired = Vec::new();
        loop {
            ring.wait(&mut links, &mut fired)?;
            for at in fired.drain(..) {
                // Ends with the client's last byte; an error only means that it ended in between.
                let Ok(direction) = links[at].echo() else { continue };
                ring.poll(&mut links[at], at, direction)?;
            }
        }
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let traffic = scene.shape.traffic().context("ring-echo only echoes")?;
        let connect = |_| Link::new(TcpStream::connect(server).context("connecting")?, &traffic);
        let links = (0..traffic.links).map(connect).collect::<Result<_>>()?;
        let frame = frame::build(traffic.size, frame::REQUEST);
        // A write may go on within a frame, so there is one more than the window.
        let batch = frame::repeat(&frame, traffic.window + 1);
        Ok(Box::new(Links { traffic, ring: Ring::new()?, links, frame, batch }))
    }
}

/// What a link waits for.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

/// Waits for many links at once.
struct Ring(IoUring);

impl Ring {
    fn new() -> Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        builder.build(SUBMISSIONS).map(Self).context("an io_uring")
    }

    /// Has the next wait end when `link`, the one at `at`, is ready.
    fn poll(&mut self, link: &mut Link, at: usize, direction: Direction) -> Result<()> {
        if replace(&mut link.armed[direction as usize], true) {
            return Ok(());
        }
        let events = match direction {
            Direction::In => PollFlags::IN,
            Direction::Out => PollFlags::OUT,
        };
        let poll = opcode::PollAdd::new(Fd(link.stream.as_raw_fd()), events.bits().into());
        let poll = poll.build().user_data((2 * at + direction as usize) as u64);
        // SAFETY: a poll points to no memory.
        while unsafe { self.0.submission().push(&poll) }.is_err() {
            self.0.submit().context("handing over polls")?;
        }
        Ok(())
    }

    /// Waits until some of `links` are ready, and puts where they are into `fired`.
    fn wait(&mut self, links: &mut [Link], fired: &mut Vec<usize>) -> Result<()> {
        self.0.submit_and_wait(1).context("waiting")?;
        for completion in self.0.completion() {
            let number = completion.user_data() as usize;
            links[number / 2].armed[number % 2] = false;
            fired.push(number / 2);
        }
        Ok(())
    }
}

/// One connection, what has been read of it, and what is to be written.
struct Link {
    stream: TcpStream,
    /// Whether a poll is under way, by direction.
    armed: [bool; 2],
    /// Whole frames, then perhaps the start of one.
    input: Vec<u8>,
    filled: usize,
    /// Whether the last read has taken all there was.
    drained: bool,
    /// How many bytes are to be written, and how many have been: of `input` at the server's end, of
    /// the same frame over and over at the client's.
    owed: usize,
    written: usize,
}

impl Link {
    fn new(stream: TcpStream, traffic: &Traffic) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let input = vec![0; traffic.buffer()];
        let armed = [false; 2];
        Ok(Self { stream, armed, input, filled: 0, drained: false, owed: 0, written: 0 })
    }

    /// Sends back what has come, as far as there is something and room for it. Returns what to wait
    /// for.
    fn echo(&mut self) -> Result<Direction> {
        loop {
            while self.written < self.owed {
                match self.stream.write(&self.input[self.written..self.owed]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Direction::Out);
                    }
                    written => self.written += written.context("writing")?,
                }
            }
            self.forget(self.owed);
            (self.owed, self.written) = (0, 0);
            if take(&mut self.drained) {
                return Ok(Direction::In);
            }
            self.read()?;
            self.owed = self.whole().map(<[u8]>::len).sum();
        }
    }

    /// Sends frames out of `batch` as `window` permits and takes their echoes, as far as there is
    /// something to do. Returns whether there was no room for all.
    fn advance(&mut self, batch: &[u8], size: usize, window: &mut Window) -> Result<bool> {
        loop {
            self.owed += window.to_send() * size;
            let room = self.send(batch, size)?;
            if window.done() || take(&mut self.drained) {
                return Ok(!room);
            }
            self.read()?;
            let mut whole = 0;
            for frame in self.whole() {
                window.arrived(frame, &[])?;
                whole += frame.len();
            }
            self.forget(whole);
        }
    }

    /// Writes what is owed of a stream of frames; whether there was room for it.
    fn send(&mut self, batch: &[u8], size: usize) -> Result<bool> {
        while self.written < self.owed {
            let begin = self.written % size;
            let end = batch.len().min(begin + self.owed - self.written);
            match self.stream.write(&batch[begin..end]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                written => self.written += written.context("writing")?,
            }
        }
        (self.owed, self.written) = (0, 0);
        Ok(true)
    }

    /// One read of as much as fits.
    fn read(&mut self) -> Result<()> {
        let room = &mut self.input[self.filled..];
        let read = match self.stream.read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            read => {
                let read = read.context("reading")?;
                ensure!(read > 0, "the peer has closed");
                read
            }
        };
        self.drained = read < room.len();
        self.filled += read;
        Ok(())
    }

    fn whole(&self) -> impl Iterator<Item = &[u8]> {
        frame::whole(&self.input[..self.filled])
    }

    /// Forgets the first `count` bytes of the input.
    fn forget(&mut self, count: usize) {
        self.input.copy_within(count..self.filled, 0);
        self.filled -= count;
    }
}

struct Links {
    traffic: Traffic,
    ring: Ring,
    links: Vec<Link>,
    frame: Bytes,
    batch: Bytes,
}

impl Client for Links {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let run = Run::start();
        let window = |_: &Link| Window::new(&self.traffic, self.frame.clone(), time);
        let mut windows = self.links.iter().map(window).collect::<Result<Vec<_>>>()?;
        let mut fired: Vec<_> = (0..self.links.len()).collect();
        loop {
            for at in fired.drain(..) {
                let link = &mut self.links[at];
                let blocked = link.advance(&self.batch, self.traffic.size, &mut windows[at])?;
                self.ring.poll(link, at, Direction::In)?;
                if blocked {
                    self.ring.poll(link, at, Direction::Out)?;
                }
            }
            if windows.iter().all(Window::done) {
                break;
            }
            self.ring.wait(&mut self.links, &mut fired)?;
        }
        let frames = windows.iter_mut().map(|window| window.finish().0).sum();
        Ok(run.finish(frames, None))
    }
}
