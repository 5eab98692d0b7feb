//! Which offset of each key is the newest: a table of fixed size from 128-bit key hashes to offsets.
//!
//! Pure; one per round of cleaning, made and dropped by `clean`. Never grows: when it is full, it says so, and the round covers what it has.
//! Clients choose keys, and two keys with one hash would be one key to the cleaner: a record would be lost. So the hash is SipHash-2-4
//! with 128 bits of result and a random key for each map, which nobody outside can aim at. (Kafka takes MD5, which can be aimed at.)

use ringlane_runtime::random_u64;
use siphasher::sip128::{Hash128, SipHasher24};

/// Hash, and the offset plus one: zero is a free slot, so that a new table is memory that nobody has touched yet.
type Slot = [u64; 3];
pub(crate) const SLOT_BYTES: usize = size_of::<Slot>();
/// At least one key and the free slot that ends a search.
const SLOTS_MIN: usize = 8;

pub(crate) struct KeyMap {
    hasher: SipHasher24,
    slots: Vec<Slot>,
    used: usize,
    used_max: usize,
}

/// The map takes no more keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

impl KeyMap {
    /// At most `memory_bytes`, and no more than `keys_max` keys need. `load`: the share of slots that may be used.
    pub fn new(memory_bytes: usize, load: f64, keys_max: u64) -> KeyMap {
        let load = load.clamp(0.1, 0.95);
        let wanted = (keys_max as f64 / load).ceil() as usize;
        let slots = wanted.min(memory_bytes / SLOT_BYTES).max(SLOTS_MIN);
        KeyMap {
            hasher: SipHasher24::new_with_keys(random_u64(), random_u64()),
            slots: vec![[0; 3]; slots],
            used: 0,
            used_max: ((slots as f64 * load) as usize).clamp(1, slots - 1),
        }
    }

    /// Notes that `key` occurs at `offset`, unless a later one is known.
    pub fn put(&mut self, key: &[u8], offset: i64) -> Result<(), Full> {
        let hash = self.hasher.hash(key);
        let at = self.find(hash);
        let noted = offset as u64 + 1;
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.used == self.used_max {
                return Err(Full);
            }
            self.used += 1;
        }
        *slot = [hash.h1, hash.h2, slot[2].max(noted)];
        Ok(())
    }

    /// The largest offset that was put for `key`.
    pub fn newest(&self, key: &[u8]) -> Option<i64> {
        let at = self.find(self.hasher.hash(key));
        self.slots[at][2].checked_sub(1).map(|offset| offset as i64)
    }

    /// Keys in the map, in percent of those that fit.
    pub fn used_percent(&self) -> usize {
        self.used * 100 / self.used_max
    }

    /// The slot of `hash`, or the free one where it would go. There always is a free one.
    fn find(&self, hash: Hash128) -> usize {
        let mut at = ((u128::from(hash.h1) * self.slots.len() as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0] == hash.h1 && slot[1] == hash.h2) {
                return at;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleaner::test_kit::in_simulator;
    use ringlane_runtime::sim::Seed;
    use std::collections::BTreeMap;

    /// An offset that is too small keeps an old record, one that is too large removes the newest.
    #[test]
    fn the_map_is_a_map_until_it_is_full() {
        in_simulator(|| {
            for seed in 0..60 {
                let mut choices = Seed::new(seed);
                let memory = SLOT_BYTES * choices.within(1..2_000) as usize;
                let keys = choices.within(1..2_500);
                let mut map = KeyMap::new(memory, 0.9, choices.within(1..3_000));
                let mut model = BTreeMap::new();
                let mut was_full = false;
                for offset in 0..4_000i64 {
                    let key = choices.below(keys).to_be_bytes()[..choices.within(1..9) as usize].to_vec();
                    match map.put(&key, offset) {
                        Ok(()) => _ = model.insert(key, offset),
                        Err(Full) => {
                            assert!(!model.contains_key(&key), "seed {seed}: a known key always fits");
                            assert_eq!(map.used_percent(), 100);
                            was_full = true;
                        }
                    }
                }
                assert_eq!(map.used, model.len(), "seed {seed}");
                assert!(map.slots.len() * SLOT_BYTES <= memory.max(SLOTS_MIN * SLOT_BYTES), "seed {seed}");
                for key in (0..keys).flat_map(|n| (1..9).map(move |len| n.to_be_bytes()[..len].to_vec())) {
                    assert_eq!(map.newest(&key), model.get(&key).copied(), "seed {seed}, full {was_full}");
                }
            }
        });
    }

    /// The default table is 128 MiB: a log of a hundred records must not take that, and one that is empty must work.
    #[test]
    fn the_table_is_no_larger_than_its_keys_need() {
        in_simulator(|| {
            let mut map = KeyMap::new(128 << 20, 0.9, 100);
            assert!(map.slots.len() < 130);
            for n in 0..100u64 {
                map.put(&n.to_be_bytes(), n as i64).unwrap();
            }
            assert_eq!(KeyMap::new(0, 0.9, 0).newest(b"key"), None);
        });
    }
}
