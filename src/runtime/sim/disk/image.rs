//! One file: its live image, its durable image, and the changes between them in the order in which they were made.

use super::SECTOR_BYTES;
use crate::BLOCK_BYTES;
use crate::sim::seed::Seed;
use bytes::Bytes;
use std::collections::BTreeMap;

const BLOCK: u64 = BLOCK_BYTES as u64;

#[derive(Default)]
pub(in crate::sim) struct FileImages {
    live: Image,
    durable: Image,
    unsynced: Vec<Unsynced>,
    next_change: u64,
    allocated_bytes: u64,
    /// Handles.
    pub(in crate::sim) opens: usize,
    /// When the content last changed, by the node's wall clock.
    pub(in crate::sim) modified_ms: i64,
}

/// Sparse: a block that is missing reads as zeros.
#[derive(Clone, Default)]
struct Image {
    blocks: BTreeMap<u64, Bytes>,
    len: u64,
}

struct Unsynced {
    number: u64,
    change: Change,
}

#[derive(Clone)]
enum Change {
    /// Blocks of one write, and where it ended.
    Write {
        blocks: Vec<(u64, Bytes)>,
        end: u64,
    },
    SetLen(u64),
}

impl FileImages {
    pub(in crate::sim) fn len(&self) -> u64 {
        self.live.len
    }

    pub(in crate::sim) fn used_bytes(&self) -> u64 {
        (self.live.blocks.len() as u64 * BLOCK).max(self.allocated_bytes)
    }

    /// What a write would add to [`FileImages::used_bytes`].
    pub(in crate::sim) fn growth_bytes(&self, position: u64, len: usize) -> u64 {
        let (first, end) = (position / BLOCK, (position + len as u64).div_ceil(BLOCK));
        let held = self.live.blocks.range(first..end).count() as u64;
        let blocks_after = self.live.blocks.len() as u64 + (end - first) - held;
        (blocks_after * BLOCK).saturating_sub(self.used_bytes())
    }

    pub(in crate::sim) fn allocate(&mut self, bytes: u64) {
        self.allocated_bytes = self.allocated_bytes.max(bytes.next_multiple_of(BLOCK));
    }

    /// What [`FileImages::allocate`] would add to [`FileImages::used_bytes`].
    pub(in crate::sim) fn allocation_bytes(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(BLOCK).saturating_sub(self.used_bytes())
    }

    /// Fills `into` from `position` on and says how much the file had.
    pub(in crate::sim) fn read(&self, position: u64, into: &mut [u8]) -> usize {
        let count = self.live.len.saturating_sub(position).min(into.len() as u64) as usize;
        for (index, chunk) in into[..count].chunks_mut(BLOCK_BYTES).enumerate() {
            match self.live.blocks.get(&(position / BLOCK + index as u64)) {
                Some(block) => chunk.copy_from_slice(&block[..chunk.len()]),
                None => chunk.fill(0),
            }
        }
        count
    }

    pub(in crate::sim) fn write(&mut self, position: u64, data: &Bytes, is_durable: bool) {
        let change = Change::Write { blocks: blocks_of(position, data), end: position + data.len() as u64 };
        self.live.apply(&change);
        if is_durable {
            self.settle_sizes();
            self.supersede(position / BLOCK, (position + data.len() as u64).div_ceil(BLOCK));
            self.durable.apply(&change);
        } else {
            self.push_unsynced(change);
        }
    }

    pub(in crate::sim) fn set_len(&mut self, len: u64) {
        let change = Change::SetLen(len);
        self.live.apply(&change);
        self.allocated_bytes = self.allocated_bytes.min(len);
        self.push_unsynced(change);
    }

    /// Part of the write, as an error or a crash in its middle leaves it.
    pub(in crate::sim) fn tear(&mut self, seed: &mut Seed, position: u64, data: &Bytes) {
        let whole = Change::Write { blocks: blocks_of(position, data), end: position + data.len() as u64 };
        if let Some(part) = self.live.survivor_of(&whole, seed) {
            self.live.apply(&part);
            self.push_unsynced(part);
        }
    }

    fn push_unsynced(&mut self, change: Change) {
        self.unsynced.push(Unsynced { number: self.next_change, change });
        self.next_change += 1;
    }

    /// A durable write commits the inode, and with it every size set before: an older one cannot come back and cut the write off.
    fn settle_sizes(&mut self) {
        for unsynced in std::mem::take(&mut self.unsynced) {
            match unsynced.change {
                Change::SetLen(len) => {
                    self.unsynced.iter_mut().for_each(|older| older.change.cut(len));
                    self.durable.apply(&unsynced.change);
                }
                Change::Write { .. } => self.unsynced.push(unsynced),
            }
        }
    }

    /// Older unsynced blocks in the range lie under a durable write: they cannot come back.
    fn supersede(&mut self, first_block: u64, end_block: u64) {
        for unsynced in &mut self.unsynced {
            if let Change::Write { blocks, .. } = &mut unsynced.change {
                blocks.retain(|(block, _)| !(first_block..end_block).contains(block));
            }
        }
    }

