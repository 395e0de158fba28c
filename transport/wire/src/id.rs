//! Who a frame is from, and which cluster it belongs to.

use std::fmt;

/// A replica's id within its cluster: one byte on the wire.
///
/// Ids order the replicas: of two, the one with the lower id dials and the higher accepts.
///
/// ```
/// use ringseal_wire::ReplicaId;
///
/// let dialer = ReplicaId::new(1);
/// let acceptor = ReplicaId::new(3);
/// assert!(dialer < acceptor);
/// assert_eq!(acceptor.to_string(), "3");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReplicaId(u8);

impl ReplicaId {
    /// The replica with this number.
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// The id as the byte it is on the wire.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The id as an index, for tables with one slot per replica; always below 256.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<u8> for ReplicaId {
    fn from(id: u8) -> Self {
        Self(id)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The cluster a frame belongs to: 128 bits, little-endian on the wire.
///
/// It separates clusters whose ports get mixed up; it is not a secret. Written out, it is the 16 bytes
/// in the order they have on the wire, so it can be compared with a packet capture or with a hash
/// tool's output.
///
/// ```
/// use ringseal_wire::ClusterId;
///
/// let cluster = ClusterId::new(u128::from_le_bytes(*b"\x21\xbb\x05\xc8\x87\x27\xba\xb8\
///                                                     \x8d\x0e\xc2\x7b\xe8\xa7\x2d\x46"));
/// assert_eq!(cluster.to_string(), "21bb05c88727bab88d0ec27be8a72d46");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(u128);

impl ClusterId {
    /// The cluster with this number.
    #[must_use]
    pub const fn new(id: u128) -> Self {
        Self(id)
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_wire_order = u128::from_be_bytes(self.0.to_le_bytes());
        write!(f, "{in_wire_order:032x}")
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_id_keeps_its_number() {
        for number in 0..=u8::MAX {
            let id = ReplicaId::from(number);
            assert_eq!(id, ReplicaId::new(number));
            assert_eq!(id.get(), number);
            assert_eq!(id.index(), usize::from(number));
            assert_eq!(id.to_string(), number.to_string());
        }
        assert_eq!(format!("{:>4}", ReplicaId::new(7)), "   7");
    }

    #[test]
    fn a_cluster_id_is_written_as_32_digits_in_wire_order() {
        assert_eq!(ClusterId::new(0).to_string(), "0".repeat(32));
        assert_eq!(ClusterId::new(1).to_string(), format!("01{}", "0".repeat(30)));
        assert_eq!(format!("{:?}", ClusterId::new(u128::MAX)), "f".repeat(32));
        assert_eq!(ClusterId::new(1 << 120).get(), 1 << 120);
    }
}
