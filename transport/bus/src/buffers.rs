//! A shard's receive buffers, and the bound on what its handler may hold of them.

use std::collections::VecDeque;

use bytes::BytesMut;

/// The size of a link's receive buffer in bytes.
pub(crate) const BUFFER: usize = 64 << 10;

/// The size of the receive buffer of a link that fills the smaller one. A frame that is larger gets a
/// buffer of its own.
pub(crate) const LARGE_BUFFER: usize = 256 << 10;

/// How many unused buffers a shard keeps for the next ones who need one.
const SPARES: usize = 4;

/// How many of the longest-retired buffers are asked whether their frames are gone.
const ASKED: usize = 4;

/// The receive buffers that links have given up and whose frames may still be held.
///
/// Frames are slices of the buffer they arrived in, so a buffer cannot be used again before its last
/// frame is dropped. A link whose buffer is still held retires it and goes on with another; the
/// retired bytes count against the budget until they are free.
#[derive(Debug)]
pub(crate) struct Buffers {
    retired: VecDeque<Retired>,
    retired_bytes: u64,
    budget: u64,
}

#[derive(Debug)]
struct Retired {
    buffer: BytesMut,
    capacity: usize,
}

impl Buffers {
    /// No buffers yet, and at most `budget` bytes of retired ones.
    pub(crate) fn new(budget: u64) -> Self {
        Self { retired: VecDeque::new(), retired_bytes: 0, budget }
    }

    /// Takes on another budget.
    pub(crate) fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// An empty buffer of at least `capacity` bytes, or `None` when handlers hold so much that the
    /// budget forbids another. One is always given when nothing is held.
    pub(crate) fn take(&mut self, capacity: usize) -> Option<BytesMut> {
        for _ in 0..self.retired.len().min(ASKED) {
            let fits = (capacity..=4 * capacity).contains(&self.retired[0].capacity);
            if fits && self.retired[0].is_free() {
                return self.remove(0).map(|retired| retired.buffer);
            }
            // Those that are held for long must not hide the others.
            self.retired.rotate_left(1);
        }
        (self.has_room(capacity) || self.retired_bytes == 0).then(|| Self::make(capacity))
    }

    /// Whether the budget has room for `bytes` beside what is held.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        if self.retired_bytes + bytes as u64 > self.budget {
            self.sweep(0);
        }
        self.retired_bytes + bytes as u64 <= self.budget
    }

    /// Takes back a buffer of `capacity` bytes; frames of it may still be held.
    pub(crate) fn retire(&mut self, buffer: BytesMut, capacity: usize) {
        if capacity > 0 {
            self.retired_bytes += capacity as u64;
            self.retired.push_back(Retired { buffer, capacity });
        }
    }

    /// Returns the memory of buffers that nobody holds any more, a few spares apart.
    pub(crate) fn trim(&mut self) {
        self.sweep(SPARES);
    }

    fn sweep(&mut self, mut spares: usize) {
        let mut at = 0;
        while at < self.retired.len() {
            let free = self.retired[at].is_free();
            if free && (spares == 0 || self.retired[at].capacity > BUFFER) {
                self.remove(at);
                continue;
            }
            spares -= usize::from(free);
            at += 1;
        }
    }

    fn remove(&mut self, at: usize) -> Option<Retired> {
        let retired = self.retired.remove(at)?;
        self.retired_bytes -= retired.capacity as u64;
        Some(retired)
    }

    /// Every receive buffer is made here, zeroed, so that reads may treat its spare capacity as
    /// initialised bytes.
    fn make(capacity: usize) -> BytesMut {
        let mut buffer = BytesMut::zeroed(capacity);
        buffer.clear();
        buffer
    }
}

impl Retired {
    /// Whether the last frame is gone; the buffer then has its whole capacity back.
    fn is_free(&mut self) -> bool {
        self.buffer.try_reclaim(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &mut Buffers) -> (BytesMut, bytes::Bytes) {
        let mut buffer = buffers.take(BUFFER).expect("within the budget");
        buffer.extend_from_slice(&[7; 300]);
        let frame = buffer.split_to(300).freeze();
        (buffer, frame)
    }

    #[test]
    fn a_retired_buffer_comes_back_when_its_frames_are_gone() {
        let mut buffers = Buffers::new(1 << 20);
        let (buffer, frame) = filled(&mut buffers);
        buffers.retire(buffer, BUFFER);
        let address = frame.as_ptr();
        let other = buffers.take(BUFFER).expect("within the budget");
        assert_ne!(other.as_ptr(), address, "the first is still held");
        drop(frame);
        let again = buffers.take(BUFFER).expect("within the budget");
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (address, 0, BUFFER));
        assert_eq!(buffers.retired_bytes, 0);
    }

    #[test]
    fn the_budget_bounds_what_is_held() {
        let mut buffers = Buffers::new(2 * BUFFER as u64);
        let mut held = Vec::new();
        for _ in 0..2 {
            let (buffer, frame) = filled(&mut buffers);
            held.push(frame);
            buffers.retire(buffer, BUFFER);
        }
        assert!(buffers.take(BUFFER).is_none());
        held.pop();
        assert!(buffers.take(BUFFER).is_some());
    }

    #[test]
    fn one_buffer_is_given_whatever_the_budget_says() {
        assert!(Buffers::new(1).take(BUFFER).is_some());
    }

    #[test]
    fn trimming_keeps_a_few_spares_and_no_large_buffer() {
        let mut buffers = Buffers::new(u64::MAX);
        buffers.retire(Buffers::make(8 * BUFFER), 8 * BUFFER);
        buffers.trim();
        assert_eq!(buffers.retired_bytes, 0);
        for capacity in [BUFFER, 8 * BUFFER, BUFFER, BUFFER, BUFFER, BUFFER, BUFFER] {
            buffers.retire(Buffers::make(capacity), capacity);
        }
        buffers.trim();
        assert_eq!(buffers.retired_bytes, (SPARES * BUFFER) as u64);
    }

    #[test]
    fn buffers_that_are_held_do_not_hide_one_that_is_free() {
        let mut buffers = Buffers::new(u64::MAX);
        let (held, mut frames): (Vec<_>, Vec<_>) =
            (0..2 * ASKED).map(|_| filled(&mut buffers)).unzip();
        held.into_iter().for_each(|buffer| buffers.retire(buffer, BUFFER));
        let free = frames.pop().map(|frame| frame.as_ptr());
        let took = [(); 2].map(|()| buffers.take(BUFFER).expect("no budget").as_ptr());
        assert!(took.into_iter().any(|buffer| Some(buffer) == free));
    }
}
