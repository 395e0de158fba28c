//! Secrets, the keys derived from them, and what those keys are used on.
//!
//! Nothing here has a `Debug` that shows secret bytes, and nothing that is compared here is
//! compared in a time that depends on its value.

use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::transcript::{Direction, Exchange, Transcript};

const MAC_KEY_CONTEXT: &str = "apache-iggy replica-auth v1 psk->mac-key";
const LANE_KEY_CONTEXT: &str = "ringseal hello-tag v1 psk->lane-key";

/// A cluster's shared secret, wiped on drop.
///
/// It is only ever held long enough to make a [`KeyRing`] of it. Use random bytes: any stranger
/// can obtain one MAC over data it knows, so a secret that people can remember can be guessed
/// offline, at leisure.
///
/// ```
/// # use ringseal_auth::Secret;
/// assert!(Secret::new(vec![0x5a; 32]).is_ok());
/// assert_eq!(Secret::new(b"hunter2".to_vec()).unwrap_err().len, 7);
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The shortest secret that is accepted, in bytes.
    pub const MIN_LEN: usize = 32;

    /// Takes over `bytes`, which are wiped even when they are refused.
    ///
    /// # Errors
    ///
    /// Fewer than [`Secret::MIN_LEN`] bytes.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Result<Secret, SecretTooShort> {
        let bytes = bytes.into();
        if bytes.len() < Secret::MIN_LEN {
            return Err(SecretTooShort { len: bytes.len() });
        }
        Ok(Secret(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret that is too short to keep anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the shared secret is {len} bytes long and needs at least {min}; \
     make a random one with `ringseal keygen`",
    min = Secret::MIN_LEN
)]
pub struct SecretTooShort {
    /// Its length in bytes.
    pub len: usize,
}

/// Which of a ring's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The key of the current secret.
    Current,
    /// The key of the secret that is being rotated out.
    Previous,
}

impl Which {
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Which::Current => "current",
            Which::Previous => "previous",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The keys of the current secret and, during a rotation, of the previous one.
///
/// Everything is signed with the current key and accepted under either, so rolling all nodes
/// through (old, previous = new), (new, previous = old) and (new) changes the secret while every
/// two neighbouring steps still understand each other. The secrets themselves are not kept; the
/// keys are wiped on drop.
pub struct KeyRing {
    current: Box<Derived>,
    previous: Option<Box<Derived>>,
}

impl KeyRing {
    /// Derives the keys of `current` and of `previous`.
    pub fn new(current: &Secret, previous: Option<&Secret>) -> KeyRing {
        KeyRing { current: Derived::new(current), previous: previous.map(Derived::new) }
    }

    /// Our proof of taking part in `exchange` as `direction`, made with the current key.
    pub fn mac(&self, form: Transcript, exchange: &Exchange, direction: Direction) -> Mac {
        self.current.mac(form.input(exchange, direction).as_bytes())
    }

    /// Which key `mac` was made with as the proof of `direction` in `exchange`, or `None`.
    ///
    /// Both keys are tried whatever the first one says, and the comparisons take constant time:
    /// how long a refusal takes says nothing about how wrong the MAC was.
    pub fn verify(
        &self,
        form: Transcript,
        exchange: &Exchange,
        direction: Direction,
        mac: &Mac,
    ) -> Option<Which> {
        let input = form.input(exchange, direction);
        self.matching(|key| key.mac(input.as_bytes()).ct_eq(mac))
    }

    /// Where the key `which` of this ring is found in `successor`, or `None` if it is gone.
    ///
    /// After a reload this tells the links made with a secret that is still trusted from those
    /// made with one that has been removed.
    pub fn locate_in(&self, which: Which, successor: &KeyRing) -> Option<Which> {
        let wanted = match which {
            Which::Current => &self.current,
            Which::Previous => self.previous.as_ref()?,
        };
        successor.matching(|key| key.mac_key.ct_eq(&wanted.mac_key))
    }

    /// The tag of `input` under the current lane key.
    pub(crate) fn lane_tag(&self, input: &[u8]) -> [u8; 16] {
        self.current.lane_tag(input)
    }

    /// Whether `tag` is the tag of `input` under either lane key.
    pub(crate) fn verify_lane_tag(&self, input: &[u8], tag: &[u8; 16]) -> bool {
        self.matching(|key| key.lane_tag(input).ct_eq(tag)).is_some()
    }

    /// Evaluates `matches` on every key, and branches on the answers only after the last.
    fn matching(&self, matches: impl Fn(&Derived) -> Choice) -> Option<Which> {
        let current = matches(&self.current);
        let previous = self.previous.as_deref().map_or(Choice::from(0), matches);
        if bool::from(current) {
            Some(Which::Current)
        } else if bool::from(previous) {
            Some(Which::Previous)
        } else {
            None
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("rotating", &self.previous.is_some())
            .finish_non_exhaustive()
    }
}

/// The keys derived from one secret.
///
/// They live in their own allocation from the moment they are made, so that moving a ring moves a
/// pointer and leaves no copy of a key behind on some stack.
#[derive(Zeroize, ZeroizeOnDrop)]
struct Derived {
    mac_key: [u8; 32],
    lane_key: [u8; 32],
}

impl Derived {
    fn new(secret: &Secret) -> Box<Derived> {
        let mut keys = Box::new(Derived { mac_key: [0; 32], lane_key: [0; 32] });
        derive_into(MAC_KEY_CONTEXT, secret, &mut keys.mac_key);
        derive_into(LANE_KEY_CONTEXT, secret, &mut keys.lane_key);
        keys
    }

