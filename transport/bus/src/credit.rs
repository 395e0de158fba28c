//! How much may still be sent to a peer: frames and bytes in one atomic word.
//!
//! A sender reserves before it enqueues, so whatever it enqueues cannot fail later; the link gives
//! the credit back when the frame is written or lost.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use crate::config::Limits;

const BYTE_BITS: u32 = 44;
const BYTES: u64 = (1 << BYTE_BITS) - 1;

/// The credit of one peer, shared by all senders and the link.
#[derive(Debug)]
pub(crate) struct Credit {
    /// What is in use: frames above, bytes in the low 44 bits.
    used: AtomicU64,
    /// Whether a sender was refused and waits to hear of room.
    wanted: AtomicBool,
    max_frames: AtomicU64,
    max_bytes: AtomicU64,
}

impl Credit {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            used: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            max_frames: AtomicU64::new(limits.outbox_frames.into()),
            max_bytes: AtomicU64::new(limits.outbox_bytes),
        }
    }

    /// Takes on other limits. What is reserved beyond them stays reserved.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.max_frames.store(limits.outbox_frames.into(), SeqCst);
        self.max_bytes.store(limits.outbox_bytes, SeqCst);
    }

    /// Reserves room for one frame of `bytes`. A refusal is remembered until
    /// [`take_wanted`](Self::take_wanted).
    #[inline]
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        if self.try_reserve(bytes) {
            return true;
        }
        // The link looks at `wanted` after it has released, and we at `used` after we have set
        // `wanted`: one of us sees the other, so no refusal is forgotten.
        self.wanted.store(true, SeqCst);
        self.try_reserve(bytes)
    }

    #[inline]
    fn try_reserve(&self, bytes: usize) -> bool {
        let more = 1 << BYTE_BITS | bytes as u64;
        let room = |used: u64| {
            let used = used + more;
            let fits = used >> BYTE_BITS <= self.max_frames.load(Relaxed)
                && used & BYTES <= self.max_bytes.load(Relaxed);
            fits.then_some(used)
        };
        self.used.fetch_update(SeqCst, SeqCst, room).is_ok()
    }

    /// Gives back what `frames` frames of `bytes` bytes in all had reserved.
    pub(crate) fn release(&self, frames: u32, bytes: u64) {
        let less = u64::from(frames) << BYTE_BITS | bytes;
        let before = self.used.fetch_sub(less, SeqCst);
        debug_assert!(before >> BYTE_BITS >= frames.into() && before & BYTES >= bytes);
    }

    /// Whether somebody waits for room and half of all room is free; asking ends the waiting.
    pub(crate) fn take_wanted(&self) -> bool {
        if !self.wanted.load(SeqCst) {
            return false;
        }
        let used = self.used.load(SeqCst);
        let roomy = used >> BYTE_BITS <= self.max_frames.load(Relaxed) / 2
            && used & BYTES <= self.max_bytes.load(Relaxed) / 2;
        roomy && self.wanted.swap(false, SeqCst)
    }

    /// How many frames are reserved, waiting or on their way to wait.
    pub(crate) fn frames(&self) -> u32 {
        (self.used.load(SeqCst) >> BYTE_BITS) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(outbox_frames: u32, outbox_bytes: u64) -> Credit {
        Credit::new(&Limits { outbox_frames, outbox_bytes, ..Limits::default() })
    }

    #[test]
    fn frames_and_bytes_both_bound() {
        let by_frames = credit(2, 1 << 20);
        assert!(by_frames.reserve(300) && by_frames.reserve(300) && !by_frames.reserve(300));
        let by_bytes = credit(100, 600);
        assert!(by_bytes.reserve(300) && by_bytes.reserve(300) && !by_bytes.reserve(1));
        by_bytes.release(1, 300);
        assert!(by_bytes.reserve(300));
        assert_eq!(by_bytes.frames(), 2);
    }

    #[test]
    fn a_refusal_is_told_once_when_half_is_free() {
        let credit = credit(4, 1 << 20);
        assert!((0..4).all(|_| credit.reserve(256)) && !credit.take_wanted());
        assert!(!credit.reserve(256));
        credit.release(1, 256);
        assert!(!credit.take_wanted(), "three of four are in use");
        credit.release(1, 256);
        assert!(credit.take_wanted());
        assert!(!credit.take_wanted(), "told already");
    }

    #[test]
    fn the_largest_limits_fit_the_word() {
        let credit = credit(crate::config::MAX_OUTBOX_FRAMES, crate::config::MAX_OUTBOX_BYTES);
        for _ in 0..8191 {
            assert!(credit.reserve(1 << 30));
        }
        assert!(credit.reserve((1 << 30) - 8192) && credit.frames() == 8192);
        assert!(!credit.reserve(1 << 30));
    }
}
