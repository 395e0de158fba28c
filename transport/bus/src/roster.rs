//! Who the replicas of a cluster are and where they listen.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ringseal_wire::ReplicaId;

/// Where a replica listens: a literal socket address, or a DNS name and a port.
///
/// A name is resolved anew at each dial, on a thread of its own, so a replica that moves to another
/// address is found again without a restart.
///
/// ```
/// use ringseal::Address;
/// let literal: Address = "[::1]:7001".parse()?;
/// let name: Address = "replica-1.orders.internal:7001".parse()?;
/// assert!("replica-1".parse::<Address>().is_err(), "a port is required");
/// # let _ = (literal, name);
/// # Ok::<(), ringseal::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IPv4 or IPv6 address with its port.
    Socket(SocketAddr),
    /// A DNS name with its port.
    Name {
        /// The name, at most 253 bytes.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Ok(socket) = text.parse() {
            return Ok(Self::Socket(socket));
        }
        let error = || AddressError { found: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let is_name = (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if is_name { Ok(Self::Name { host: host.to_owned(), port }) } else { Err(error()) }
    }
}

impl Address {
    /// The address itself, unless it is a name.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(socket) => Some(*socket),
            Self::Name { .. } => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Self::Socket(socket)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// The text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not an address; write 192.0.2.1:7000, [2001:db8::1]:7000 or name.example:7000"
)]
pub struct AddressError {
    /// What was given.
    pub found: String,
}

/// Every replica of the cluster, this one included, at most 256. Ids need not be dense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<ReplicaId, Address>);

impl Roster {
    /// Collects the replicas of a cluster.
    ///
    /// # Errors
    ///
    /// [`RosterError`] when an id appears twice.
    pub fn new(
        replicas: impl IntoIterator<Item = (ReplicaId, Address)>,
    ) -> Result<Self, RosterError> {
        let mut roster = BTreeMap::new();
        for (id, address) in replicas {
            if roster.insert(id, address).is_some() {
                return Err(RosterError { id });
            }
        }
        Ok(Self(roster))
    }

    /// The address of a replica, if it is one of the cluster's.
    #[must_use]
    pub fn get(&self, id: ReplicaId) -> Option<&Address> {
        self.0.get(&id)
    }

    /// Whether the cluster has a replica of this id.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.0.contains_key(&id)
    }

    /// The replicas in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, &Address)> {
        self.0.iter().map(|(id, address)| (*id, address))
    }

    /// How many replicas the cluster has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the roster names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Two replicas of one roster carry the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "replica {id} is listed twice; every replica of a cluster needs an id of its own, 0 to 255"
)]
pub struct RosterError {
    /// The id that was listed twice.
    pub id: ReplicaId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_kind_round_trip() {
        for text in ["127.0.0.1:7000", "[::1]:7000", "localhost:7000", "a-b.c_d.e:1"] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for text in ["", ":7000", "host", "host:", "host:70000", "::1:7000", "1.2.3:7000", "a b:1"]
        {
            let error = text.parse::<Address>().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_id_may_be_listed_once() {
        let at = |id, port| (ReplicaId::new(id), SocketAddr::from(([127, 0, 0, 1], port)).into());
        assert_eq!(Roster::new([at(7, 1), at(3, 2)]).expect("distinct").len(), 2);
        let error = Roster::new([at(7, 1), at(7, 2)]).expect_err("twice");
        assert_eq!(error.id, ReplicaId::new(7));
    }
}
