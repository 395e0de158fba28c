//! The three handshake frames: where their fields lie in `reserved_command`.
//!
//! | bytes | Hello | Challenge | Finish |
//! |---|---|---|---|
//! | 0..32 | `nonce_d` | `nonce_a` | |
//! | 32..64 | | `mac_a` | `mac_d` |
//! | 64 | | `status` | |
//! | 72..80 | `time` | | |
//! | 80..96 | `tag` | | |
//!
//! All other bytes are zero when sent and ignored when received, as are a frame's checksums,
//! `view`, `release` and `reserved_frame`.

use ringseal_wire::{Command, HEADER_LEN, Header, HeaderView};

use crate::identity::Identity;
use crate::key::{Mac, Nonce};
use crate::status::Status;

const RESERVED_LEN: usize = 128;

const NONCE: usize = 0;
const MAC: usize = NONCE + 32;
const STATUS: usize = MAC + 32;
const TIME: usize = 72;
const TAG: usize = TIME + 8;
const _: () = assert!(STATUS < TIME && TAG + 16 <= RESERVED_LEN);

/// What a Challenge says.
pub(crate) enum Challenge {
    /// The acceptor answers with a nonce of its own, or forgot to, and with its proof.
    Proof { nonce: Option<Nonce>, mac: Mac },
    /// The acceptor refuses.
    Refusal(Status),
}

/// The time and the tag that a Hello may carry beside its nonce.
pub(crate) struct TagFields {
    pub(crate) time_ms: u64,
    pub(crate) tag: [u8; 16],
}

pub(crate) fn hello(ours: &Identity<'_>, nonce: Option<&Nonce>, tag: Option<TagFields>) -> Header {
    let mut frame = frame_from(ours, Command::REPLICA_HELLO);
    let bytes = frame.reserved_command_mut();
    if let Some(nonce) = nonce {
        put(bytes, NONCE, nonce.as_bytes());
    }
    if let Some(tag) = tag {
        put(bytes, TIME, &tag.time_ms.to_le_bytes());
        put(bytes, TAG, &tag.tag);
    }
    frame
}

pub(crate) fn challenge(ours: &Identity<'_>, nonce: &Nonce, mac: Mac) -> Header {
    let mut frame = frame_from(ours, Command::REPLICA_CHALLENGE);
    let bytes = frame.reserved_command_mut();
    put(bytes, NONCE, nonce.as_bytes());
    put(bytes, MAC, &mac.to_wire());
    put(bytes, STATUS, &[Status::Ok.to_byte()]);
    frame
}

pub(crate) fn refusal(ours: &Identity<'_>, status: Status) -> Header {
    let mut frame = frame_from(ours, Command::REPLICA_CHALLENGE);
    put(frame.reserved_command_mut(), STATUS, &[status.to_byte()]);
    frame
}

pub(crate) fn finish(ours: &Identity<'_>, mac: Mac) -> Header {
    let mut frame = frame_from(ours, Command::REPLICA_FINISH);
    put(frame.reserved_command_mut(), MAC, &mac.to_wire());
    frame
}

pub(crate) fn read_challenge(frame: HeaderView<'_>) -> Challenge {
    let [status] = get(frame.reserved_command(), STATUS);
    match Status::from_byte(status) {
        Status::Ok => Challenge::Proof { nonce: read_nonce(frame), mac: read_mac(frame) },
        refused => Challenge::Refusal(refused),
    }
}

/// The nonce of a Hello or a Challenge; `None` if its region is all zero, which means that the
/// sender does not speak authentication.
pub(crate) fn read_nonce(frame: HeaderView<'_>) -> Option<Nonce> {
    Nonce::new(get(frame.reserved_command(), NONCE))
}

pub(crate) fn read_mac(frame: HeaderView<'_>) -> Mac {
    Mac::new(get(frame.reserved_command(), MAC))
}

pub(crate) fn read_tag_fields(frame: HeaderView<'_>) -> TagFields {
    let bytes = frame.reserved_command();
    TagFields { time_ms: u64::from_le_bytes(get(bytes, TIME)), tag: get(bytes, TAG) }
}

/// Whether `frame` is a header and nothing else.
pub(crate) fn is_header_only(frame: HeaderView<'_>) -> bool {
    usize::try_from(frame.size()) == Ok(HEADER_LEN)
}

fn frame_from(ours: &Identity<'_>, command: Command) -> Header {
    let mut frame = Header::new(command);
    frame.set_cluster(ours.cluster).set_replica(ours.replica);
    frame
}

fn put(bytes: &mut [u8; RESERVED_LEN], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn get<const N: usize>(bytes: &[u8; RESERVED_LEN], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("every field ends within reserved_command")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringseal_wire::{ClusterId, ReplicaId};

    use super::*;
    use crate::identity::Auth;

    fn nonzero() -> impl Strategy<Value = [u8; 32]> {
        any::<[u8; 32]>().prop_filter("not zero", |bytes| *bytes != [0; 32])
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            cluster in any::<u128>(),
            replica in any::<u8>(),
            nonce in nonzero(),
            mac in any::<[u8; 32]>(),
            (time_ms, tag) in any::<(u64, [u8; 16])>(),
        ) {
            let ours =
                Identity::new(ClusterId::new(cluster), ReplicaId::new(replica), Auth::Off);
            let nonce = Nonce::new(nonce).expect("not zero");
            let mac = Mac::new(mac);

            let hello = hello(&ours, Some(&nonce), Some(TagFields { time_ms, tag }));
            let read = read_nonce(hello.as_view()).expect("a nonce");
            prop_assert_eq!(read.as_bytes(), nonce.as_bytes());
            let fields = read_tag_fields(hello.as_view());
            prop_assert_eq!((fields.time_ms, fields.tag), (time_ms, tag));

            let challenge = challenge(&ours, &nonce, mac);
            let Challenge::Proof { nonce: Some(read), mac: proof } =
                read_challenge(challenge.as_view())
            else {
                panic!("a proof with a nonce");
            };
            prop_assert_eq!(read.as_bytes(), nonce.as_bytes());
            prop_assert_eq!(proof, mac);

            let finish = finish(&ours, mac);
            prop_assert_eq!(read_mac(finish.as_view()), mac);

            for frame in [hello, challenge, finish] {
                prop_assert!(is_header_only(frame.as_view()));
                prop_assert!(frame.as_view().command().is_handshake());
                prop_assert_eq!(frame.as_view().cluster().get(), cluster);
                prop_assert_eq!(frame.as_view().replica().get(), replica);
            }
        }

        #[test]
        fn a_status_other_than_ok_is_a_refusal_whatever_stands_beside_it(
            beside in any::<[u8; 32]>(),
            byte in 1..=u8::MAX,
        ) {
            let ours = Identity::new(ClusterId::new(1), ReplicaId::new(1), Auth::Off);
            let mut frame = refusal(&ours, Status::from_byte(byte));
            prop_assert!(read_nonce(frame.as_view()).is_none());
            frame.reserved_command_mut()[..32].copy_from_slice(&beside);
            let Challenge::Refusal(status) = read_challenge(frame.as_view()) else {
                panic!("a refusal");
            };
            prop_assert_eq!(status.to_byte(), byte);
        }
    }
}
