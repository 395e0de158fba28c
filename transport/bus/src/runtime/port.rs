//! The port and those who knock at it.
//!
//! A stranger is kept off the ring until it has said something: it is a descriptor in an epoll set, with
//! no task and no timer. The kernel reports it when a whole first frame has arrived or the connection
//! has ended, and not before, so one that sends a byte a second costs no wake-up at all.

use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::TcpStream;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Resource, getrlimit};
use socket2::Socket;

use super::net::{Stream, configure};
use super::ring::{self, Watched};
use super::sleep;

/// How long waiting for the port rests when there is no descriptor to wait with.
const REST: Duration = Duration::from_millis(10);

/// How many events are taken at once.
const EVENTS: usize = 256;

/// The number under which the port itself is watched.
const PORT: u64 = u64::MAX;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener(Socket);

impl Listener {
    /// Listens on a bound socket. Strangers inherit what it sets: a first frame of `frame` bytes is
    /// reported whole, and one that is sent away leaves nothing behind, neither a socket that waits
    /// for the stranger's goodbye nor one that remembers it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn open(socket: Socket, backlog: i32, frame: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        set_low_water(&socket, frame)?;
        socket.set_linger(Some(Duration::ZERO))?;
        configure(&socket)?;
        socket.listen(backlog)?;
        Ok(Self(socket))
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.0
    }

    /// A descriptor that is good for nothing but to be given up when there is no other.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn spare(&self) -> io::Result<OwnedFd> {
        Ok(self.0.try_clone()?.into())
    }

    /// The next stranger, if one is there.
    ///
    /// # Errors
    ///
    /// The kernel's, such as having no descriptor left; the listener stays good.
    pub(crate) fn accept(&self) -> io::Result<Option<(Visitor, SocketAddr)>> {
        loop {
            match self.0.accept() {
                Ok((socket, address)) => {
                    // Only IP sockets come out of a TCP listener.
                    let address = address.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
                    return Ok(Some((Visitor(socket), address)));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    // It has left again, which says nothing about the next one.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // The kernel looks for a descriptor before it looks who is there.
                    _ if is_shortage(&error) && !self.has_caller() => return Ok(None),
                    _ => return Err(error),
                },
            }
        }
    }

    fn has_caller(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut listener = [PollFd::new(&self.0, PollFlags::IN)];
        rustix::event::poll(&mut listener, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

/// Stops listening at once, although connections may wait that nobody has accepted.
impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Whether accepting has failed because there is no descriptor left, in the process or the system.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// How many descriptors this process may have open.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The strangers of one shard and its port, watched together.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: OwnedFd,
}

/// What has happened to those who are watched.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Somebody knocks.
    Knock,
    /// The stranger of this number has sent a whole frame, or has gone.
    Stirred { number: u64, gone: bool },
}

impl Watch {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Reports connections that wait to be accepted, for as long as there are any.
    pub(crate) fn add_listener(&self, listener: &Listener) -> io::Result<()> {
        let data = EventData::new_u64(PORT);
        Ok(epoll::add(&self.epoll, &listener.0, data, EventFlags::IN)?)
    }

    /// Reports a stranger under `number`, once for each time that something happens to it.
    pub(crate) fn add(&self, visitor: &Visitor, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, &visitor.0, EventData::new_u64(number), flags)?)
    }

    /// What has happened since it was last asked; true when that may not be all.
    pub(crate) fn take(&self, happened: &mut Vec<Happened>) -> bool {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let events = match epoll::wait(&self.epoll, &mut events, Some(&now)) {
            Ok((events, _)) => events,
            Err(_) => return false,
        };
        let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        happened.extend(events.iter().map(|&Event { flags, data, .. }| match data.u64() {
            PORT => Happened::Knock,
            number => Happened::Stirred { number, gone: flags.intersects(ended) },
        }));
        events.len() == EVENTS
    }

    /// Waits until something has happened.
    pub(crate) async fn ready(&self) {
        if let Some(driver) = ring::current() {
            let epoll = Watched::new(driver, self.epoll.as_fd());
            return poll_fn(|cx| epoll.poll_readable(cx)).await;
        }
        let Ok(epoll) = self.epoll.try_clone() else { return sleep(REST).await };
        // glommio polls a socket from the moment that it is adopted and reads from it after that poll.
        // The read fails, for an epoll set is no socket, and the poll is all that is wanted.
        // SAFETY: the descriptor is open and, being given up here, owned by nobody else.
        let mut polled = unsafe { TcpStream::from_raw_fd(epoll.into_raw_fd()) };
        let _ = poll_fn(|cx| Pin::new(&mut polled).poll_read(cx, &mut [0])).await;
    }
}

/// A connection of somebody who has said nothing yet. Dropping it resets the connection.
#[derive(Debug)]
pub(crate) struct Visitor(Socket);

/// What has arrived from a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The whole frame that was asked for.
    All,
    /// Less than that.
    Part,
    /// The connection was reset, or ended before anything came.
    End,
}

impl Visitor {
    /// Copies the beginning of what has arrived, which stays where it is.
    pub(crate) fn peek(&self, frame: &mut [u8]) -> Arrived {
        self.receive(frame, RecvFlags::PEEK)
    }

    /// Takes a frame that has arrived.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when it has not.
    pub(crate) fn take(&self, frame: &mut [u8]) -> io::Result<()> {
        match self.receive(frame, RecvFlags::empty()) {
            Arrived::All => Ok(()),
            Arrived::Part | Arrived::End => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn receive(&self, frame: &mut [u8], flags: RecvFlags) -> Arrived {
        let whole = frame.len();
        match rustix::net::recv(&self.0, frame, flags | RecvFlags::DONTWAIT) {
            Ok((_, received)) if received == whole => Arrived::All,
            Ok((_, 0)) => Arrived::End,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Arrived::Part,
            Err(_) => Arrived::End,
        }
    }

    /// How many descriptors are in use at least, for the kernel gives out the lowest that is free.
    pub(crate) fn descriptors_in_use(&self) -> u64 {
        self.0.as_raw_fd().unsigned_abs().into()
    }

    /// Sends a last answer, if the connection takes it at once, as a new one does, and then the end.
    pub(crate) fn dismiss(self, answer: Option<&[u8]>) {
        let _ = self.0.set_linger(None);
        if let Some(answer) = answer {
            let _ = self.0.send_with_flags(answer, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
        }
        let _ = self.0.shutdown(Shutdown::Write);
        super::net::discard_input(&self.0);
    }

    /// Puts the connection on the ring, as what any other is. Must be called on an executor.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn into_stream(self, watch: &Watch) -> io::Result<Stream> {
        epoll::delete(&watch.epoll, &self.0)?;
        self.0.set_linger(None)?;
        set_low_water(&self.0, 1)?;
        Ok(Stream::adopt(self.0.into()))
    }
}

/// Has the kernel report input only when so many bytes have come, or the end.
fn set_low_water(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `len` bytes of `bytes`, which is that large.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            mem::size_of_val(&bytes) as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
