//! `noise-nnpsk0` and `noise-kkpsk0`: the Noise handshakes that come closest, with snow.
//!
//! NNpsk0 proves the shared secret and nothing else, as the replica handshake does; KKpsk0 adds a
//! static key per end. Both are two messages long, with X25519, ChaChaPoly and BLAKE2s from snow's
//! own resolver. Messages carry a u16 length in front; the first frame is sealed.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};

use super::blocking::{self, Accept, Connects, Dial};
use super::{Client, Contestant, Listening, Scene};
use crate::frame::HEADER;
use crate::material::{Material, NoiseKeys};
use crate::measure::{Outcome, Run};
use crate::shape::Shape;
use crate::window::Deadline;

/// No message here is longer: a header, its tag, and room.
const LONGEST: usize = 512;

/// One Noise pattern.
pub(crate) struct Noise {
    name: &'static str,
    params: &'static str,
    static_keys: bool,
}

impl Noise {
    /// A shared secret alone.
    pub(crate) const NN_PSK0: Self = Self {
        name: "noise-nnpsk0",
        params: "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s",
        static_keys: false,
    };

    /// A shared secret, and a static key that each end knows of the other.
    pub(crate) const KK_PSK0: Self = Self {
        name: "noise-kkpsk0",
        params: "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s",
        static_keys: true,
    };

    fn ends(&self, material: &Material) -> Result<Ends> {
        let params: NoiseParams = self.params.parse().context("the pattern's name")?;
        Ok(Ends { params, static_keys: self.static_keys, material: material.clone() })
    }
}

impl Contestant for Noise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn runs(&self, shape: Shape) -> bool {
        matches!(shape, Shape::Connect { .. } | Shape::HandshakeCpu)
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let at_once = scene.shape.at_once().context("noise only connects")?;
        blocking::serve(at_once, Arc::new(self.ends(&scene.material)?), listening)
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let at_once = scene.shape.at_once().context("noise only connects")?;
        let dialer = || Ok(Box::new(self.ends(&scene.material)?) as Box<dyn Dial>);
        let dialers = (0..at_once).map(|_| dialer()).collect::<Result<_>>()?;
        Ok(Box::new(Connects::new(server, dialers)))
    }

    fn alone(&self, scene: &Scene) -> Result<Box<dyn Client>> {
        Ok(Box::new(InMemory(self.ends(&scene.material)?)))
    }
}

/// A fresh X25519 key pair.
///
/// # Errors
///
/// If the system has no randomness.
pub(crate) fn generate_keys() -> Result<NoiseKeys> {
    let params: NoiseParams = Noise::KK_PSK0.params.parse().context("the pattern's name")?;
    let pair = Builder::new(params).generate_keypair().context("a Noise key pair")?;
    Ok(NoiseKeys { public: pair.public, private: pair.private })
}

/// Makes either end's handshake.
struct Ends {
    params: NoiseParams,
    static_keys: bool,
    material: Material,
}

impl Ends {
    fn initiator(&self) -> Result<HandshakeState> {
        let keys = (&self.material.noise_client, &self.material.noise_server);
        Ok(self.builder(keys.0, keys.1)?.build_initiator()?)
    }

    fn responder(&self) -> Result<HandshakeState> {
        let keys = (&self.material.noise_server, &self.material.noise_client);
        Ok(self.builder(keys.0, keys.1)?.build_responder()?)
    }

    fn builder<'a>(&'a self, ours: &'a NoiseKeys, theirs: &'a NoiseKeys) -> Result<Builder<'a>> {
        let builder = Builder::new(self.params.clone()).psk(0, &self.material.psk)?;
        if !self.static_keys {
            return Ok(builder);
        }
        Ok(builder.local_private_key(&ours.private)?.remote_public_key(&theirs.public)?)
    }
}

impl Accept for Ends {
    fn accept(&self, stream: &mut TcpStream) -> Result<()> {
        let (mut message, mut payload) = ([0; LONGEST], [0; LONGEST]);
        let mut noise = self.responder()?;
        let length = receive(stream, &mut message)?;
        noise.read_message(&message[..length], &mut payload)?;
        let length = noise.write_message(&[], &mut message[2..])?;
        send(stream, &mut message, length)?;

        let mut noise = noise.into_transport_mode()?;
        let length = receive(stream, &mut message)?;
        let length = noise.read_message(&message[..length], &mut payload)?;
        let length = noise.write_message(&payload[..length], &mut message[2..])?;
        send(stream, &mut message, length)
    }
}

impl Dial for Ends {
    fn dial(&mut self, stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> Result<()> {
        let (mut message, mut payload) = ([0; LONGEST], [0; LONGEST]);
        let mut noise = self.initiator()?;
        let length = noise.write_message(&[], &mut message[2..])?;
        send(stream, &mut message, length)?;
        let length = receive(stream, &mut message)?;
        noise.read_message(&message[..length], &mut payload)?;

        let mut noise = noise.into_transport_mode()?;
        let length = noise.write_message(frame, &mut message[2..])?;
        send(stream, &mut message, length)?;
        let length = receive(stream, &mut message)?;
        let length = noise.read_message(&message[..length], &mut payload)?;
        ensure!(length == HEADER, "a frame of {length} bytes came back");
        answer.copy_from_slice(&payload[..length]);
        Ok(())
    }
}

/// Puts the length in front of the message that starts at byte 2, and writes both at once.
fn send(stream: &mut TcpStream, message: &mut [u8; LONGEST], length: usize) -> Result<()> {
    let prefix = u16::try_from(length).context("a message's length")?;
    message[..2].copy_from_slice(&prefix.to_le_bytes());
    stream.write_all(&message[..2 + length]).context("sending a message")
}

/// Reads one message to the front of `message` and returns its length.
fn receive(stream: &mut TcpStream, message: &mut [u8; LONGEST]) -> Result<usize> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut message[filled..]).context("receiving a message")?;
        ensure!(count > 0, "the peer closed in mid-message");
        filled += count;
        // Each side waits for the other's message, so no more than one is ever there.
        let length = usize::from(u16::from_le_bytes([message[0], message[1]]));
        ensure!(length + 2 <= LONGEST && filled <= length.max(1) + 2, "not one message");
        if filled == length + 2 {
            message.copy_within(2..filled, 0);
            return Ok(length);
        }
    }
}

/// Both ends in one thread: everything up to the transport keys.
struct InMemory(Ends);

impl Client for InMemory {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let (mut message, mut payload) = ([0; LONGEST], [0; LONGEST]);
        let mut clock = Deadline::new(time, 1);
        let mut handshakes = 0;
        let run = Run::start();
        loop {
            let (mut dialer, mut acceptor) = (self.0.initiator()?, self.0.responder()?);
            let length = dialer.write_message(&[], &mut message)?;
            acceptor.read_message(&message[..length], &mut payload)?;
            let length = acceptor.write_message(&[], &mut message)?;
            dialer.read_message(&message[..length], &mut payload)?;
            let (_dialer, _acceptor) =
                (dialer.into_transport_mode()?, acceptor.into_transport_mode()?);
            handshakes += 1;
            if !clock.tick() {
                return Ok(run.finish(handshakes, None));
            }
        }
    }
}
