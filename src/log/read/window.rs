//! Bytes of one segment in the pieces in which they were read, and which batches of them a reader gets.
//!
//! Pure. A batch may lie in two pieces or more: its header is put together on the stack, its body is never looked at, and it leaves as one
//! slice a piece. So reads of any size follow on each other, and no byte is read or copied twice for a batch at their border.

use super::ReadRange;
use bytes::Bytes;
use ringlane_protocol::records::{BatchHeader, HEADER_BYTES};
use ringlane_runtime::Buffer;
use std::collections::VecDeque;

/// A slice that is less than this part of its piece is copied: otherwise a reader of single batches would keep a whole read's memory
/// alive for each of them, for as long as its client takes to receive it.
const PINNED_PART: usize = 4;

/// Pieces that follow on each other. Positions are those of the segment's file.
#[derive(Default)]
pub(crate) struct Window {
    start: u64,
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

/// What a reader gets of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Picked {
    Batches {
        from: u64,
        to: u64,
        next_offset: i64,
    },
    /// What comes next is outside of the reader's bounds.
    PastBounds,
    /// Nothing wanted is whole: at least `need` bytes from `at` on are missing (0: the window ends between batches).
    ReadOn {
        at: u64,
        need: usize,
    },
}

/// No batch.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Bad {
    pub position: u64,
    pub found: String,
}

impl Window {
    /// Empty, and goes on at `position`.
    pub fn at(position: u64) -> Window {
        Window { start: position, ..Window::default() }
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn end(&self) -> u64 {
        self.start + self.bytes as u64
    }

    pub fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
    }

    /// Lets go of the pieces that lie wholly before `position`.
    pub fn drop_before(&mut self, position: u64) {
        while let Some(first) = self.pieces.front()
            && self.start + first.len() as u64 <= position
        {
            self.start += first.len() as u64;
            self.bytes -= first.len();
            self.pieces.pop_front();
        }
    }

    /// Decides which batches from `at` on, where one begins, are the reader's.
    pub fn pick(&self, at: u64, range: &ReadRange) -> Result<Picked, Bad> {
        let mut position = at;
        let mut picked: Option<(u64, i64)> = None;
        let picked_or = |picked: Option<(u64, i64)>, to, otherwise| match picked {
            Some((from, next_offset)) => Picked::Batches { from, to, next_offset },
            None => otherwise,
        };
        while position < self.end() {
            let Some(head) = self.head_at(position) else {
                return Ok(picked_or(picked, position, Picked::ReadOn { at: position, need: HEADER_BYTES }));
            };
            let header = BatchHeader::parse(&head).map_err(|error| Bad { position, found: error.to_string() })?;
            let end = position + header.size() as u64;
            if header.last_offset() >= range.from {
                let begin = picked.map_or(position, |(begin, _)| begin);
                let fits = end - begin <= range.max_bytes as u64 || (picked.is_none() && range.at_least_one);
                if header.last_offset() >= range.below || !fits {
                    return Ok(picked_or(picked, position, Picked::PastBounds));
                }
                if end > self.end() {
                    return Ok(picked_or(picked, position, Picked::ReadOn { at: position, need: header.size() }));
                }
                picked = Some((begin, header.next_offset()));
            }
            position = end;
        }
        Ok(picked_or(picked, position, Picked::ReadOn { at: position, need: 0 }))
    }

    /// The bytes `from..to`, one slice a piece.
    pub fn slices(&self, from: u64, to: u64) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut begin = self.start;
        for piece in &self.pieces {
            let end = begin + piece.len() as u64;
            let (first, last) = (from.max(begin), to.min(end));
            if first < last {
                let slice = piece.slice((first - begin) as usize..(last - begin) as usize);
                let is_small = slice.len() < piece.len() / PINNED_PART;
                slices.push(if is_small { Buffer::copy_from(&slice).freeze() } else { slice });
            }
            begin = end;
        }
        slices
    }

    fn head_at(&self, position: u64) -> Option<[u8; HEADER_BYTES]> {
        let mut skip = position.checked_sub(self.start)? as usize;
        let mut head = [0; HEADER_BYTES];
        let mut filled = 0;
        for piece in &self.pieces {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let part = &piece[std::mem::take(&mut skip)..];
            let bytes = part.len().min(HEADER_BYTES - filled);
            head[filled..filled + bytes].copy_from_slice(&part[..bytes]);
            filled += bytes;
            if filled == HEADER_BYTES {
                return Some(head);
            }
        }
        None
    }
}

/// The same bytes in slices of whole batches: what lies in two slices is copied together. `slices` together are whole batches.
pub(crate) fn join_batches(slices: Vec<Bytes>) -> Vec<Bytes> {
    if slices.len() < 2 {
        return slices;
    }
    let mut window = Window::default();
    let ends: Vec<u64> = slices
        .into_iter()
        .map(|slice| {
            window.push(slice);
            window.end()
        })
        .collect();
    let (mut joined, mut begin, mut position) = (Vec::new(), 0, 0);
    for border in ends {
        // The last batch that begins before the border, and where it ends.
        let mut last = position;
        while position < border {
            last = position;
            let head = window.head_at(position).and_then(|head| BatchHeader::parse(&head).ok());
            position = head.map_or(window.end(), |header| position + header.size() as u64);
        }
        if position == border {
            joined.extend(window.part(begin, border));
        } else {
            joined.extend(window.part(begin, last));
            joined.extend(window.part(last, position));
        }
        begin = position;
    }
    joined
}

