//! Moves handshake frames between a connection and the state machines of `ringseal-auth`, under
//! deadlines.

use std::fmt;
use std::io;
use std::time::Instant;

use ringseal_auth::{
    Acceptor, AcceptorError, AwaitFinish, Dialer, DialerError, DialerNext, DialerStep,
    HandshakeResult, HelloStep, Nonce, Outcome, Policy,
};
use ringseal_wire::{HEADER_LEN, HeaderView, ReplicaId};

use crate::handoff::Early;
use crate::registry::Shared;
use crate::runtime::{Stream, until};
use crate::settings::Settings;

/// Why a handshake failed, in the one word that is counted and the sentence that is logged.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) result: HandshakeResult,
    /// Who the peer said it is, if it got that far.
    pub(crate) peer: Option<ReplicaId>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Acceptor(AcceptorError),
    Dialer(DialerError),
    Io(io::Error),
    Slow(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Acceptor(error) => error.fmt(f),
            Why::Dialer(error) => error.fmt(f),
            Why::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the peer closed the connection in the middle of the handshake")
            }
            Why::Io(error) => error.fmt(f),
            Why::Slow(what) => write!(f, "the peer took too long to {what}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let result = match error.kind() {
            io::ErrorKind::TimedOut => HandshakeResult::Timeout,
            _ => HandshakeResult::Io,
        };
        Self { result, peer: None, why: Why::Io(error) }
    }
}

impl From<AcceptorError> for Failure {
    fn from(error: AcceptorError) -> Self {
        Self { result: error.result(), peer: None, why: Why::Acceptor(error) }
    }
}

impl From<DialerError> for Failure {
    fn from(error: DialerError) -> Self {
        Self { result: error.result(), peer: None, why: Why::Dialer(error) }
    }
}

impl Failure {
    fn slow(what: &'static str) -> Self {
        Self { result: HandshakeResult::Timeout, peer: None, why: Why::Slow(what) }
    }

    fn with_peer(self, peer: ReplicaId) -> Self {
        Self { peer: Some(peer), ..self }
    }
}

/// Runs the acceptor's side.
///
/// # Errors
///
/// [`Failure`]; if the peer waits for an answer, it has been sent.
pub(crate) async fn accept(
    shared: &Shared,
    settings: &Settings,
    stream: &mut Stream,
    began: Instant,
) -> Result<Outcome, Failure> {
    let (mut frame, mut filled) = ([0; HEADER_LEN], 0);
    let hello = stream.fill_exact(&mut frame, &mut filled);
    match until(began + settings.limits.hello_grace, hello).await {
        Some(read) => read?,
        None => return Err(Failure::slow("say who it is")),
    }
    let view = HeaderView::new(&frame);
    let nonce = draw_nonce(shared)?;
    let acceptor = Acceptor::new(settings.identity());
    match acceptor.on_hello(view, |id| settings.roster.contains(id), || nonce) {
        HelloStep::Admitted(outcome) => Ok(outcome),
        HelloStep::Refused { answer, error } => {
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await?;
            }
            Err(Failure::from(error).with_peer(view.replica()))
        }
        HelloStep::Challenge { frame: challenge, next } => {
            let peer = view.replica();
            let finish = async {
                stream.write_all(challenge.as_bytes()).await?;
                finish(stream, next).await
            };
            match until(began + settings.limits.handshake_grace, finish).await {
                Some(outcome) => outcome,
                None => Err(Failure::slow("answer the challenge")),
            }
            .map_err(|failure| failure.with_peer(peer))
        }
    }
}

async fn finish(stream: &mut Stream, next: AwaitFinish<'_>) -> Result<Outcome, Failure> {
    let mut frame = [0; HEADER_LEN];
    match stream.fill_exact(&mut frame, &mut 0).await {
        Ok(()) => Ok(next.on_finish(HeaderView::new(&frame))?),
        // It does not matter how the peer left: a reset is an end that met unread bytes.
        Err(_) => Err(next.on_close().into()),
    }
}

/// Runs the dialer's side. `deadline` ends it; a soft dialer waits for an answer for `hello_grace`
/// at most, and then takes the peer for one that does not authenticate.
///
/// # Errors
///
/// [`Failure`]; nothing more is sent to the peer.
pub(crate) async fn dial(
    shared: &Shared,
    settings: &Settings,
    stream: &mut Stream,
    (peer, deadline): (ReplicaId, Instant),
) -> Result<(Outcome, Early), Failure> {
    let dialer = Dialer::new(settings.identity(), peer)?;
    let (hello, next) = dialer.start(draw_nonce(shared)?, None);
    stream.write_all(hello.as_bytes()).await?;
    let await_challenge = match next {
        DialerNext::Established(outcome) => return Ok((outcome, Early::NONE)),
        DialerNext::AwaitChallenge(await_challenge) => await_challenge,
    };
    let patience = match settings.policy() {
        Policy::Soft => deadline.min(Instant::now() + settings.limits.hello_grace),
        Policy::Off | Policy::Enforce => deadline,
    };
    let (mut frame, mut filled) = ([0; HEADER_LEN], 0);
    match until(patience, stream.fill_exact(&mut frame, &mut filled)).await {
        Some(read) => read?,
        None => return Ok((await_challenge.on_silence()?, Early::new(frame, filled))),
    }
    match await_challenge.on_frame(HeaderView::new(&frame))? {
        DialerStep::Finish { frame: finish, outcome } => {
            stream.write_all(finish.as_bytes()).await?;
            Ok((outcome, Early::NONE))
        }
        DialerStep::Plain { outcome } => Ok((outcome, Early::new(frame, HEADER_LEN))),
    }
}

/// A fresh nonce; the all-zero one, which means "none", is as likely as guessing a key.
fn draw_nonce(shared: &Shared) -> Result<Nonce, Failure> {
    let mut bytes = [0; 32];
    shared.environment.random(&mut bytes)?;
    Nonce::new(bytes).ok_or_else(|| io::Error::other("the random source gave only zeros").into())
}
