//! Sockets that belong to one executor.

use std::future::poll_fn;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::slice;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::batch::Batch;
use super::info::{self, Liveness};
use super::ring::{self, Watched};

/// A TCP connection whose readiness this executor watches.
///
/// It can leave: [`lend`](Stream::lend) turns it into a plain descriptor that another executor
/// [`adopt`](Stream::adopt)s. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Stream(Io);

#[derive(Debug)]
enum Io {
    Ring {
        socket: Watched,
        /// Whether the last read has taken all there was, so that the next one waits first.
        drained: bool,
        /// Whether the last write has found no room, so that the next one waits first.
        full: bool,
    },
    Hosted(TcpStream),
}

impl Io {
    fn ring(socket: Watched) -> Self {
        Self::Ring { socket, drained: false, full: false }
    }
}

impl Stream {
    /// Takes over a connected TCP socket. Must be called on an executor.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        Self(match ring::current() {
            Some(driver) => Io::ring(Watched::new(driver, fd)),
            // SAFETY: `fd` is open and, being consumed here, owned by nobody else.
            None => Io::Hosted(unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }),
        })
    }

    /// Gives up the connection as a descriptor that any executor can adopt. What the peer sent and
    /// we have not read stays in the socket.
    ///
    /// # Errors
    ///
    /// The kernel's, when no descriptor is left; the connection is then closed.
    pub(crate) fn lend(self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    /// Reads into the spare capacity of `buffer`, which must not be empty; 0 bytes mean that the
    /// peer has closed.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let spare = buffer.spare_capacity_mut();
        debug_assert!(!spare.is_empty(), "a read into nothing would look like the peer's end");
        // SAFETY: the pointer and the length are those of a live, exclusively borrowed slice, and its
        // bytes are initialised: every receive buffer is zeroed when it is made (`Buffers::make`)
        // and never grows afterwards.
        let spare = unsafe { slice::from_raw_parts_mut(spare.as_mut_ptr().cast(), spare.len()) };
        let read = ready!(self.poll_read(cx, spare))?;
        // SAFETY: the read has filled `read` bytes of the spare capacity.
        unsafe { buffer.set_len(buffer.len() + read) };
        Poll::Ready(Ok(read))
    }

    /// Completes when there may be something to read, so that nobody holds a buffer while waiting for
    /// that.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Io::Ring { socket, drained, .. } = &mut self.0
            && *drained
        {
            ready!(socket.poll_readable(cx));
            *drained = false;
        }
        Poll::Ready(())
    }

    /// Reads until `bytes[*filled..]` is full, and not a byte more.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the peer closes before that.
    pub(crate) async fn fill_exact(
        &mut self,
        bytes: &mut [u8],
        filled: &mut usize,
    ) -> io::Result<()> {
        while *filled < bytes.len() {
            let rest = &mut bytes[*filled..];
            match poll_fn(|cx| self.poll_read(cx, rest)).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => *filled += read,
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_readable(cx));
            let (socket, drained) = match &mut self.0 {
                Io::Ring { socket, drained, .. } => (socket, drained),
                Io::Hosted(stream) => return Pin::new(stream).poll_read(cx, bytes),
            };
            match rustix::net::recv(&*socket, &mut *bytes, RecvFlags::DONTWAIT) {
                Ok((_, read)) => {
                    // What comes after a short read is news, and so is the peer's end.
                    *drained = read < bytes.len();
                    return Poll::Ready(Ok(read));
                }
                Err(Errno::WOULDBLOCK) => *drained = true,
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes a batch, or its beginning, in one system call. When the socket is full, the task is
    /// woken once it has room.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        batch: &Batch<'_>,
    ) -> Poll<io::Result<usize>> {
        let slices = batch.slices();
        // SAFETY: zeros are an empty message.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = slices.as_ptr().cast_mut();
        message.msg_iovlen = slices.len() as _;
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let send = |socket: BorrowedFd<'_>| {
            let socket = socket.as_raw_fd();
            // SAFETY: the slices, to which the message points, are of memory that the batch borrows, and the
            // kernel only reads them.
            let sent = unsafe {
                match slices {
                    // The same with less to check.
                    [one] => libc::send(socket, one.iov_base, one.iov_len, flags),
                    _ => libc::sendmsg(socket, &raw const message, flags),
                }
            };
            usize::try_from(sent).map_err(|_| io::Error::last_os_error())
        };
        self.poll_send(cx, batch.first(), send)
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        while !bytes.is_empty() {
            let send = |socket: BorrowedFd<'_>| Ok(rustix::net::send(socket, bytes, flags)?);
            let written = poll_fn(|cx| self.poll_send(cx, bytes, send)).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Calls `send`, which must not block, when the socket has room. `first` is the beginning of what
    /// it sends.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        send: impl Fn(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_writable(cx));
            match send(self.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            match &mut self.0 {
                Io::Ring { full, .. } => *full = true,
                // glommio registers interest only from within a write of its own.
                Io::Hosted(stream) => return Pin::new(stream).poll_write(cx, first),
            }
        }
    }

    /// Completes when there may be room to write, so that nobody gathers what cannot go out.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Io::Ring { socket, full, .. } = &mut self.0
            && *full
        {
            ready!(socket.poll_writable(cx));
            *full = false;
        }
        Poll::Ready(())
    }

    /// Ends our direction; the peer reads what is on its way and then the end.
    pub(crate) fn finish(&self) {
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Ends both directions at once, also while the executor still watches the socket.
    pub(crate) fn shutdown(&self) {
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    /// Throws away what has arrived, so that closing sends an end and not a reset, which could
    /// overtake our last words.
    pub(crate) fn discard_input(&self) {
        discard_input(&self.socket());
    }

    /// What the kernel knows about the peer's life.
    pub(crate) fn liveness(&self) -> io::Result<Liveness> {
        info::liveness(self.as_fd())
    }

    /// The error that the connection has ended with, once.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.socket().take_error().ok().flatten()
    }

    /// Whether the peer has closed or reset the connection and nothing is left to read.
    pub(crate) fn has_ended(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match self.socket().recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// The address of the other end.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket().peer_addr().ok()?.as_socket()
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Io::Ring { socket, .. } => socket.as_fd(),
            // SAFETY: the descriptor is open for as long as `self` is.
            Io::Hosted(stream) => unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) },
        }
    }
}

/// Sets what a link needs of its socket: no delay, and probes that notice a silent death. A listening
/// socket hands it on to those that it accepts.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn configure(socket: &impl AsFd) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(3);
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

/// Throws away what has arrived, up to a bound.
pub(super) fn discard_input(socket: &Socket) {
    let mut sink = [MaybeUninit::uninit(); 4096];
    for _ in 0..16 {
        match socket.recv_with_flags(&mut sink, libc::MSG_DONTWAIT) {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}

/// Connects to `address` before `deadline`.
///
/// # Errors
///
/// The kernel's, or [`TimedOut`](io::ErrorKind::TimedOut).
pub(crate) async fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Stream> {
    let Some(driver) = ring::current() else {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(1));
        let stream = Stream(Io::Hosted(TcpStream::connect_timeout(address, left).await?));
        configure(&stream)?;
        return Ok(stream);
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    configure(&socket)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        connected => connected?,
    }
    let socket = Watched::new(driver, socket.into());
    let connected = super::until(deadline, poll_fn(|cx| socket.poll_writable(cx))).await;
    connected.ok_or(io::ErrorKind::TimedOut)?;
    match SockRef::from(&socket).take_error()? {
        Some(error) => Err(error),
        None => Ok(Stream(Io::ring(socket))),
    }
}
