//! Why something did not work, who is at fault and what to do.

use std::io;
use std::net::SocketAddr;

use ringseal_wire::{Frame, ReplicaId};

use crate::config::ConfigError;

/// Why a bus did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listen address is a name that did not resolve.
    #[error("cannot resolve the listen address {address}: {source}")]
    Resolve {
        /// The address as configured.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The port could not be opened: somebody else has it, or it is not ours to open.
    #[error("cannot listen on {address}: {source}; is another process using the port?")]
    Listen {
        /// Where we tried to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A shard's thread or its io_uring could not be made.
    #[error(
        "cannot start shard {shard}: {source}; each shard needs a thread, two descriptors \
         (`ulimit -n`) and a kernel that permits io_uring (`sysctl kernel.io_uring_disabled`, or a \
         container's seccomp profile)"
    )]
    Executor {
        /// The shard that could not start.
        shard: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A frame that was not accepted, and why. It is given back whole.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    /// Why.
    pub kind: SendErrorKind,
    /// The frame as it was handed in.
    pub frame: Frame,
}

/// Why a frame was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// No link to the peer is up. The handler hears of the next one through `on_link_up`.
    #[error("no link to the peer is up; wait for on_link_up")]
    NotConnected,
    /// The peer's outbox is full. The handler's `on_writable` is called once when it has room.
    #[error("the peer's outbox is full; wait for on_writable")]
    Backpressure,
    /// The frame is larger than `max_message_size`.
    #[error("the frame is larger than max_message_size")]
    TooLarge,
    /// The peer is not in the roster, or is this replica itself.
    #[error("the peer is not another replica of this cluster")]
    UnknownPeer,
    /// The bus is shutting down.
    #[error("the bus is shutting down")]
    ShuttingDown,
    /// The frame carries a handshake command (14 to 16), which would end the link at the peer.
    #[error("commands 14 to 16 belong to the handshake and cannot be sent on a link")]
    ReservedCommand,
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The peer closed the connection.
    Eof,
    /// The connection was reset.
    Reset,
    /// The peer sent what the protocol forbids: a bad size, or a handshake command.
    ProtocolError,
    /// The peer is gone without a word and came back on a newer connection.
    Superseded,
    /// A living link to this peer exists already.
    Duplicate,
    /// The peer answers neither probes nor data.
    Keepalive,
    /// The bus is shutting down.
    Shutdown,
    /// A reload took away what the link was built on.
    Reload,
    /// Any other error of the socket.
    Io,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Eof,
        Self::Reset,
        Self::ProtocolError,
        Self::Superseded,
        Self::Duplicate,
        Self::Keepalive,
        Self::Shutdown,
        Self::Reload,
        Self::Io,
    ];

    /// The word that logs and metrics carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eof => "eof",
            Self::Reset => "reset",
            Self::ProtocolError => "protocol_error",
            Self::Superseded => "superseded",
            Self::Duplicate => "duplicate",
            Self::Keepalive => "keepalive",
            Self::Shutdown => "shutdown",
            Self::Reload => "reload",
            Self::Io => "io",
        }
    }

    /// Names what an error of the socket means for its link.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::Keepalive,
            _ => Self::Io,
        }
    }
}

/// How a [`broadcast`](crate::Mesh::broadcast) went: accepted by some, refused for others.
#[derive(Debug, Default)]
pub struct Broadcast {
    /// How many peers the frame is on its way to.
    pub accepted: usize,
    /// The peers it could not be sent to, and why.
    pub refused: Vec<(ReplicaId, SendErrorKind)>,
}

/// Why a shutdown was not a clean one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The embedder's handler panicked on this shard, whose links are gone since.
    #[error("the handler of shard {shard} has panicked; its links are gone")]
    Panicked {
        /// The shard.
        shard: usize,
    },
    /// The embedder's handler has not returned on this shard.
    #[error("the handler of shard {shard} does not return; its thread goes on")]
    Stuck {
        /// The shard.
        shard: usize,
    },
}