impl Window {
    /// `from..to` as one slice, copied if it lies in several pieces.
    fn part(&self, from: u64, to: u64) -> Option<Bytes> {
        let mut slices = self.slices(from, to.min(self.end()));
        if slices.len() < 2 {
            return slices.pop();
        }
        let mut whole = Buffer::take(slices.iter().map(Bytes::len).sum());
        let mut at = 0;
        for slice in slices {
            whole[at..at + slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        Some(whole.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringlane_protocol::records::{BatchBuilder, Compression};

    /// Batches of one record each, with these sizes of values, offsets from 10 on.
    fn batches(value_bytes: &[usize]) -> Vec<Vec<u8>> {
        let build = |(n, bytes): (usize, &usize)| {
            let mut builder = BatchBuilder::new(Compression::None).base_offset(10 + n as i64);
            builder.push(0, None, Some(&vec![n as u8; *bytes]), &[]);
            builder.finish().expect("is not compressed")
        };
        value_bytes.iter().enumerate().map(build).collect()
    }

    fn window(bytes: &[u8], piece_bytes: usize) -> Window {
        let mut window = Window::at(7);
        bytes.chunks(piece_bytes).for_each(|piece| window.push(Bytes::copy_from_slice(piece)));
        window
    }

    fn range(from: i64, below: i64, max_bytes: usize, at_least_one: bool) -> ReadRange {
        ReadRange { from, below, max_bytes, at_least_one }
    }

    /// A header or a batch at the border of two reads must be found as if it lay in one, whatever the border.
    #[test]
    fn borders_of_pieces_do_not_matter() {
        let batches = batches(&[100, 3, 700, 0, 250]);
        let bytes = batches.concat();
        let asked = [range(0, 99, 1 << 20, true), range(12, 14, 1 << 20, true), range(11, 99, 900, false)];
        for range in asked {
            let whole = window(&bytes, bytes.len());
            let Ok(Picked::Batches { from, to, next_offset }) = whole.pick(7, &range) else { panic!("{range:?}") };
            for piece_bytes in 1..bytes.len() {
                let cut = window(&bytes, piece_bytes);
                assert_eq!(cut.pick(7, &range), Ok(Picked::Batches { from, to, next_offset }), "{range:?}");
                assert_eq!(cut.slices(from, to).concat(), bytes[(from - 7) as usize..(to - 7) as usize]);
            }
        }
    }

    /// A window that ends inside of a batch must say how much is missing, never give half of it.
    #[test]
    fn half_a_batch_is_no_batch() {
        let batches = batches(&[500, 500]);
        let bytes = batches.concat();
        let second = 7 + batches[0].len() as u64;
        for have in 1..bytes.len() {
            let picked = window(&bytes[..have], 64).pick(7, &range(11, 99, 1, true));
            let need = match have {
                _ if have < HEADER_BYTES => Picked::ReadOn { at: 7, need: HEADER_BYTES },
                // The first one is not wanted: what lies behind it is asked for at once, read or not.
                _ if have <= batches[0].len() => Picked::ReadOn { at: second, need: 0 },
                _ if have < batches[0].len() + HEADER_BYTES => Picked::ReadOn { at: second, need: HEADER_BYTES },
                _ => Picked::ReadOn { at: second, need: batches[1].len() },
            };
            assert_eq!(picked, Ok(need), "{have} bytes");
        }
        let over = window(&bytes, 64).pick(7, &range(10, 99, 1, true));
        assert_eq!(over, Ok(Picked::Batches { from: 7, to: second, next_offset: 11 }), "one, whatever the limit");
        assert_eq!(window(&bytes, 64).pick(7, &range(10, 99, 1, false)), Ok(Picked::PastBounds));
        assert_eq!(window(&[0; 200], 64).pick(7, &range(10, 99, 1, true)).unwrap_err().position, 7);
    }

    /// A consumer of small fetches would otherwise hold a megabyte for each kilobyte that its socket has not taken.
    #[test]
    fn a_small_part_does_not_keep_its_piece_alive() {
        let piece = Bytes::from(vec![1; 1000]);
        let mut window = Window::at(0);
        window.push(piece.clone());
        let (small, large) = (window.slices(10, 200), window.slices(10, 900));
        assert!(
            !piece.as_ptr_range().contains(&small[0].as_ptr()) && piece.as_ptr_range().contains(&large[0].as_ptr())
        );
        assert_eq!((small[0].len(), large[0].len()), (190, 890));
        window.drop_before(999);
        assert_eq!(window.start(), 0);
        window.drop_before(1000);
        assert_eq!((window.start(), window.end()), (1000, 1000));
    }

    /// Whoever parses slices one by one would stumble over a batch that lies in two.
    #[test]
    fn joined_slices_are_whole_batches() {
        let batches = batches(&[100, 3, 700, 0, 250, 20]);
        let bytes = batches.concat();
        for piece_bytes in 1..bytes.len() + 1 {
            let cut = bytes.chunks(piece_bytes).map(Bytes::copy_from_slice).collect();
            let joined = join_batches(cut);
            assert_eq!(joined.concat(), bytes);
            for slice in joined {
                let mut rest: &[u8] = &slice;
                while !rest.is_empty() {
                    rest = &rest[BatchHeader::parse(rest).expect("a batch begins here").size()..];
                }
            }
        }
    }
}
