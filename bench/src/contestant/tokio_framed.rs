//! `tokio`: what people use instead.
//!
//! A current-thread runtime on the pinned core. On each link a task reads with tokio-util's
//! length-delimited codec and answers through the peer's channel; another drains that channel into
//! a framed sink: feed all that is there, then flush.
//!
//! Tuned: frames are slices of the receive buffer, reads always have room for 32 KiB or more,
//! the writer takes whole batches out of its channel, nothing waits for room where there is some,
//! Nagle is off. What is left in its profile is the codec, the channel, and two copies per frame:
//! into the sink's buffer and into the kernel.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::codec::{
    BytesCodec, Decoder, FramedRead, FramedWrite, LengthDelimitedCodec, length_delimited,
};

use super::{Client, Contestant, Listening, Scene};
use crate::frame::{self, HEADER, LARGEST, SIZE_OFFSET};
use crate::measure::{Latencies, Outcome, Run};
use crate::shape::{Shape, Traffic};
use crate::window::{self, Answer, Answerer, Deadline, Window};

/// tokio with framed streams.
pub(super) struct Tokio;

impl Contestant for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn runs(&self, shape: Shape) -> bool {
        shape.traffic().is_some_and(|traffic| traffic.shards == 1)
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let traffic = scene.shape.traffic().context("tokio only streams")?;
        runtime()?.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("binding")?;
            listening(listener.local_addr()?)?;
            loop {
                let (stream, _) = listener.accept().await.context("accepting")?;
                let link = Link::start(stream, &traffic)?;
                tokio::spawn(link.serve(Answerer::new(&traffic)));
            }
        })
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let traffic = scene.shape.traffic().context("tokio only streams")?;
        let runtime = runtime()?;
        let links = runtime.block_on(try_join_all((0..traffic.links).map(|_| async {
            let stream = TcpStream::connect(server).await.context("connecting")?;
            Link::start(stream, &traffic)
        })))?;
        let frame = frame::build(traffic.size, frame::REQUEST);
        Ok(Box::new(Links { runtime, traffic, links, frame }))
    }
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_io().build().context("a tokio runtime")
}

/// One link: frames come from `input`; frames for the peer go into `outbox`.
struct Link {
    input: FramedRead<OwnedReadHalf, RoomyCodec>,
    outbox: mpsc::Sender<Bytes>,
}

impl Link {
    /// Splits the stream and starts the writer's task.
    fn start(stream: TcpStream, traffic: &Traffic) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let room = traffic.buffer();
        let sink = FramedWrite::with_capacity(write, BytesCodec::new(), room);
        let (outbox, queue) = mpsc::channel(traffic.window.max(64));
        tokio::spawn(drain(queue, sink));
        Ok(Self { input: FramedRead::with_capacity(read, RoomyCodec::new(room), room), outbox })
    }

    /// Answers until the client closes.
    async fn serve(mut self, mut answerer: Answerer) -> Result<()> {
        loop {
            let frame = self.receive().await?;
            match answerer.answer(&frame) {
                Answer::Same => self.send(frame.freeze()).await?,
                Answer::Other(answer) => self.send(answer).await?,
                Answer::Nothing => {}
            }
        }
    }

    async fn receive(&mut self) -> Result<BytesMut> {
        self.input.next().await.context("the peer has closed")?.context("reading")
    }

    async fn send(&self, frame: Bytes) -> Result<()> {
        // Where there is room, not asking to wait for it is a good deal cheaper.
        match self.outbox.try_send(frame) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(frame)) => {
                self.outbox.send(frame).await.map_err(|_| anyhow!("the writer has ended"))
            }
            Err(TrySendError::Closed(_)) => bail!("the writer has ended"),
        }
    }

    async fn run(
        &mut self,
        traffic: &Traffic,
        frame: &Bytes,
        time: Duration,
    ) -> Result<(u64, Option<Latencies>)> {
        if traffic.echo {
            self.echo(Window::new(traffic, frame.clone(), time)?, frame).await
        } else {
            Ok((self.one_way(frame, time).await?, None))
        }
    }

    async fn echo(
        &mut self,
        mut window: Window,
        frame: &Bytes,
    ) -> Result<(u64, Option<Latencies>)> {
        loop {
            for _ in 0..window.to_send() {
                self.send(frame.clone()).await?;
            }
            if window.done() {
                return Ok(window.finish());
            }
            window.arrived(&self.receive().await?, &[])?;
        }
    }

    async fn one_way(&mut self, frame: &Bytes, time: Duration) -> Result<u64> {
        let mut clock = Deadline::new(time, 32);
        let mut sent = 0;
        while clock.tick() {
            self.send(frame.clone()).await?;
            sent += 1;
        }
        self.send(frame::build(HEADER, frame::PING)).await?;
        window::check_count(&self.receive().await?, sent)?;
        Ok(sent)
    }
}

/// The writer's task: ends when the link is dropped or the peer has closed.
async fn drain(
    mut queue: mpsc::Receiver<Bytes>,
    mut sink: FramedWrite<OwnedWriteHalf, BytesCodec>,
) -> Result<()> {
    let most = queue.max_capacity();
    let mut batch = Vec::with_capacity(most);
    while queue.recv_many(&mut batch, most).await > 0 {
        for frame in batch.drain(..) {
            sink.feed(frame).await.context("writing")?;
        }
        SinkExt::<Bytes>::flush(&mut sink).await.context("writing")?;
    }
    Ok(())
}

/// The length-delimited codec, kept from reading into the last few bytes of a buffer.
///
/// `FramedRead` reads into whatever room its buffer has left, be it a single byte; asking for room
/// whenever no whole frame is there makes every read a large one.
struct RoomyCodec {
    inner: LengthDelimitedCodec,
    room: usize,
}

impl RoomyCodec {
    fn new(room: usize) -> Self {
        let inner = length_delimited::Builder::new()
            .little_endian()
            .length_field_offset(SIZE_OFFSET)
            .length_field_length(4)
            // The size counts the whole frame, and all of it is wanted.
            .num_skip(0)
            .max_frame_length(LARGEST)
            .new_codec();
        Self { inner, room }
    }
}

impl Decoder for RoomyCodec {
    type Item = BytesMut;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> std::io::Result<Option<BytesMut>> {
        let frame = self.inner.decode(buffer)?;
        if frame.is_none() {
            buffer.reserve(self.room.saturating_sub(buffer.len()).max(self.room / 2));
        }
        Ok(frame)
    }
}

struct Links {
    runtime: Runtime,
    traffic: Traffic,
    links: Vec<Link>,
    frame: Bytes,
}

impl Client for Links {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let (traffic, frame) = (&self.traffic, &self.frame);
        let run = Run::start();
        let links = self.links.iter_mut().map(|link| link.run(traffic, frame, time));
        let mut done = self.runtime.block_on(try_join_all(links))?;
        let frames = done.iter().map(|(frames, _)| frames).sum();
        ensure!(frames > 0, "no frame came back");
        let latencies = done.pop().and_then(|(_, latencies)| latencies);
        Ok(run.finish(frames, latencies))
    }
}
