//! What a MAC is computed over. This is the only place that knows the order of the fields.
//!
//! ```text
//! current   domain 27 | cluster 16 | dialer 1 | acceptor 1 | nonce_d 32 | nonce_a 32
//!           | mode 1 | exporter 32 | direction 1                              143 bytes
//! pr3425    the same without mode and exporter                                110 bytes
//! ```
//!
//! Every field has a fixed length, so no two exchanges share an input.

use core::fmt;
use core::str::FromStr;

use ringseal_wire::{ClusterId, ReplicaId};

use crate::policy::UnknownWord;

const DOMAIN: &[u8; 27] = b"apache-iggy replica-auth v1";
const LEN_CURRENT: usize = 27 + 16 + 1 + 1 + 32 + 32 + 1 + 32 + 1;
const LEN_PR3425: usize = LEN_CURRENT - (1 + 32);
const _: () = assert!(LEN_CURRENT == 143 && LEN_PR3425 == 110);

/// The form of the transcript, the same on every node of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transcript {
    /// With the channel binding.
    #[default]
    Current,
    /// The older form. It has no place for a channel binding, so under it a TLS link is
    /// authenticated as a plaintext link is.
    Pr3425,
}

impl Transcript {
    /// The word used in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transcript::Current => "current",
            Transcript::Pr3425 => "pr3425",
        }
    }

    /// Lays out the input of the MAC with which `direction` proves its part in `exchange`.
    pub(crate) fn input(self, exchange: &Exchange, direction: Direction) -> Input {
        let mut input = Input::new();
        input.push(DOMAIN);
        input.push(&exchange.ids.cluster.get().to_le_bytes());
        input.push(&[exchange.ids.dialer.get(), exchange.ids.acceptor.get()]);
        input.push(&exchange.dialer_nonce);
        input.push(&exchange.acceptor_nonce);
        if self == Transcript::Current {
            let (mode, exporter) = exchange.binding.mode_and_exporter();
            input.push(&[mode]);
            input.push(exporter);
        }
        input.push(&[direction as u8]);
        debug_assert_eq!(
            input.len,
            match self {
                Transcript::Current => LEN_CURRENT,
                Transcript::Pr3425 => LEN_PR3425,
            }
        );
        input
    }
}

impl FromStr for Transcript {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Transcript, UnknownWord> {
        match word {
            "current" => Ok(Transcript::Current),
            "pr3425" => Ok(Transcript::Pr3425),
            _ => Err(UnknownWord { expected: "current, pr3425" }),
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The two ends of a link, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkIds {
    /// The cluster that both belong to.
    pub cluster: ClusterId,
    /// The replica that dials: the lower id, in a handshake that can succeed.
    pub dialer: ReplicaId,
    /// The replica that accepts.
    pub acceptor: ReplicaId,
}

/// Everything that both sides of one handshake have to agree on.
#[derive(Clone, Copy)]
pub struct Exchange {
    /// Who talks to whom.
    pub ids: LinkIds,
    /// The 32 random bytes of the Hello.
    pub dialer_nonce: [u8; 32],
    /// The 32 random bytes of the Challenge.
    pub acceptor_nonce: [u8; 32],
    /// The channel that the frames travel on.
    pub binding: Binding,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("ids", &self.ids)
            .field("binding", &self.binding)
            .finish_non_exhaustive()
    }
}

/// Who makes a MAC. It is part of the MAC, so that neither side's can be sent back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// The MAC of the Finish.
    Dialer = 1,
    /// The MAC of the Challenge.
    Acceptor = 2,
}

/// The channel that a handshake is tied to: its MACs are worth nothing on another.
#[derive(Clone, Copy)]
pub enum Binding {
    /// A plain TCP link, which has nothing to tie to.
    Plaintext,
    /// A TLS 1.3 link: its exporter value for the label `iggy replica psk binding` with an empty
    /// context.
    TlsExporter([u8; 32]),
}

impl Binding {
    const fn mode_and_exporter(&self) -> (u8, &[u8; 32]) {
        match self {
            Binding::Plaintext => (0, &[0; 32]),
            Binding::TlsExporter(exporter) => (1, exporter),
        }
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Binding::Plaintext => "Plaintext",
            Binding::TlsExporter(_) => "TlsExporter(..)",
        })
    }
}

