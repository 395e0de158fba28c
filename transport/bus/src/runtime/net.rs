//! Sockets that belong to one executor.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::slice;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::{SockRef, Socket, TcpKeepalive};

use super::info::{self, Liveness};

/// A TCP connection whose readiness this executor watches.
///
/// It can leave: [`lend`](Stream::lend) turns it into a plain descriptor that another executor
/// [`adopt`](Stream::adopt)s. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Stream(TcpStream);

impl Stream {
    /// Takes over a connected TCP socket. Must be called on an executor.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        // SAFETY: `fd` is open and, being consumed here, owned by nobody else.
        Self(unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) })
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
        let read = ready!(Pin::new(&mut self.0).poll_read(cx, spare))?;
        // SAFETY: the read has filled `read` bytes of the spare capacity.
        unsafe { buffer.set_len(buffer.len() + read) };
        Poll::Ready(Ok(read))
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
            match poll_fn(|cx| Pin::new(&mut self.0).poll_read(cx, rest)).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => *filled += read,
            }
        }
        Ok(())
    }

    /// Writes a batch in one system call. When the socket is full, the task is woken once it has
    /// room.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        batch: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self
                .socket()
                .send_vectored_with_flags(batch, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
        // The runtime registers interest only from within a write of its own.
        let first = batch.iter().find(|slice| !slice.is_empty());
        Pin::new(&mut self.0).poll_write(cx, first.map_or(&[], |slice| slice))
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Sends what a link needs of its socket: no delay, and probes that notice a silent death.
    pub(crate) fn configure(&self) -> io::Result<()> {
        let second = Duration::from_secs(1);
        let keepalive = TcpKeepalive::new().with_time(second).with_interval(second).with_retries(3);
        self.socket().set_tcp_nodelay(true)?;
        self.socket().set_tcp_keepalive(&keepalive)
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

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self` is.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
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
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    Ok(Stream(TcpStream::connect_timeout(address, left).await?))
}