    /// The mark for a sync that starts now: it covers the changes made before.
    pub(in crate::sim) fn sync_mark(&self) -> u64 {
        self.next_change
    }

    pub(in crate::sim) fn sync(&mut self, up_to: u64) {
        for unsynced in self.unsynced.extract_if(.., |unsynced| unsynced.number < up_to) {
            self.durable.apply(&unsynced.change);
        }
    }

    pub(in crate::sim) fn forget_unsynced(&mut self, up_to: u64) {
        self.unsynced.retain(|unsynced| unsynced.number >= up_to);
    }

    pub(in crate::sim) fn lose_power(&mut self, seed: &mut Seed) {
        for unsynced in std::mem::take(&mut self.unsynced) {
            if let Some(survivor) = self.durable.survivor_of(&unsynced.change, seed) {
                self.durable.apply(&survivor);
            }
        }
        self.live = self.durable.clone();
        self.allocated_bytes = self.allocated_bytes.min(self.live.len);
    }

    pub(in crate::sim) fn flip_bit(&mut self, bit: u64) {
        let (block, byte) = (bit / 8 / BLOCK, (bit / 8 % BLOCK) as usize);
        for image in [&mut self.live, &mut self.durable] {
            let mut changed = image.block(block);
            changed[byte] ^= 1 << (bit % 8);
            image.blocks.insert(block, changed.into());
        }
    }
}

impl Change {
    /// Takes away what lies at `len` or behind it.
    fn cut(&mut self, len: u64) {
        let Change::Write { blocks, end } = self else { return };
        blocks.retain(|(block, _)| block * BLOCK < len);
        *end = len.min(*end);
        let kept = (len % BLOCK) as usize;
        if let Some((_, last)) = blocks.iter_mut().find(|(block, _)| *block == len / BLOCK) {
            let mut cut = last.to_vec();
            cut[kept..].fill(0);
            *last = cut.into();
        }
    }
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { blocks, end } => {
                self.blocks.extend(blocks.iter().cloned());
                self.len = self.len.max(*end);
            }
            Change::SetLen(len) => {
                self.blocks.split_off(&len.div_ceil(BLOCK));
                let (last, kept) = (len / BLOCK, (len % BLOCK) as usize);
                if kept > 0 && self.blocks.contains_key(&last) {
                    let mut block = self.block(last);
                    block[kept..].fill(0);
                    self.blocks.insert(last, block.into());
                }
                self.len = *len;
            }
        }
    }

    /// What a crash leaves of a change: all of it, nothing, its first sectors, or any of its sectors.
    fn survivor_of(&self, change: &Change, seed: &mut Seed) -> Option<Change> {
        let fate = seed.below(4);
        match (fate, change) {
            (0, _) => None,
            (1, _) => Some(change.clone()),
            (_, Change::SetLen(_)) => seed.chance(0.5).then(|| change.clone()),
            (_, Change::Write { blocks, end }) => {
                let sectors = blocks.len() * BLOCK_BYTES / SECTOR_BYTES;
                let first_lost = if fate == 2 { seed.below(sectors as u64 + 1) as usize } else { sectors };
                let mut torn = Vec::with_capacity(blocks.len());
                for (index, (number, new)) in blocks.iter().enumerate() {
                    let mut block = self.block(*number);
                    for sector in 0..BLOCK_BYTES / SECTOR_BYTES {
                        let is_before_cut = index * (BLOCK_BYTES / SECTOR_BYTES) + sector < first_lost;
                        if is_before_cut && (fate == 2 || seed.chance(0.5)) {
                            let bytes = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                            block[bytes.clone()].copy_from_slice(&new[bytes]);
                        }
                    }
                    torn.push((*number, Bytes::from(block)));
                }
                let end = if seed.chance(0.5) { *end } else { self.len.min(*end) };
                Some(Change::Write { blocks: torn, end })
            }
        }
    }

    fn block(&self, number: u64) -> Vec<u8> {
        self.blocks.get(&number).map_or_else(|| vec![0; BLOCK_BYTES], |block| block.to_vec())
    }
}

/// Blocks of `data`; the last one, if it is short, filled up with zeros (small whole files only).
fn blocks_of(position: u64, data: &Bytes) -> Vec<(u64, Bytes)> {
    assert!(position.is_multiple_of(BLOCK), "write at {position}, not a multiple of {BLOCK}");
    let mut blocks = Vec::with_capacity(data.len().div_ceil(BLOCK_BYTES));
    for start in (0..data.len()).step_by(BLOCK_BYTES) {
        let mut block = data.slice(start..data.len().min(start + BLOCK_BYTES));
        if block.len() < BLOCK_BYTES {
            let mut padded = block.to_vec();
            padded.resize(BLOCK_BYTES, 0);
            block = padded.into();
        }
        blocks.push(((position + start as u64) / BLOCK, block));
    }
    blocks
}