/// The bytes that a MAC is computed over, on the stack.
pub(crate) struct Input {
    bytes: [u8; LEN_CURRENT],
    len: usize,
}

impl Input {
    const fn new() -> Input {
        Input { bytes: [0; LEN_CURRENT], len: 0 }
    }

    fn push(&mut self, field: &[u8]) {
        let end = self.len + field.len();
        self.bytes[self.len..end].copy_from_slice(field);
        self.len = end;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXCHANGE: Exchange = Exchange {
        ids: LinkIds {
            cluster: ClusterId::new(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
            dialer: ReplicaId::new(0xd1),
            acceptor: ReplicaId::new(0xac),
        },
        dialer_nonce: [0xdd; 32],
        acceptor_nonce: [0xaa; 32],
        binding: Binding::TlsExporter([0xee; 32]),
    };

    #[test]
    fn the_fields_stand_in_the_order_of_the_protocol() {
        let mut expected = b"apache-iggy replica-auth v1".to_vec();
        expected.extend(0..16);
        expected.extend([0xd1, 0xac]);
        expected.extend([0xdd; 32]);
        expected.extend([0xaa; 32]);
        let mut older = expected.clone();
        expected.push(1);
        expected.extend([0xee; 32]);
        for (direction, last) in [(Direction::Dialer, 1), (Direction::Acceptor, 2)] {
            expected.push(last);
            older.push(last);
            assert_eq!(Transcript::Current.input(&EXCHANGE, direction).as_bytes(), expected);
            assert_eq!(Transcript::Pr3425.input(&EXCHANGE, direction).as_bytes(), older);
            expected.pop();
            older.pop();
        }
    }

    #[test]
    fn words_survive_a_round_trip() {
        for form in [Transcript::Current, Transcript::Pr3425] {
            assert_eq!(form.to_string().parse(), Ok(form));
        }
        let error = "PR3425".parse::<Transcript>().expect_err("lower case only");
        assert!(error.to_string().ends_with("current, pr3425"));
        assert_eq!(Transcript::default(), Transcript::Current);
    }

    fn binding() -> impl Strategy<Value = Binding> {
        prop_oneof![Just(Binding::Plaintext), any::<[u8; 32]>().prop_map(Binding::TlsExporter)]
    }

    prop_compose! {
        // Few values per field, so that two exchanges often agree in most of them.
        fn exchange()(
            cluster in 0..2_u128,
            (dialer, acceptor) in (0..2_u8, 0..2_u8),
            (nonce_d, nonce_a) in (0..2_u8, 0..2_u8),
            binding in binding(),
        ) -> Exchange {
            Exchange {
                ids: LinkIds {
                    cluster: ClusterId::new(cluster),
                    dialer: ReplicaId::new(dialer),
                    acceptor: ReplicaId::new(acceptor),
                },
                dialer_nonce: [nonce_d; 32],
                acceptor_nonce: [nonce_a; 32],
                binding,
            }
        }
    }

    proptest! {
        #[test]
        fn two_exchanges_share_an_input_only_if_they_are_the_same(
            left in exchange(),
            right in exchange(),
        ) {
            let same = left.ids == right.ids
                && left.dialer_nonce == right.dialer_nonce
                && left.acceptor_nonce == right.acceptor_nonce
                && left.binding.mode_and_exporter() == right.binding.mode_and_exporter();
            let input = |exchange| Transcript::Current.input(exchange, Direction::Dialer);
            prop_assert_eq!(input(&left).as_bytes() == input(&right).as_bytes(), same);
        }
    }
}
