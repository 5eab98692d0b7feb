//! Randomness: from the kernel on `ring`, from the seed in `sim`.

use crate::context::{Backend, backend};
use crate::{ring, sim};

pub fn random_u64() -> u64 {
    u64::from_ne_bytes(random_bytes())
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match backend() {
        Backend::Sim => sim::random::fill(&mut bytes),
        Backend::Ring | Backend::None => ring::random::fill(&mut bytes),
    }
    bytes
}
