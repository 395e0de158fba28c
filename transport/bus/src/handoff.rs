//! A link's journey to the shard that will own it.

use std::io;
use std::os::fd::OwnedFd;

use ringseal_auth::Outcome;
use ringseal_wire::HEADER_LEN;

use crate::owner::Owner;
use crate::runtime::Stream;
use crate::settings::KeyId;

/// A connection whose handshake has succeeded, by value: whoever drops it closes it. On its way
/// between shards its socket is a plain descriptor.
#[derive(Debug)]
pub(crate) struct Handoff<S> {
    pub(crate) socket: S,
    /// The claim that this link holds in the owner table.
    pub(crate) owner: Owner,
    pub(crate) outcome: Outcome,
    /// The secret that the peer has proven to hold.
    pub(crate) key: KeyId,
    /// The shard whose connector wants to hear of the link's end, if we dialled.
    pub(crate) dialed_by: Option<usize>,
    /// What the handshake has read of the stream behind it.
    pub(crate) early: Early,
}

impl Handoff<Stream> {
    /// Gets the connection ready to leave this shard.
    ///
    /// # Errors
    ///
    /// The kernel's, when no descriptor is left; the connection is closed then, and its claim is the
    /// caller's to give up.
    pub(crate) fn lend(self) -> io::Result<Handoff<OwnedFd>> {
        let Self { socket, owner, outcome, key, dialed_by, early } = self;
        Ok(Handoff { socket: socket.lend()?, owner, outcome, key, dialed_by, early })
    }
}

impl Handoff<OwnedFd> {
    /// Takes the connection over on the shard it was sent to.
    pub(crate) fn adopt(self) -> Handoff<Stream> {
        let Self { socket, owner, outcome, key, dialed_by, early } = self;
        Handoff { socket: Stream::adopt(socket), owner, outcome, key, dialed_by, early }
    }
}

/// The first bytes of a link that were read while a handshake frame could still come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    bytes: [u8; HEADER_LEN],
    len: usize,
}

impl Early {
    pub(crate) const NONE: Self = Self { bytes: [0; HEADER_LEN], len: 0 };

    pub(crate) fn new(bytes: [u8; HEADER_LEN], len: usize) -> Self {
        debug_assert!(len <= HEADER_LEN);
        Self { bytes, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
