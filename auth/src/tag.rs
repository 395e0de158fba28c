//! Membership shown in the first frame (extension 1 of the protocol).
//!
//! A Hello may carry the time and a tag over it, made with a key that only members have. An
//! acceptor that is short of room uses it to choose who is kept waiting, and for nothing else: the
//! handshake itself ignores it, so skewed clocks and peers without the extension connect as well.
//!
//! Verifying a tag is cheap and keeps no state per stranger. What stops a recorded Hello from
//! being played again is [`Freshness`]: one integer per replica id, nothing to prune and nothing
//! to fill up.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use ringseal_wire::{ClusterId, Command, HeaderView, ReplicaId};

use crate::key::{KeyRing, Nonce};
use crate::message::{self, TagFields};
use crate::transcript::LinkIds;

const DOMAIN: &[u8; 21] = b"ringseal hello-tag v1";
const INPUT_LEN: usize = 21 + 16 + 1 + 1 + 32 + 8;

/// What a Hello shows for its sender's membership; nothing is known about it before
/// [`verify`](HelloTag::verify).
#[derive(Clone, Copy)]
pub struct HelloTag {
    dialer: ReplicaId,
    nonce: [u8; 32],
    time_ms: u64,
    tag: [u8; 16],
}

/// Reads the tag of a Hello; `None` if `frame` is no Hello, or carries no nonce or no tag.
pub fn read_tag(frame: HeaderView<'_>) -> Option<HelloTag> {
    if !message::is_header_only(frame) || frame.command() != Command::REPLICA_HELLO {
        return None;
    }
    let nonce = *message::read_nonce(frame)?.as_bytes();
    let TagFields { time_ms, tag } = message::read_tag_fields(frame);
    let shown = tag != [0; 16];
    shown.then_some(HelloTag { dialer: frame.replica(), nonce, time_ms, tag })
}

impl HelloTag {
    /// Signs a Hello with the current key. `time_ms` counts from the Unix epoch.
    pub fn sign(keys: &KeyRing, ids: &LinkIds, nonce: &Nonce, time_ms: u64) -> HelloTag {
        let nonce = *nonce.as_bytes();
        let tag = keys.lane_tag(&input(ids, &nonce, time_ms));
        HelloTag { dialer: ids.dialer, nonce, time_ms, tag }
    }

    /// Checks the tag against the current and the previous key, as a Hello to `acceptor`.
    pub fn verify(
        &self,
        keys: &KeyRing,
        cluster: ClusterId,
        acceptor: ReplicaId,
    ) -> Option<VerifiedTag> {
        let ids = LinkIds { cluster, dialer: self.dialer, acceptor };
        let genuine = keys.verify_lane_tag(&input(&ids, &self.nonce, self.time_ms), &self.tag);
        genuine.then_some(VerifiedTag { dialer: self.dialer, time_ms: self.time_ms })
    }

    pub(crate) fn into_fields(self) -> TagFields {
        TagFields { time_ms: self.time_ms, tag: self.tag }
    }
}

impl fmt::Debug for HelloTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelloTag")
            .field("dialer", &self.dialer)
            .field("time_ms", &self.time_ms)
            .finish_non_exhaustive()
    }
}

/// A tag that some member made, now or earlier: [`Freshness`] tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a genuine tag may still be a replay"]
pub struct VerifiedTag {
    dialer: ReplicaId,
    time_ms: u64,
}

/// The newest tag accepted from every replica id. It is shared by all threads that accept.
#[derive(Debug)]
pub struct Freshness {
    newest_ms: [AtomicU64; 256],
}

impl Freshness {
    /// How far a tag's time may lie from ours, in either direction, in milliseconds.
    pub const WINDOW_MS: u64 = 30_000;

    /// A table that accepts tags made after `started_ms`, the time this process started in
    /// milliseconds since the Unix epoch. Starting there keeps tags recorded by an earlier
    /// process from counting again.
    pub fn new(started_ms: u64) -> Freshness {
        Freshness { newest_ms: core::array::from_fn(|_| AtomicU64::new(started_ms)) }
    }

    /// Whether `tag` is fresh at `now_ms`, and if so remembers it: no tag is accepted twice, by
    /// whatever threads it is offered.
    ///
    /// Only verified tags get here, so nobody but a member moves the table, and never further
    /// than the window beyond our own clock.
    pub fn accept(&self, tag: VerifiedTag, now_ms: u64) -> bool {
        if tag.time_ms.abs_diff(now_ms) > Self::WINDOW_MS {
            return false;
        }
        let newest_ms = &self.newest_ms[usize::from(tag.dialer.get())];
        // The table orders nothing but itself, so relaxed is enough for its maximum.
        newest_ms.fetch_max(tag.time_ms, Ordering::Relaxed) < tag.time_ms
    }
}

