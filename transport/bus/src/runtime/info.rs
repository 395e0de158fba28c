//! What the kernel knows about a connection that nobody has asked the peer for.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Signs of a peer's life, from `TCP_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Liveness {
    /// Whether the connection is still one: not reset and not timed out.
    pub(crate) connected: bool,
    /// Whether the peer has ended its direction. Its kernel may go on answering probes, with nobody
    /// behind it.
    pub(crate) finished: bool,
    /// The time since the peer last sent data or acknowledged any, or answered a probe.
    pub(crate) silent_for: Duration,
    /// How many retransmissions or probes of ours have gone unanswered in a row.
    pub(crate) unanswered: u8,
    /// Whether the peer's kernel has everything that we have written.
    pub(crate) acknowledged: bool,
    /// How long acknowledgements take to come back, smoothed by the kernel.
    pub(crate) round_trip: Duration,
}

const TCP_CLOSE: u8 = 7;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LAST_ACK: u8 = 9;
const TCP_CLOSING: u8 = 11;

pub(super) fn liveness(fd: BorrowedFd<'_>) -> io::Result<Liveness> {
    // SAFETY: `tcp_info` is plain integers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which is that large.
    let status = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let silent_for = info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
    // A peer whose window is closed answers every retransmission and takes none, so their number grows
    // although it lives: they count only while the last one has waited for its answer for a second.
    let sent = info.tcpi_last_data_sent;
    let owed = sent >= 1000 && sent < info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
    Ok(Liveness {
        connected: info.tcpi_state != TCP_CLOSE,
        finished: [TCP_CLOSE_WAIT, TCP_LAST_ACK, TCP_CLOSING].contains(&info.tcpi_state),
        silent_for: Duration::from_millis(silent_for.into()),
        unanswered: info.tcpi_probes.max(if owed { info.tcpi_retransmits } else { 0 }),
        acknowledged: info.tcpi_unacked == 0 && info.tcpi_notsent_bytes == 0,
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
    })
}
