//! Size classes: four steps per power of two, in quarter KiB, and in whole direct I/O units from 4 KiB on.

use super::BLOCK_BYTES;

/// Smaller buffers take this much: below it the bookkeeping (32 bytes a block) would outweigh the saving.
const SMALLEST_BYTES: usize = 256;
/// Larger buffers come from the allocator: they are as rare as requests of that size.
pub(super) const LARGEST_BYTES: usize = 16 << 20;
/// Memory moves between classes in these units: a huge page of x86-64 and aarch64.
pub(super) const UNIT_BYTES: usize = 2 << 20;
const _: () = assert!(UNIT_BYTES.is_multiple_of(BLOCK_BYTES));

pub(super) const CLASS_COUNT: usize = table().1;
const CLASS_BYTES: [usize; CLASS_COUNT] = {
    let (all, count) = table();
    let mut sizes = [0; CLASS_COUNT];
    let mut i = 0;
    while i < count {
        sizes[i] = all[i];
        i += 1;
    }
    sizes
};
const _: () = assert!(CLASS_BYTES[CLASS_COUNT - 1] == LARGEST_BYTES);

/// The sizes in rising order, and how many of the array are used.
const fn table() -> ([usize; 128], usize) {
    let mut sizes = [0; 128];
    let mut count = 0;
    let mut power = SMALLEST_BYTES;
    while power <= LARGEST_BYTES {
        let mut quarter = 0;
        while quarter < 4 {
            let exact = power + power / 4 * quarter;
            let bytes = exact.next_multiple_of(if exact < BLOCK_BYTES { SMALLEST_BYTES } else { BLOCK_BYTES });
            let is_new = count == 0 || sizes[count - 1] < bytes;
            if is_new && bytes <= LARGEST_BYTES {
                sizes[count] = bytes;
                count += 1;
            }
            quarter += 1;
        }
        power *= 2;
    }
    (sizes, count)
}

/// The classes of most requests, by quarter KiB, rounded up: a search costs a mispredicted branch per step.
const SMALL: [u8; SMALL_BYTES_MAX / SMALLEST_BYTES + 1] = {
    let mut classes = [0; SMALL_BYTES_MAX / SMALLEST_BYTES + 1];
    let (mut i, mut class) = (0, 0);
    while i < classes.len() {
        while CLASS_BYTES[class] < i * SMALLEST_BYTES {
            class += 1;
        }
        classes[i] = class as u8;
        i += 1;
    }
    classes
};
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The smallest class that holds `len` bytes; `None` above [`LARGEST_BYTES`].
pub(super) fn class_of(len: usize) -> Option<usize> {
    if let Some(class) = SMALL.get(len.div_ceil(SMALLEST_BYTES)) {
        return Some(usize::from(*class));
    }
    let class = CLASS_BYTES.partition_point(|bytes| *bytes < len);
    (class < CLASS_COUNT).then_some(class)
}

pub(super) fn class_bytes(class: usize) -> usize {
    CLASS_BYTES[class]
}

/// Units that one slab of `class` takes: as few as waste at most an eighth.
pub(super) fn slab_units(class: usize) -> usize {
    let block_bytes = class_bytes(class);
    let wastes_little = |units: &usize| (units * UNIT_BYTES) % block_bytes <= units * UNIT_BYTES / 8;
    (block_bytes.div_ceil(UNIT_BYTES)..).find(wastes_little).expect("a multiple of the block size wastes nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps coarser than a quarter would waste a third of the tail's memory.
    #[test]
    fn classes_waste_at_most_a_fifth_above_16_kib() {
        for len in [16_385, 20_481, 100_000, 1 << 20, (1 << 20) + 1, 3_000_000] {
            let bytes = class_bytes(class_of(len).unwrap());
            assert!(bytes >= len && (bytes - len) * 5 <= bytes, "{len} takes {bytes}");
        }
        assert_eq!(class_of(LARGEST_BYTES + 1), None);
    }

    #[test]
    fn slabs_hold_at_least_one_block_and_waste_little() {
        for class in 0..CLASS_COUNT {
            let bytes = slab_units(class) * UNIT_BYTES;
            let used = bytes / class_bytes(class) * class_bytes(class);
            assert!(used > 0 && (bytes - used) * 8 <= bytes);
        }
    }
}
