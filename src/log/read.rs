//! Reads: from the tail at once, or from disk by a plan that owns what it needs.

use crate::ReadError;
use bytes::Bytes;

/// What a read found, or what must be done to find it.
pub enum ReadPlan {
    Ready(ReadData),
    Disk(DiskRead),
}

/// Whole batches, in offset order, contiguous; empty when there is nothing to read.
#[derive(Clone, Debug, Default)]
pub struct ReadData {
    pub slices: Vec<Bytes>,
    pub bytes: usize,
}

/// A read from a segment. Holds no borrow of the log: it may be run whenever, or dropped.
pub struct DiskRead {}

impl DiskRead {
    /// May return less than asked for (a segment's end, a limit), never nothing where there is something and `at_least_one` was set.
    pub async fn run(self) -> Result<ReadData, ReadError> {
        todo!()
    }
}
