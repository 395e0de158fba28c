//! Our own side of a handshake: who we are and what we ask of peers.

use ringseal_wire::{ClusterId, ReplicaId};

use crate::key::KeyRing;
use crate::policy::{Enforcement, Policy};
use crate::transcript::{Binding, Transcript};

/// The id of the cluster called `name`: the first 16 bytes of BLAKE3 over its UTF-8 bytes, read as
/// a little-endian integer. The name is not normalised. The id separates domains and is no secret.
pub fn cluster_id(name: &str) -> ClusterId {
    let hash = blake3::hash(name.as_bytes());
    let (id, _) = hash.as_bytes().split_first_chunk::<16>().expect("a hash is 32 bytes");
    ClusterId::new(u128::from_le_bytes(*id))
}

/// Whether we authenticate, and with what. Without keys it cannot be on; with it off there are none.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'k> {
    /// Links are plain; anybody in reach of the port can claim any id.
    Off,
    /// Links are authenticated.
    On {
        /// What proofs are made and checked with.
        keys: &'k KeyRing,
        /// What happens to a peer that cannot prove itself.
        enforcement: Enforcement,
        /// The form of the protocol that the whole cluster speaks.
        transcript: Transcript,
    },
}

impl Auth<'_> {
    /// The same in one word.
    pub fn policy(&self) -> Policy {
        match self {
            Auth::Off => Policy::Off,
            Auth::On { enforcement, .. } => Policy::from(*enforcement),
        }
    }
}

/// Our side's part in a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'k> {
    pub(crate) cluster: ClusterId,
    pub(crate) replica: ReplicaId,
    pub(crate) auth: Auth<'k>,
    pub(crate) binding: Binding,
}

impl<'k> Identity<'k> {
    /// An identity for handshakes over plaintext links.
    pub const fn new(cluster: ClusterId, replica: ReplicaId, auth: Auth<'k>) -> Identity<'k> {
        Identity { cluster, replica, auth, binding: Binding::Plaintext }
    }

    /// The same identity for a handshake over one particular channel.
    #[must_use]
    pub const fn with_binding(self, binding: Binding) -> Identity<'k> {
        Identity { binding, ..self }
    }

    /// The cluster we belong to.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Our own id.
    pub const fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Whether we authenticate, and with what.
    pub const fn auth(&self) -> Auth<'k> {
        self.auth
    }

    /// What we ask of peers, in one word.
    pub fn policy(&self) -> Policy {
        self.auth.policy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_the_hash_of_its_name_read_little_endian() {
        assert_eq!(cluster_id("iggy-cluster").to_string(), "21bb05c88727bab88d0ec27be8a72d46");
        assert_eq!(cluster_id("").to_string(), "af1349b9f5f9a1a6a0404dea36dcc949");
        assert_ne!(cluster_id("\u{e9}"), cluster_id("e\u{301}"), "names are not normalised");
    }
}
