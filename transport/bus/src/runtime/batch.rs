//! What one write takes: the bytes of many frames in few slices.

use std::marker::PhantomData;

/// How many bytes of small pieces are packed for one write.
pub(crate) const SCRATCH: usize = 64 << 10;

/// Pieces of up to this many bytes are copied to their neighbours; larger ones are handed to the
/// kernel where they lie.
pub(crate) const PACKED: usize = 2 << 10;

/// How many slices one write takes.
const SLICES: usize = 128;

/// The memory that batches are made in. A batch is made and written within one call, so all links of
/// a shard share it.
#[derive(Debug)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    slices: Vec<libc::iovec>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(SCRATCH), slices: Vec::with_capacity(SLICES) }
    }

    /// An empty batch.
    pub(crate) fn batch(&mut self) -> Batch<'_> {
        self.bytes.clear();
        self.slices.clear();
        Batch { scratch: self, total: 0, first: &[], pieces: PhantomData }
    }
}

/// Bytes to be written in one call. Small pieces are packed.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    scratch: &'a mut Scratch,
    total: usize,
    first: &'a [u8],
    pieces: PhantomData<&'a [u8]>,
}

impl<'a> Batch<'a> {
    /// Adds a piece; false when the batch has no room for it.
    pub(crate) fn push(&mut self, piece: &'a [u8]) -> bool {
        if piece.is_empty() {
            return true;
        }
        let packed = piece.len() <= PACKED && self.pack(piece);
        if !packed {
            if self.scratch.slices.len() == SLICES {
                return false;
            }
            self.scratch.slices.push(slice_at(piece.as_ptr(), piece.len()));
        }
        if self.total == 0 {
            self.first = piece;
        }
        self.total += piece.len();
        true
    }

    /// How many bytes the batch has.
    pub(crate) fn len(&self) -> usize {
        self.total
    }

    /// The first piece.
    pub(super) fn first(&self) -> &'a [u8] {
        self.first
    }

    /// The slices, in order. They point to the pieces and to the scratch, which stay as they are for as
    /// long as the batch is borrowed.
    pub(super) fn slices(&self) -> &[libc::iovec] {
        &self.scratch.slices
    }

    /// A copy of all its bytes.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for slice in self.slices() {
            let start: *const u8 = slice.iov_base.cast_const().cast();
            // SAFETY: a slice points to memory that the batch borrows.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(start, slice.iov_len) });
        }
        bytes
    }

    /// Copies a piece to the scratch, if that has room.
    fn pack(&mut self, piece: &[u8]) -> bool {
        let Scratch { bytes, slices } = &mut *self.scratch;
        if bytes.len() + piece.len() > SCRATCH {
            return false;
        }
        let end = bytes.as_ptr().wrapping_add(bytes.len());
        let full = slices.len() == SLICES;
        match slices.last_mut() {
            Some(last) if end_of(last) == end => last.iov_len += piece.len(),
            _ if full => return false,
            _ => slices.push(slice_at(end, piece.len())),
        }
        bytes.extend_from_slice(piece);
        true
    }
}

fn slice_at(start: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: start.cast_mut().cast(), iov_len: len }
}

fn end_of(slice: &libc::iovec) -> *const u8 {
    slice.iov_base.cast_const().cast::<u8>().wrapping_add(slice.iov_len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lens(batch: &Batch<'_>) -> Vec<usize> {
        batch.slices().iter().map(|slice| slice.iov_len).collect()
    }

    #[test]
    fn small_pieces_are_packed_and_large_ones_are_not_copied() {
        let (small, large) = ([[7; 300]; 5], vec![8; 100_000]);
        let mut scratch = Scratch::new();
        let mut batch = scratch.batch();
        assert!(small.iter().all(|piece| batch.push(piece)));
        assert!(batch.push(&large));
        assert!(small.iter().all(|piece| batch.push(piece)));
        assert_eq!(lens(&batch), [1500, 100_000, 1500]);
        assert_eq!(batch.slices()[1].iov_base.cast_const().cast(), large.as_ptr());
        assert_eq!(batch.len(), 103_000);
    }

    #[test]
    fn a_batch_has_a_largest_size() {
        let large = [0; 2 * PACKED];
        let mut scratch = Scratch::new();
        let mut batch = scratch.batch();
        let taken = (0..1000).take_while(|_| batch.push(&large)).count();
        assert_eq!((taken, lens(&batch).len()), (SLICES, SLICES));
        assert!(!batch.push(&large[..1]), "packing would take another slice");
    }

    /// Where a piece lies: right behind the one before, or this far into the memory.
    fn place() -> impl Strategy<Value = Option<usize>> {
        prop_oneof![3 => Just(None), 1 => (0..200_000_usize).prop_map(Some)]
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![
            8 => 0..300_usize,
            4 => PACKED - 2..PACKED + 3,
            2 => 0..3 * PACKED,
            1 => SCRATCH - 2..SCRATCH + 3,
        ]
    }

    proptest! {
        #[test]
        fn a_batch_is_its_pieces_in_order(pieces in prop::collection::vec((place(), size()), 0..400)) {
            let memory: Vec<u8> = (0..400_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
            let mut scratch = Scratch::new();
            let mut batch = scratch.batch();
            let (mut expected, mut end, mut first) = (Vec::new(), 0, None);
            for (place, size) in pieces {
                let start = place.unwrap_or(end);
                let Some(piece) = memory.get(start..start + size) else { continue };
                if !batch.push(piece) {
                    prop_assert_eq!(batch.slices().len(), SLICES);
                    break;
                }
                end = start + size;
                expected.extend_from_slice(piece);
                first = first.or((size > 0).then_some(piece));
            }
            prop_assert!(batch.slices().len() <= SLICES);
            prop_assert!(batch.slices().iter().all(|slice| slice.iov_len > 0));
            prop_assert_eq!(batch.len(), expected.len());
            prop_assert_eq!(batch.first(), first.unwrap_or_default());
            prop_assert!(batch.to_bytes() == expected);
            prop_assert!(batch.scratch.bytes.capacity() == SCRATCH, "it never moves");
        }
    }
}
