//! What a frame asks for.

use std::fmt;

/// A frame's command: one byte, carried unchanged whether or not it has a name here.
///
/// The bus itself understands only the three handshake commands; all others belong to the embedder.
/// A number without a name is as good as any other, so an embedder may define its own.
///
/// ```
/// use ringseal_wire::Command;
///
/// assert_eq!(Command::new(14), Command::REPLICA_HELLO);
/// assert_eq!(Command::REPLICA_HELLO.to_string(), "ReplicaHello");
/// assert_eq!(Command::new(200).name(), None);
/// assert_eq!(Command::new(200).to_string(), "Command(200)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Command(u8);

impl Command {
    /// The command with this number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The number, as the byte it is on the wire.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether the command is one of the handshake's three, which are a protocol error at any other
    /// time.
    #[must_use]
    pub const fn is_handshake(self) -> bool {
        matches!(self, Self::REPLICA_HELLO | Self::REPLICA_CHALLENGE | Self::REPLICA_FINISH)
    }
}

/// Declares each command's number, constant and name in one line.
macro_rules! commands {
    ($($number:literal $constant:ident $name:literal)*) => {
        impl Command {
            $(
                #[doc = concat!("`", $name, "`, number ", $number, ".")]
                pub const $constant: Self = Self($number);
            )*

            /// The protocol's name for the command, or `None` for a number it does not name.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    0  RESERVED                "Reserved"
    1  PING                    "Ping"
    2  PONG                    "Pong"
    3  PING_CLIENT             "PingClient"
    4  PONG_CLIENT             "PongClient"
    5  REQUEST                 "Request"
    6  PREPARE                 "Prepare"
    7  PREPARE_OK              "PrepareOk"
    8  REPLY                   "Reply"
    9  COMMIT                  "Commit"
    10 START_VIEW_CHANGE       "StartViewChange"
    11 DO_VIEW_CHANGE          "DoViewChange"
    12 START_VIEW              "StartView"
    13 EVICTION                "Eviction"
    14 REPLICA_HELLO           "ReplicaHello"
    15 REPLICA_CHALLENGE       "ReplicaChallenge"
    16 REPLICA_FINISH          "ReplicaFinish"
    17 REQUEST_START_VIEW      "RequestStartView"
    18 REQUEST_PREPARES        "RequestPrepares"
    19 REPAIR_PREPARE          "RepairPrepare"
    20 REPAIR_DONE             "RepairDone"
    21 RANGE_EVICTED           "RangeEvicted"
    22 REQUEST_STATE_TRANSFER  "RequestStateTransfer"
    23 STATE_TRANSFER_TARGET   "StateTransferTarget"
    24 REQUEST_STATE_CHUNK     "RequestStateChunk"
    25 STATE_CHUNK             "StateChunk"
    26 FORWARD_REGISTER        "ForwardRegister"
    27 FORWARD_REGISTER_RESULT "ForwardRegisterResult"
    28 FORWARD_LOGOUT          "ForwardLogout"
    29 FORWARD_LOGOUT_RESULT   "ForwardLogoutResult"
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Command({})", self.0),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_30_numbers_have_names_and_no_others() {
        for number in 0..=u8::MAX {
            let command = Command::new(number);
            assert_eq!(command.get(), number);
            assert_eq!(command.name().is_some(), number < 30, "{command}");
        }
    }

    #[test]
    fn names_match_their_numbers() {
        assert_eq!(Command::RESERVED.get(), 0);
        assert_eq!(Command::PREPARE_OK.get(), 7);
        assert_eq!(Command::EVICTION.get(), 13);
        assert_eq!(Command::REQUEST_START_VIEW.name(), Some("RequestStartView"));
        assert_eq!(Command::FORWARD_LOGOUT_RESULT.get(), 29);
        assert_eq!(format!("{:?}", Command::new(29)), "ForwardLogoutResult");
        assert_eq!(format!("{:?}", Command::new(30)), "Command(30)");
    }

    #[test]
    fn only_14_to_16_are_handshake() {
        for number in 0..=u8::MAX {
            assert_eq!(Command::new(number).is_handshake(), (14..=16).contains(&number));
        }
    }
}
