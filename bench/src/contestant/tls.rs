//! `tls` and `tls-resumed`: TLS 1.3 with rustls, certificates on both sides.
//!
//! ECDSA P-256 leaves under one authority, X25519, the `ring` provider. `tls` shakes hands in full
//! each time and issues no tickets, so that it does nothing it need not; `tls-resumed` resumes each
//! session from a ticket of the one before, kept in the server's memory. The first frame rides with
//! the client's Finished.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    Stream,
};

use super::blocking::{self, Accept, Connects, Dial};
use super::{Client, Contestant, Listening, Scene};
use crate::frame::HEADER;
use crate::material::{Material, SERVER_NAME};
use crate::measure::{Outcome, Run};
use crate::shape::Shape;
use crate::window::Deadline;

/// TLS 1.3, in full or resumed.
pub(super) struct Tls {
    resumed: bool,
}

impl Tls {
    /// A full handshake every time.
    pub(super) const FULL: Self = Self { resumed: false };

    /// Every session but a client's first resumes the one before.
    pub(super) const RESUMED: Self = Self { resumed: true };
}

impl Contestant for Tls {
    fn name(&self) -> &'static str {
        if self.resumed { "tls-resumed" } else { "tls" }
    }

    fn runs(&self, shape: Shape) -> bool {
        matches!(shape, Shape::Connect { .. } | Shape::HandshakeCpu)
    }

    fn serve(&self, scene: &Scene, listening: Listening<'_>) -> Result<Infallible> {
        let at_once = scene.shape.at_once().context("tls only connects")?;
        let acceptor = Acceptor::new(&scene.material, self.resumed)?;
        blocking::serve(at_once, Arc::new(acceptor), listening)
    }

    fn dial(&self, scene: &Scene, server: SocketAddr) -> Result<Box<dyn Client>> {
        let at_once = scene.shape.at_once().context("tls only connects")?;
        let dialer = || Ok(Box::new(Dialer::new(&scene.material, self.resumed)?) as Box<dyn Dial>);
        let dialers = (0..at_once).map(|_| dialer()).collect::<Result<_>>()?;
        Ok(Box::new(Connects::new(server, dialers)))
    }

    fn alone(&self, scene: &Scene) -> Result<Box<dyn Client>> {
        Ok(Box::new(InMemory {
            dialer: Dialer::new(&scene.material, self.resumed)?,
            acceptor: Acceptor::new(&scene.material, self.resumed)?,
        }))
    }
}

struct Acceptor {
    config: Arc<ServerConfig>,
}

impl Acceptor {
    fn new(material: &Material, resumed: bool) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(material)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier.build().context("the client verifier")?);
        let certificate = CertificateDer::from(material.server.certificate.clone());
        let key = PrivatePkcs8KeyDer::from(material.server.key.clone());
        let mut config = builder.with_single_cert(vec![certificate], key.into())?;
        config.send_tls13_tickets = usize::from(resumed);
        Ok(Self { config: Arc::new(config) })
    }
}

impl Accept for Acceptor {
    fn accept(&self, stream: &mut TcpStream) -> Result<()> {
        let mut tls = ServerConnection::new(Arc::clone(&self.config))?;
        let mut tls = Stream::new(&mut tls, stream);
        let mut frame = [0; HEADER];
        tls.read_exact(&mut frame)?;
        tls.write_all(&frame)?;
        tls.flush().context("sending the frame back")
    }
}

struct Dialer {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
    /// What the next handshake has to be: the first of a resuming client is a full one.
    expected: HandshakeKind,
    resumed: bool,
}

impl Dialer {
    fn new(material: &Material, resumed: bool) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots(material)?);
        let certificate = CertificateDer::from(material.client.certificate.clone());
        let key = PrivatePkcs8KeyDer::from(material.client.key.clone());
        let mut config = builder.with_client_auth_cert(vec![certificate], key.into())?;
        config.resumption =
            if resumed { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        Ok(Self {
            config: Arc::new(config),
            server: ServerName::try_from(SERVER_NAME).context("the server's name")?,
            expected: HandshakeKind::Full,
            resumed,
        })
    }

    fn connection(&self) -> Result<ClientConnection> {
        Ok(ClientConnection::new(Arc::clone(&self.config), self.server.clone())?)
    }

    /// Checks that a handshake was of the kind that is being measured.
    fn check(&mut self, done: &ClientConnection) -> Result<()> {
        let kind = done.handshake_kind().context("the handshake is not complete")?;
        ensure!(kind == self.expected, "a handshake was {kind:?}, not {:?}", self.expected);
        if self.resumed {
            self.expected = HandshakeKind::Resumed;
        }
        Ok(())
    }
}

impl Dial for Dialer {
    fn dial(&mut self, stream: &mut TcpStream, frame: &[u8], answer: &mut [u8]) -> Result<()> {
        let mut tls = self.connection()?;
        tls.writer().write_all(frame)?;
        Stream::new(&mut tls, stream).read_exact(answer)?;
        self.check(&tls)
    }
}

fn roots(material: &Material) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(material.ca.clone())).context("the authority")?;
    Ok(roots)
}

/// Both ends in one thread, through a buffer, until both are done and the ticket is across.
struct InMemory {
    dialer: Dialer,
    acceptor: Acceptor,
}

impl InMemory {
    fn handshake(&mut self, wire: &mut Vec<u8>) -> Result<()> {
        let mut client = self.dialer.connection()?;
        let mut server = ServerConnection::new(Arc::clone(&self.acceptor.config))?;
        while client.wants_write() || server.wants_write() {
            while client.wants_write() {
                client.write_tls(wire)?;
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest)?;
                server.process_new_packets()?;
            }
            wire.clear();
            while server.wants_write() {
                server.write_tls(wire)?;
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest)?;
                client.process_new_packets()?;
            }
            wire.clear();
        }
        ensure!(!server.is_handshaking(), "the server's side is not complete");
        self.dialer.check(&client)
    }
}

impl Client for InMemory {
    fn run(&mut self, time: Duration) -> Result<Outcome> {
        let mut wire = Vec::with_capacity(16 << 10);
        if self.dialer.resumed && self.dialer.expected == HandshakeKind::Full {
            self.handshake(&mut wire).map_err(|error| anyhow!("the first session: {error:#}"))?;
        }
        let mut clock = Deadline::new(time, 1);
        let mut handshakes = 0;
        let run = Run::start();
        loop {
            self.handshake(&mut wire)?;
            handshakes += 1;
            if !clock.tick() {
                return Ok(run.finish(handshakes, None));
            }
        }
    }
}