/// The times that a dialer puts into its Hellos: strictly increasing, whatever its clock does.
#[derive(Debug, Default)]
pub struct TagClock {
    last_ms: AtomicU64,
}

impl TagClock {
    /// A clock that has given out no time yet.
    pub const fn new() -> TagClock {
        TagClock { last_ms: AtomicU64::new(0) }
    }

    /// The time for the next Hello: `now_ms`, or one more than the last if that is later.
    pub fn next(&self, now_ms: u64) -> u64 {
        let later = |last_ms: u64| now_ms.max(last_ms.saturating_add(1));
        let previous = self.last_ms.update(Ordering::Relaxed, Ordering::Relaxed, later);
        later(previous)
    }
}

fn input(ids: &LinkIds, nonce: &[u8; 32], time_ms: u64) -> [u8; INPUT_LEN] {
    let mut input = [0; INPUT_LEN];
    let (domain, rest) = input.split_at_mut(DOMAIN.len());
    let (cluster, rest) = rest.split_at_mut(16);
    let (pair, rest) = rest.split_at_mut(2);
    let (nonce_d, time) = rest.split_at_mut(32);
    domain.copy_from_slice(DOMAIN);
    cluster.copy_from_slice(&ids.cluster.get().to_le_bytes());
    pair.copy_from_slice(&[ids.dialer.get(), ids.acceptor.get()]);
    nonce_d.copy_from_slice(nonce);
    time.copy_from_slice(&time_ms.to_le_bytes());
    input
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::{Auth, Identity};
    use crate::key::Secret;
    use crate::policy::Enforcement;
    use crate::transcript::Transcript;

    const CLUSTER: ClusterId = ClusterId::new(7);
    const DIALER: ReplicaId = ReplicaId::new(1);
    const ACCEPTOR: ReplicaId = ReplicaId::new(2);
    const IDS: LinkIds = LinkIds { cluster: CLUSTER, dialer: DIALER, acceptor: ACCEPTOR };
    const STARTED_MS: u64 = 1_700_000_000_000;

    fn ring(current: u8, previous: Option<u8>) -> KeyRing {
        let secret = |byte| Secret::new(vec![byte; 32]).expect("32 bytes");
        KeyRing::new(&secret(current), previous.map(secret).as_ref())
    }

    fn nonce() -> Nonce {
        Nonce::new([9; 32]).expect("not zero")
    }

    fn genuine(time_ms: u64) -> VerifiedTag {
        let keys = ring(1, None);
        let tag = HelloTag::sign(&keys, &IDS, &nonce(), time_ms);
        tag.verify(&keys, CLUSTER, ACCEPTOR).expect("genuine")
    }

    fn hello(tag_time_ms: Option<u64>) -> ringseal_wire::Header {
        let keys = ring(1, None);
        let auth = Auth::On {
            keys: &keys,
            enforcement: Enforcement::Enforce,
            transcript: Transcript::Current,
        };
        let dialer = crate::Dialer::new(Identity::new(CLUSTER, DIALER, auth), ACCEPTOR);
        let (hello, _) = dialer.expect("the lower id").start(nonce(), tag_time_ms);
        hello
    }

    #[test]
    fn a_tag_is_what_the_protocol_says() {
        let time_ms = 0x0102_0304_0506_0708_u64;
        let mut input = b"ringseal hello-tag v1".to_vec();
        input.extend(7_u128.to_le_bytes());
        input.extend([1, 2]);
        input.extend([9; 32]);
        input.extend([8, 7, 6, 5, 4, 3, 2, 1]);
        let key = blake3::derive_key("ringseal hello-tag v1 psk->lane-key", &[1; 32]);
        let hello = hello(Some(time_ms));
        let fields = hello.as_view().reserved_command();
        assert_eq!(fields[72..80], time_ms.to_le_bytes());
        assert_eq!(fields[80..96], blake3::keyed_hash(&key, &input).as_bytes()[..16]);
        assert!(fields[32..72].iter().chain(&fields[96..]).all(|&byte| byte == 0));
    }

    #[test]
    fn only_a_hello_that_shows_a_tag_has_one() {
        assert!(read_tag(hello(None).as_view()).is_none());
        let tagged = hello(Some(STARTED_MS));
        assert!(read_tag(tagged.as_view()).is_some());

        let mut other = tagged.clone();
        other.set_command(Command::REPLICA_FINISH);
        assert!(read_tag(other.as_view()).is_none());
        let mut with_body = tagged.clone();
        with_body.set_size(257);
        assert!(read_tag(with_body.as_view()).is_none());
        let mut without_nonce = tagged;
        without_nonce.reserved_command_mut()[..32].fill(0);
        assert!(read_tag(without_nonce.as_view()).is_none());
    }

    #[test]
    fn either_key_verifies_and_no_other() {
        let tag = HelloTag::sign(&ring(1, None), &IDS, &nonce(), STARTED_MS);
        for (keys, verifies) in [
            (ring(1, None), true),
            (ring(1, Some(2)), true),
            (ring(2, Some(1)), true),
            (ring(2, None), false),
            (ring(2, Some(3)), false),
        ] {
            assert_eq!(tag.verify(&keys, CLUSTER, ACCEPTOR).is_some(), verifies, "{keys:?}");
        }
    }

    #[test]
    fn a_tag_counts_for_one_cluster_and_one_acceptor() {
        let keys = ring(1, None);
        let tag = HelloTag::sign(&keys, &IDS, &nonce(), STARTED_MS);
        assert!(tag.verify(&keys, ClusterId::new(8), ACCEPTOR).is_none());
        assert!(tag.verify(&keys, CLUSTER, ReplicaId::new(3)).is_none());
    }

    #[test]
    fn a_flipped_bit_in_any_signed_byte_is_found() {
        let keys = ring(1, None);
        let tagged = hello(Some(STARTED_MS));
        let signed = [(61, 62), (128, 160), (200, 224)];
        for bit in signed.into_iter().flat_map(|(from, to)| from * 8..to * 8) {
            let mut bytes = *tagged.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let tag = read_tag(HeaderView::new(&bytes)).expect("still there");
            assert!(tag.verify(&keys, CLUSTER, ACCEPTOR).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn freshness_is_a_window_and_a_growing_minimum() {
        let table = Freshness::new(STARTED_MS);
        let now_ms = STARTED_MS + 1_000_000;
        let accept = |time_ms| table.accept(genuine(time_ms), now_ms);
        assert!(!accept(now_ms - 30_001), "older than the window");
        assert!(accept(now_ms - 30_000));
        assert!(!accept(now_ms - 30_000), "a replay");
        assert!(accept(now_ms - 29_999));
        assert!(!accept(now_ms + 30_001), "later than the window");
        assert!(accept(now_ms), "what was refused has moved nothing");
        assert!(accept(now_ms + 30_000));
        assert!(!accept(now_ms + 29_999), "not newer than the newest");
    }

    #[test]
    fn what_was_signed_before_the_process_started_is_never_fresh() {
        let table = Freshness::new(STARTED_MS);
        assert!(!table.accept(genuine(STARTED_MS - 1), STARTED_MS));
        assert!(!table.accept(genuine(STARTED_MS), STARTED_MS));
        assert!(table.accept(genuine(STARTED_MS + 1), STARTED_MS));
    }

    #[test]
    fn replicas_do_not_age_each_other() {
        let table = Freshness::new(STARTED_MS);
        for id in 0..=u8::MAX {
            let tag = VerifiedTag { dialer: ReplicaId::new(id), time_ms: STARTED_MS + 1 };
            assert!(table.accept(tag, STARTED_MS));
            assert!(!table.accept(tag, STARTED_MS));
        }
    }

    #[test]
    fn of_many_threads_one_gets_a_tag_accepted() {
        let table = Freshness::new(STARTED_MS);
        for time_ms in STARTED_MS + 1..STARTED_MS + 50 {
            let tag = genuine(time_ms);
            let accepted: usize = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| table.accept(tag, STARTED_MS)));
                threads.into_iter().map(|thread| usize::from(thread.join().expect("joins"))).sum()
            });
            assert_eq!(accepted, 1);
        }
    }

    proptest! {
        #[test]
        fn a_dialers_times_only_grow(clock in proptest::collection::vec(any::<u64>(), 1..20)) {
            let tags = TagClock::new();
            let mut last_ms = 0;
            for now_ms in clock {
                let now_ms = now_ms / 2;
                let time_ms = tags.next(now_ms);
                prop_assert!(time_ms > last_ms);
                prop_assert!(time_ms >= now_ms);
                last_ms = time_ms;
            }
        }

        #[test]
        fn bytes_that_nobody_signed_are_no_tag(bytes in proptest::array::uniform32(any::<u8>())) {
            let mut frame = hello(Some(STARTED_MS));
            frame.reserved_command_mut()[72..96].copy_from_slice(&bytes[..24]);
            let tag = read_tag(frame.as_view());
            prop_assert!(tag.and_then(|tag| tag.verify(&ring(1, None), CLUSTER, ACCEPTOR)).is_none());
        }
    }
}
