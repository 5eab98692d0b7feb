//! A queue in pieces of at most 64 KiB, so that pushing never copies or allocates more than one piece.
//!
//! Tails and indexes of a busy log hold hundreds of thousands of entries; a plain `Vec` would now and then copy megabytes in the middle
//! of an append. Pure; used by `tail`, `index` and `cache`.

use std::collections::VecDeque;

const PIECE_BYTES: usize = 64 << 10;

/// Every piece but the first and the last is full, so an index finds its piece by division.
pub(crate) struct Chunks<T> {
    pieces: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { pieces: VecDeque::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    const PER_PIECE: usize = PIECE_BYTES / size_of::<T>();

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push_back(&mut self, item: T) {
        if self.pieces.back().is_none_or(|piece| piece.len() >= Self::PER_PIECE) {
            self.pieces.push_back(VecDeque::new());
        }
        self.pieces.back_mut().expect("pushed above").push_back(item);
        self.len += 1;
    }

    pub fn front(&self) -> Option<&T> {
        self.pieces.front()?.front()
    }

    pub fn back(&self) -> Option<&T> {
        self.pieces.back()?.back()
    }

    pub fn pop_front(&mut self) -> Option<T> {
        let first = self.pieces.front_mut()?;
        let item = first.pop_front();
        if first.is_empty() {
            self.pieces.pop_front();
        }
        self.len -= 1;
        item
    }

    pub fn pop_back(&mut self) -> Option<T> {
        let last = self.pieces.back_mut()?;
        let item = last.pop_back();
        if last.is_empty() {
            self.pieces.pop_back();
        }
        self.len -= 1;
        item
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        let first_len = self.pieces.front()?.len();
        if index < first_len {
            return self.pieces[0].get(index);
        }
        let rest = index - first_len;
        self.pieces.get(1 + rest / Self::PER_PIECE)?.get(rest % Self::PER_PIECE)
    }

    /// Index of the first item for which `before` is false; items must be ordered so that it is true for a prefix.
    pub fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).is_some_and(&mut before) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Items from `index` on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = &T> {
        (index..self.len).map_while(|at| self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If popping at the front broke the arithmetic of `get`, a consumer would be given another batch than it asked for.
    #[test]
    fn an_index_finds_its_item_however_the_ends_move() {
        let mut chunks = Chunks::<u64>::default();
        let mut model = VecDeque::new();
        let mut next = 0;
        for round in 0..60u64 {
            for _ in 0..(round * 977 % 12_000) {
                chunks.push_back(next);
                model.push_back(next);
                next += 1;
            }
            for _ in 0..(round * 613 % 11_000) {
                assert_eq!(chunks.pop_front(), model.pop_front());
            }
            for _ in 0..(round * 31 % 900) {
                assert_eq!(chunks.pop_back(), model.pop_back());
                next = model.back().map_or(next, |last| last + 1);
            }
            assert_eq!(chunks.len(), model.len());
            assert_eq!((chunks.front(), chunks.back()), (model.front(), model.back()));
            for index in (0..model.len()).step_by(499) {
                assert_eq!(chunks.get(index), model.get(index));
                assert_eq!(chunks.partition_point(|item| *item < model[index]), index);
            }
            assert_eq!(chunks.get(model.len()), None);
        }
    }
}
