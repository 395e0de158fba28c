//! A handshake runs in fixed-size values: strangers cannot make it touch the heap.

use ringseal_auth::tag::{Freshness, read_tag};
use ringseal_auth::{
    Acceptor, Auth, Dialer, DialerNext, DialerStep, Enforcement, HelloStep, Identity, KeyRing,
    Nonce, Outcome, Secret, Transcript,
};
use ringseal_tests::alloc::{self, CountingAllocator};
use ringseal_wire::{ClusterId, ReplicaId};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const CLUSTER: ClusterId = ClusterId::new(7);
const ONE: ReplicaId = ReplicaId::new(1);
const TWO: ReplicaId = ReplicaId::new(2);
const NOW_MS: u64 = 1_700_000_000_000;

fn rotating_ring() -> KeyRing {
    let secret = |byte| Secret::new(vec![byte; 32]).expect("32 bytes");
    KeyRing::new(&secret(1), Some(&secret(2)))
}

fn identity(replica: ReplicaId, keys: &KeyRing) -> Identity<'_> {
    let transcript = Transcript::Current;
    let auth = Auth::On { keys, enforcement: Enforcement::Enforce, transcript };
    Identity::new(CLUSTER, replica, auth)
}

fn nonce(byte: u8) -> Nonce {
    Nonce::new([byte; 32]).expect("not zero")
}

/// Both sides of a handshake with all that can go with it: a tag, and two keys to try.
fn handshake(keys: &KeyRing, freshness: &Freshness) -> (Outcome, Outcome) {
    let dialer = Dialer::new(identity(ONE, keys), TWO).expect("the lower id");
    let (hello, DialerNext::AwaitChallenge(dialer)) = dialer.start(nonce(1), Some(NOW_MS)) else {
        panic!("authentication is on")
    };
    let tag = read_tag(hello.as_view()).expect("a tag");
    let tag = tag.verify(keys, CLUSTER, TWO).expect("a genuine tag");
    assert!(freshness.accept(tag, NOW_MS));

    let acceptor = Acceptor::new(identity(TWO, keys));
    let step = acceptor.on_hello(hello.as_view(), |_| true, || nonce(2));
    let HelloStep::Challenge { frame: challenge, next: acceptor } = step else {
        panic!("the Hello is right")
    };
    let Ok(DialerStep::Finish { frame: finish, outcome }) = dialer.on_frame(challenge.as_view())
    else {
        panic!("the Challenge is right")
    };
    (outcome, acceptor.on_finish(finish.as_view()).expect("the Finish is right"))
}

#[test]
fn the_allocator_counts() {
    let (_, counts) = alloc::count(rotating_ring);
    assert!(counts.allocations >= 2, "a ring keeps every secret's keys in a place of their own");
}

#[test]
fn a_whole_handshake_allocates_nothing() {
    let (keys, freshness) = (rotating_ring(), Freshness::new(NOW_MS - 1));
    let ((dialed, accepted), counts) = alloc::count(|| handshake(&keys, &freshness));
    assert!(dialed.authenticated() && accepted.authenticated());
    assert_eq!(counts.allocations, 0);
}

#[test]
fn a_refusal_allocates_nothing() {
    let keys = rotating_ring();
    let stranger = Identity::new(ClusterId::new(8), ONE, identity(ONE, &keys).auth());
    let (step, counts) = alloc::count(|| {
        let (hello, _) = Dialer::new(stranger, TWO).expect("the lower id").start(nonce(1), None);
        Acceptor::new(identity(TWO, &keys)).on_hello(hello.as_view(), |_| true, || nonce(2))
    });
    assert!(matches!(step, HelloStep::Refused { answer: Some(_), .. }));
    assert_eq!(counts.allocations, 0);
}
