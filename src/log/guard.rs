//! Watches the free space of a data directory: below a reserve, appends are refused, while reads, deletes and what keeps the broker in
//! order go on.
//!
//! Part of a volume. The shard's watch asks the file system; `log` looks here before each append. Appends are taken again by
//! themselves when there is space again.

use crate::error::DirFull;
use std::cell::Cell;
use std::path::Path;

/// What is kept free: so much, or this part of the disk if that is less.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
const RESERVE_PART: u64 = 50;

#[derive(Default)]
pub(crate) struct Guard {
    free_bytes: Cell<u64>,
    reserve_bytes: Cell<u64>,
    is_full: Cell<bool>,
}

impl Guard {
    /// What the file system said. Answers whether that changed anything.
    pub fn saw(&self, free_bytes: u64, total_bytes: u64) -> bool {
        let reserve_bytes = RESERVE_BYTES_MAX.min(total_bytes / RESERVE_PART);
        self.free_bytes.set(free_bytes);
        self.reserve_bytes.set(reserve_bytes);
        // Not back at once: half a reserve more, so that a disk at its limit does not flicker.
        let limit = if self.is_full.get() { reserve_bytes + reserve_bytes / 2 } else { reserve_bytes };
        let is_full = free_bytes < limit;
        self.is_full.replace(is_full) != is_full
    }

    /// A write found no space, whatever the file system said last.
    pub fn is_out_of_space(&self) {
        self.free_bytes.set(0);
        self.is_full.set(true);
    }

    pub fn is_full(&self) -> bool {
        self.is_full.get()
    }

    /// Whether `path`, the directory, takes appends.
    pub fn check(&self, path: &Path) -> Result<(), DirFull> {
        if !self.is_full.get() {
            return Ok(());
        }
        Err(DirFull {
            path: path.to_owned(),
            free_bytes: self.free_bytes.get(),
            reserve_bytes: self.reserve_bytes.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A disk filled to the last byte cannot even be cleaned up; one that takes appends again at the first free byte flickers.
    #[test]
    fn appends_are_refused_below_the_reserve_and_taken_again_above_it() {
        let (guard, path) = (Guard::default(), Path::new("/data"));
        assert!(!guard.saw(2 * GIB, 100 * GIB) && guard.check(path).is_ok());
        assert!(guard.saw(GIB - 1, 100 * GIB), "1 GiB is the reserve of a large disk");
        let refused = guard.check(path).unwrap_err();
        assert!(refused.to_string().contains("/data") && refused.to_string().contains("1073741824"), "{refused}");
        assert!(!guard.saw(GIB, 100 * GIB) && guard.check(path).is_err());
        assert!(guard.saw(GIB + GIB / 2, 100 * GIB) && guard.check(path).is_ok());

        assert!(guard.saw(GIB / 51, GIB) && guard.check(path).is_err(), "a small disk keeps one fiftieth");
        guard.saw(GIB, GIB);
        guard.is_out_of_space();
        assert!(guard.check(path).is_err());
    }
}
