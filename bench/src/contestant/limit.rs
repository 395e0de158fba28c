//! `limit`: what the sockets allow.
//!
//! Blocking `std::net`, a thread per link, reads of 64 KiB or more, one write per batch. There is
//! no bus, no queue and no handler: the server finds the frames in what it read and writes them
//! back from the same buffer.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;

use super::blocking::{self, Accept, Connects, Dial};
use super::{Client, Contestant, Listening, Scene};
use crate::frame::{self, HEADER};
use crate::measure::{Latencies, Outcome, Run};
use crate::shape::{Shape, Traffic};
use crate::window::{self, Answer, Answerer, Deadline, Window};

/// The yardstick.
pub(super) struct Limit;

impl Contestant for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn runs(&self, shape: Shape) -> bool {
        shape.traffic().map_or(shape.at_once().is_some(), |traffic| traffic.shards == 1)
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        if let Some(at_once) = scene.shape.at_once() {
            return blocking::serve(at_once, Arc::new(Plain), listening);
        }
        let traffic = scene.shape.traffic().context("limit shakes no hands")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding")?;
        listening(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().context("accepting")?;
            stream.set_nodelay(true)?;
            thread::spawn(move || serve_link(stream, &traffic));
        }
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        if let Some(at_once) = scene.shape.at_once() {
            let dialers = (0..at_once).map(|_| Box::new(Plain) as Box<dyn Dial>).collect();
            return Ok(Box::new(Connects::new(server, dialers)));
        }
        let traffic = scene.shape.traffic().context("limit shakes no hands")?;
        let links = (0..traffic.links).map(|_| Link::connect(server, &traffic));
        Ok(Box::new(Links { traffic, links: links.collect::<Result<_>>()? }))
    }
}

/// Ends with the client's last byte; an error only means that the client ended in between.
fn serve_link(mut stream: TcpStream, traffic: &Traffic) -> Result<()> {
    let mut input = Input::new(traffic);
    let mut answerer = Answerer::new(traffic);
    loop {
        input.read(&mut stream)?;
        let mut same = 0;
        for frame in frame::whole(input.filled()) {
            match answerer.answer(frame) {
                Answer::Same => same += frame.len(),
                Answer::Other(answer) => stream.write_all(&answer)?,
                Answer::Nothing => {}
            }
        }
        if same > 0 {
            stream.write_all(&input.filled()[..same])?;
        }
        input.drop_whole();
    }
}

/// A receive buffer: whole frames, then perhaps the start of one.
struct Input {
    buffer: Vec<u8>,
    filled: usize,
}

impl Input {
    fn new(traffic: &Traffic) -> Self {
        Self { buffer: vec![0; traffic.buffer()], filled: 0 }
    }

    /// One read of as much as fits.
    fn read(&mut self, stream: &mut TcpStream) -> Result<()> {
        let count = stream.read(&mut self.buffer[self.filled..]).context("reading")?;
        ensure!(count > 0, "the peer has closed");
        self.filled += count;
        Ok(())
    }

    fn filled(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Moves the start of an unfinished frame to the front.
    fn drop_whole(&mut self) {
        let whole = frame::whole(self.filled()).map(<[u8]>::len).sum();
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
    }
}

struct Links {
    traffic: Traffic,
    links: Vec<Link>,
}

impl Client for Links {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let traffic = self.traffic;
        let run = Run::start();
        let (frames, latencies) = match &mut self.links[..] {
            [link] => link.run(&traffic, time)?,
            links => (run_together(links, &traffic, time)?, None),
        };
        Ok(run.finish(frames, latencies))
    }
}

fn run_together(links: &mut [Link], traffic: &Traffic, time: Duration) -> Result<u64> {
    thread::scope(|scope| {
        let links = links.iter_mut();
        let threads: Vec<_> =
            links.map(|link| scope.spawn(move || link.run(traffic, time))).collect();
        threads.into_iter().try_fold(0, |frames, thread| {
            let (more, _) = thread.join().map_err(|_| anyhow!("a link's thread panicked"))??;
            Ok(frames + more)
        })
    })
}

struct Link {
    stream: TcpStream,
    input: Input,
    frame: Bytes,
    batch: Bytes,
}

impl Link {
    fn connect(server: SocketAddr, traffic: &Traffic) -> Result<Self> {
        let stream = TcpStream::connect(server).context("connecting")?;
        stream.set_nodelay(true)?;
        let frame = frame::build(traffic.size, frame::REQUEST);
        let together = if traffic.echo { traffic.window } else { traffic.buffer() / traffic.size };
        let batch = frame::repeat(&frame, together);
        Ok(Self { stream, input: Input::new(traffic), frame, batch })
    }

    fn run(&mut self, traffic: &Traffic, time: Duration) -> Result<(u64, Option<Latencies>)> {
        if traffic.echo { self.echo(traffic, time) } else { Ok((self.one_way(time)?, None)) }
    }

    fn echo(&mut self, traffic: &Traffic, time: Duration) -> Result<(u64, Option<Latencies>)> {
        let mut window = Window::new(traffic, self.frame.clone(), time)?;
        loop {
            let count = window.to_send();
            if count > 0 {
                self.stream.write_all(&self.batch[..count * traffic.size])?;
            }
            if window.done() {
                return Ok(window.finish());
            }
            self.input.read(&mut self.stream)?;
            for frame in frame::whole(self.input.filled()) {
                window.arrived(frame, &[])?;
            }
            self.input.drop_whole();
        }
    }

    fn one_way(&mut self, time: Duration) -> Result<u64> {
        let together = (self.batch.len() / self.frame.len()) as u64;
        let mut clock = Deadline::new(time, 1);
        let mut sent = 0;
        while clock.tick() {
            self.stream.write_all(&self.batch)?;
            sent += together;
        }
        self.stream.write_all(&frame::build(HEADER, frame::PING))?;
        let mut answer = [0; HEADER];
        self.stream.read_exact(&mut answer).context("waiting for the count")?;
        window::check_count(&answer, sent)?;
        Ok(sent)
    }
}

/// No handshake at all: the frame, and the frame back.
struct Plain;

impl Accept for Plain {
    fn accept(&self, stream: &mut TcpStream) -> Result<()> {
        let mut frame = [0; HEADER];
        stream.read_exact(&mut frame)?;
        stream.write_all(&frame)?;
        Ok(())
    }
}

impl Dial for Plain {
    fn dial(&mut self, stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> Result<()> {
        stream.write_all(frame)?;
        stream.read_exact(answer)?;
        Ok(())
    }
}