    /// The input is a couple of hundred bytes at most: one call on one buffer keeps BLAKE3's
    /// two-kilobyte incremental state off the path of a handshake.
    fn mac(&self, input: &[u8]) -> Mac {
        Mac(*blake3::keyed_hash(&self.mac_key, input).as_bytes())
    }

    fn lane_tag(&self, input: &[u8]) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.lane_key, input);
        let (tag, _) = hash.as_bytes().split_first_chunk().expect("a hash is 32 bytes");
        *tag
    }
}

/// Derives a key in place, and wipes the hasher: its buffer still holds the end of the secret.
fn derive_into(context: &str, secret: &Secret, key: &mut [u8; 32]) {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&secret.0);
    hasher.finalize_xof().fill(key);
    hasher.zeroize();
}

/// A message authentication code: one side's proof that it holds the secret.
///
/// Two of them can be compared for equality, in constant time, and that is all.
#[derive(Clone, Copy)]
pub struct Mac([u8; 32]);

impl Mac {
    /// Takes the 32 bytes of a MAC as they stand on the wire.
    pub const fn new(bytes: [u8; 32]) -> Mac {
        Mac(bytes)
    }

    /// For the wire, and for nothing that compares.
    pub(crate) const fn to_wire(self) -> [u8; 32] {
        self.0
    }
}

impl ConstantTimeEq for Mac {
    fn ct_eq(&self, other: &Mac) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Mac {
    fn eq(&self, other: &Mac) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Mac {}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mac(..)")
    }
}

/// A handshake's 32 random bytes, fresh for every attempt.
///
/// It can be neither copied nor cloned, and starting a handshake consumes it: one nonce, one
/// attempt.
pub struct Nonce([u8; 32]);

impl Nonce {
    /// Takes 32 bytes from the system's CSPRNG.
    ///
    /// `None` if all are zero: that is how a frame says that it carries no nonce. From a working
    /// generator it does not happen.
    pub fn new(bytes: [u8; 32]) -> Option<Nonce> {
        (bytes != [0; 32]).then_some(Nonce(bytes))
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(current: u8, previous: Option<u8>) -> KeyRing {
        let secret = |byte| Secret::new(vec![byte; 32]).expect("32 bytes");
        KeyRing::new(&secret(current), previous.map(secret).as_ref())
    }

    #[test]
    fn secrets_are_32_bytes_at_least() {
        for len in 0..Secret::MIN_LEN {
            let error = Secret::new(vec![0x5a; len]).expect_err("too short");
            assert_eq!(error, SecretTooShort { len });
            assert!(error.to_string().contains("at least 32"));
        }
        for len in Secret::MIN_LEN..200 {
            assert!(Secret::new(vec![0x5a; len]).is_ok());
        }
    }

    #[test]
    fn what_holds_secret_bytes_wipes_them() {
        fn wipes<T: ZeroizeOnDrop>(_: &T) {}
        let secret = Secret::new(vec![0x5a; 32]).expect("32 bytes");
        wipes(&secret.0);
        wipes(&*Derived::new(&secret));
    }

    #[test]
    fn the_keys_of_one_secret_differ_and_are_what_the_contexts_say() {
        let keys = Derived::new(&Secret::new(vec![0x5a; 200]).expect("200 bytes"));
        assert_eq!(keys.mac_key, blake3::derive_key(MAC_KEY_CONTEXT, &[0x5a; 200]));
        assert_eq!(keys.lane_key, blake3::derive_key(LANE_KEY_CONTEXT, &[0x5a; 200]));
        assert_ne!(keys.mac_key, keys.lane_key);
    }

    #[test]
    fn no_nonce_is_all_zero() {
        assert!(Nonce::new([0; 32]).is_none());
        for bit in 0..256 {
            let mut bytes = [0; 32];
            bytes[bit / 8] = 1 << (bit % 8);
            assert!(Nonce::new(bytes).is_some());
        }
    }

    #[test]
    fn macs_that_differ_in_one_bit_are_not_equal() {
        let mac = Mac::new([0x5a; 32]);
        assert_eq!(mac, Mac::new([0x5a; 32]));
        for bit in 0..256 {
            let mut bytes = mac.to_wire();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(mac, Mac::new(bytes));
        }
    }

    #[test]
    fn a_key_is_located_in_the_ring_that_follows() {
        use Which::{Current, Previous};
        let (old, both, new) = (ring(1, None), ring(2, Some(1)), ring(2, None));
        assert_eq!(old.locate_in(Current, &both), Some(Previous));
        assert_eq!(both.locate_in(Current, &new), Some(Current));
        assert_eq!(both.locate_in(Previous, &new), None);
        assert_eq!(old.locate_in(Previous, &old), None, "a key that never was");
        assert_eq!(old.locate_in(Current, &ring(1, Some(1))), Some(Current));
    }
}
