//! Moves handshake frames between a connection and the state machines of `ringseal-auth`, under
//! deadlines.

use std::fmt;
use std::io;
use std::time::Instant;

use ringseal_auth::{
    Acceptor, AcceptorError, AwaitFinish, Dialer, DialerError, DialerNext, DialerStep,
    HandshakeResult, HelloStep, Nonce, Outcome, Policy, tag,
};
use ringseal_wire::{HEADER_LEN, Header, HeaderView, ReplicaId};

use crate::handoff::Early;
use crate::metrics::Tag;
use crate::registry::Shared;
use crate::runtime::{Stream, Visitor, until};
use crate::settings::Settings;
use crate::shard::Local;

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
    pub(crate) fn slow(what: &'static str) -> Self {
        Self { result: HandshakeResult::Timeout, peer: None, why: Why::Slow(what) }
    }

    fn with_peer(self, peer: ReplicaId) -> Self {
        Self { peer: Some(peer), ..self }
    }
}

/// What the first frame shows of its sender's membership. Nothing is answered and no randomness is
/// drawn for it, and it decides nothing but where the newcomer waits.
pub(crate) fn read_tag(shared: &Shared, settings: &Settings, hello: HeaderView<'_>) -> Tag {
    let (Some(keys), Some(tag)) = (settings.keys(), tag::read_tag(hello)) else {
        return Tag::Absent;
    };
    let Some(genuine) = tag.verify(keys, settings.cluster, settings.replica) else {
        return Tag::Wrong;
    };
    match shared.freshness.accept(genuine, shared.environment.unix_ms()) {
        true => Tag::Fresh,
        false => Tag::Stale,
    }
}

/// Runs the acceptor's side for a visitor whose first frame has come.
///
/// # Errors
///
/// [`Failure`]; if the peer waits for an answer, it has been sent.
pub(crate) async fn accept(
    local: &Local,
    settings: &Settings,
    visitor: Visitor,
    deadline: Instant,
) -> Result<(Stream, Outcome), Failure> {
    let (mut stream, challenge, next) = match answer(local, settings, visitor)? {
        Answer::Link(stream, outcome) => return Ok((stream, outcome)),
        Answer::Challenge(stream, challenge, next) => (stream, challenge, next),
    };
    let peer = next.peer();
    let proven = async {
        stream.write_all(challenge.as_bytes()).await?;
        finish(&mut stream, next).await
    };
    let outcome = match until(deadline, proven).await {
        Some(outcome) => outcome,
        None => Err(Failure::slow("answer the challenge")),
    };
    match outcome {
        Ok(outcome) => Ok((stream, outcome)),
        Err(failure) => {
            stream.finish();
            stream.discard_input();
            Err(failure.with_peer(peer))
        }
    }
}

/// What is to be done about a Hello.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one step of one handshake, and boxing the frame would allocate"
)]
enum Answer<'k> {
    Link(Stream, Outcome),
    Challenge(Stream, Header, AwaitFinish<'k>),
}

/// Takes the first frame and finds the answer to it. Only somebody who is worth one gets randomness
/// and a place on the ring.
fn answer<'k>(
    local: &Local,
    settings: &'k Settings,
    visitor: Visitor,
) -> Result<Answer<'k>, Failure> {
    let mut frame = [0; HEADER_LEN];
    visitor.take(&mut frame)?;
    let hello = HeaderView::new(&frame);
    let mut drawn = Ok(());
    let nonce = || {
        draw_nonce(&local.shared).unwrap_or_else(|failure| {
            drawn = Err(failure);
            Nonce::new([1; 32]).expect("not zero")
        })
    };
    let acceptor = Acceptor::new(settings.identity());
    let step = acceptor.on_hello(hello, |id| settings.roster.contains(id), nonce);
    // A Challenge without randomness is never sent.
    drawn?;
    match step {
        HelloStep::Admitted(outcome) => {
            Ok(Answer::Link(visitor.into_stream(&local.watch)?, outcome))
        }
        HelloStep::Challenge { frame, next } => {
            Ok(Answer::Challenge(visitor.into_stream(&local.watch)?, frame, next))
        }
        HelloStep::Refused { answer, error } => {
            visitor.dismiss(answer.as_ref().map(|answer| &answer.as_bytes()[..]));
            Err(Failure::from(error).with_peer(hello.replica()))
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
    let time_ms = shared.tag_clock.next(shared.environment.unix_ms());
    let (hello, next) = dialer.start(draw_nonce(shared)?, Some(time_ms));
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
