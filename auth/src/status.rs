//! What a peer is told about its refusal.
//!
//! This is deliberately less than what we know: a byte that lets an operator on the other side
//! find a wrong setting, and nothing that would help somebody guess. What we know ourselves is in
//! [`error`](crate::error).

use core::fmt;

/// The status byte of a Challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The frame is a challenge and not a refusal.
    Ok,
    /// The first frame was not a Hello.
    UnknownCommand,
    /// The Hello names another cluster.
    ClusterMismatch,
    /// The dialer's id is not in the acceptor's roster, or not lower than the acceptor's.
    DirectionalRule,
    /// The Hello carries no nonce. Never sent: such a peer reads no answer.
    AuthRequired,
    /// The Finish proves nothing. Never sent: the peer has stopped reading handshake frames.
    MacMismatch,
    /// A status of a later protocol. It is a refusal like any other.
    Unknown(u8),
}

impl Status {
    /// Reads the byte as it stands on the wire.
    pub const fn from_byte(byte: u8) -> Status {
        match byte {
            0 => Status::Ok,
            1 => Status::UnknownCommand,
            2 => Status::ClusterMismatch,
            3 => Status::DirectionalRule,
            4 => Status::AuthRequired,
            5 => Status::MacMismatch,
            other => Status::Unknown(other),
        }
    }

    /// The byte that goes on the wire.
    pub const fn to_byte(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::UnknownCommand => 1,
            Status::ClusterMismatch => 2,
            Status::DirectionalRule => 3,
            Status::AuthRequired => 4,
            Status::MacMismatch => 5,
            Status::Unknown(other) => other,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Ok => f.pad("ok"),
            Status::UnknownCommand => f.pad("unknown_command"),
            Status::ClusterMismatch => f.pad("cluster_mismatch"),
            Status::DirectionalRule => f.pad("directional_rule"),
            Status::AuthRequired => f.pad("auth_required"),
            Status::MacMismatch => f.pad("mac_mismatch"),
            Status::Unknown(byte) => write!(f, "status {byte}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_a_round_trip_and_only_zero_is_ok() {
        for byte in 0..=u8::MAX {
            let status = Status::from_byte(byte);
            assert_eq!(status.to_byte(), byte);
            assert_eq!(status == Status::Ok, byte == 0);
            assert_eq!(matches!(status, Status::Unknown(_)), byte > 5);
        }
    }
}
