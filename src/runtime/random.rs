//! Randomness: from the kernel on `ring`, from the seed in `sim`.

pub fn random_u64() -> u64 {
    todo!()
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    todo!()
}
