//! `frame-at-a-time`: how replica buses are commonly written.
//!
//! On compio, which is io_uring too. A task reads one header, then one body, and hands the frame
//! through a channel to a handler; the handler answers through the peer's channel; another task
//! takes what has gathered there and writes it in one vectored write.
//!
//! Since a frame is answered before the next one is read, little gathers unless the handler is the
//! one who has much to send: batches form in the one-way shapes and hardly ever in the echoes. The
//! ring's single-issuer and deferred modes were tried and showed no clear gain.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use async_channel::{Receiver, Sender};
use bytes::Bytes;
use compio::io::{AsyncReadExt, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use futures_util::future::try_join_all;

use super::{Client, Contestant, Listening, Scene};
use crate::frame::{self, HEADER, LARGEST};
use crate::measure::{Latencies, Outcome, Run};
use crate::shape::{Shape, Traffic};
use crate::window::{self, Answer, Answerer, Deadline, Window};

/// Frames in one vectored write at most.
const BATCH: usize = 256;

/// One header, one body, one hand-over at a time.
pub(super) struct FrameAtATime;

impl Contestant for FrameAtATime {
    fn name(&self) -> &'static str {
        "frame-at-a-time"
    }

    fn runs(&self, shape: Shape) -> bool {
        shape.traffic().is_some_and(|traffic| traffic.shards == 1)
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let traffic = scene.shape.traffic().context("frame-at-a-time only streams")?;
        let runtime = Runtime::new().context("a compio runtime")?;
        runtime.block_on(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = TcpListener::bind(address).await.context("binding")?;
            listening(listener.local_addr()?)?;
            loop {
                let (stream, _) = listener.accept().await.context("accepting")?;
                let link = Link::start(stream, &traffic)?;
                compio::runtime::spawn(link.serve(Answerer::new(&traffic))).detach();
            }
        })
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let traffic = scene.shape.traffic().context("frame-at-a-time only streams")?;
        let runtime = Runtime::new().context("a compio runtime")?;
        let links = runtime.block_on(try_join_all((0..traffic.links).map(|_| async {
            let stream = TcpStream::connect(server).await.context("connecting")?;
            Link::start(stream, &traffic)
        })))?;
        let frame = Frame::whole(&frame::build(traffic.size, frame::REQUEST));
        Ok(Box::new(Links { runtime, traffic, links, frame }))
    }
}

/// A frame in the two pieces that it is read in.
#[derive(Clone)]
struct Frame {
    header: Bytes,
    body: Bytes,
}

impl Frame {
    fn whole(frame: &Bytes) -> Self {
        Self { header: frame.slice(..HEADER), body: frame.slice(HEADER..) }
    }
}

/// One link: frames come from `inbox`; frames for the peer go into `outbox`.
struct Link {
    inbox: Receiver<Frame>,
    outbox: Sender<Frame>,
}

impl Link {
    /// Splits the stream and starts the reader's and the writer's task.
    fn start(stream: TcpStream, traffic: &Traffic) -> Result<Self> {
        stream.set_nodelay(true)?;
        let depth = traffic.window.max(64);
        let (arrived, inbox) = async_channel::bounded(depth);
        let (outbox, queue) = async_channel::bounded(depth);
        let (read, write) = stream.into_split();
        compio::runtime::spawn(read_frames(read, arrived)).detach();
        compio::runtime::spawn(write_batches(write, queue)).detach();
        Ok(Self { inbox, outbox })
    }

    /// The handler's task: answers until the client closes.
    async fn serve(self, mut answerer: Answerer) -> Result<()> {
        loop {
            let frame = self.receive().await?;
            match answerer.answer(&frame.header) {
                Answer::Same => self.send(frame).await?,
                Answer::Other(answer) => self.send(Frame::whole(&answer)).await?,
                Answer::Nothing => {}
            }
        }
    }

    async fn receive(&self) -> Result<Frame> {
        self.inbox.recv().await.context("the peer has closed")
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        self.outbox.send(frame).await.map_err(|_| anyhow!("the writer has ended"))
    }

    async fn run(
        &self,
        traffic: &Traffic,
        frame: &Frame,
        time: Duration,
    ) -> Result<(u64, Option<Latencies>)> {
        if traffic.echo {
            self.echo(traffic, frame, time).await
        } else {
            Ok((self.one_way(frame, time).await?, None))
        }
    }

    async fn echo(
        &self,
        traffic: &Traffic,
        frame: &Frame,
        time: Duration,
    ) -> Result<(u64, Option<Latencies>)> {
        let expected = [&frame.header[..], &frame.body[..]].concat();
        let mut window = Window::new(traffic, expected.into(), time)?;
        loop {
            for _ in 0..window.to_send() {
                self.send(frame.clone()).await?;
            }
            if window.done() {
                return Ok(window.finish());
            }
            let frame = self.receive().await?;
            window.arrived(&frame.header, &frame.body)?;
        }
    }

    async fn one_way(&self, frame: &Frame, time: Duration) -> Result<u64> {
        let mut clock = Deadline::new(time, 32);
        let mut sent = 0;
        while clock.tick() {
            self.send(frame.clone()).await?;
            sent += 1;
        }
        self.send(Frame::whole(&frame::build(HEADER, frame::PING))).await?;
        window::check_count(&self.receive().await?.header, sent)?;
        Ok(sent)
    }
}

/// The reader's task: ends when the peer closes or nobody wants its frames.
async fn read_frames(mut stream: TcpStream, arrived: Sender<Frame>) -> Result<()> {
    loop {
        let header = read(&mut stream, HEADER).await?;
        let size = frame::size(&header);
        ensure!((HEADER..=LARGEST).contains(&size), "a frame of {size} bytes");
        let body =
            if size > HEADER { read(&mut stream, size - HEADER).await? } else { Bytes::new() };
        arrived.send(Frame { header, body }).await?;
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> Result<Bytes> {
    let compio::BufResult(done, buffer) = stream.read_exact(Vec::with_capacity(length)).await;
    done.context("reading")?;
    Ok(Bytes::from(buffer))
}

/// The writer's task: ends when the link is dropped or the peer has closed.
async fn write_batches(mut stream: TcpStream, queue: Receiver<Frame>) -> Result<()> {
    let mut slices: Vec<Bytes> = Vec::with_capacity(2 * BATCH);
    while let Ok(first) = queue.recv().await {
        let more = std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH - 1);
        for frame in std::iter::once(first).chain(more) {
            slices.push(frame.header);
            if !frame.body.is_empty() {
                slices.push(frame.body);
            }
        }
        let compio::BufResult(done, written) = stream.write_vectored_all(slices).await;
        done.context("writing")?;
        slices = written;
        slices.clear();
    }
    Ok(())
}

struct Links {
    runtime: Runtime,
    traffic: Traffic,
    links: Vec<Link>,
    frame: Frame,
}

impl Client for Links {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let run = Run::start();
        let links = self.links.iter().map(|link| link.run(&self.traffic, &self.frame, time));
        let mut done = self.runtime.block_on(try_join_all(links))?;
        let frames = done.iter().map(|(frames, _)| frames).sum();
        let latencies = done.pop().and_then(|(_, latencies)| latencies);
        Ok(run.finish(frames, latencies))
    }
}
