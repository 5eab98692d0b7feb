//! Owns the numbers that decide everything in a simulation. One generator per purpose, each derived from the seed, so that, for example,
//! another random number taken by a shard does not shift the delays of the network.

use std::ops::Range;
use std::time::Duration;

/// splitmix64: one word of state, passes the usual batteries, the same on every machine and in every release.
#[derive(Clone, Debug)]
pub struct Seed {
    state: u64,
}

impl Seed {
    pub fn new(seed: u64) -> Seed {
        Seed { state: seed }
    }

    /// An independent generator for the purpose that `label` names.
    pub fn derive(&self, label: u64) -> Seed {
        let mut mixed = Seed { state: self.state ^ label.wrapping_mul(0xd6e8_feb8_6659_fd93) };
        mixed.number();
        Seed { state: mixed.number() }
    }

    /// Any 64 bits.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Uniform in `0 .. bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `range`; its start when it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True with the given probability (0.0 never, 1.0 always).
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
    }

    pub(super) fn nanos_within(&mut self, range: &Range<Duration>) -> u64 {
        self.within(nanos(range.start)..nanos(range.end))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().min(u128::from(u64::MAX)) as u64
}
