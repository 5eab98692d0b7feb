//! Writes the segment that a group of segments becomes: `BASE.log.cleaned` and its indexes, durable when `finish` returns.
//!
//! Owned by a round of `clean`. Nothing reads these files until `exchange` has given them their names.

use super::CleanError;
use super::clean::Pace;
use super::exchange::cleaned;
use crate::aborted::Aborted;
use crate::files;
use crate::segment::Segment;
use ringlane_protocol::records::BatchHeader;
use ringlane_protocol::storage::txn_index::{self, AbortedTransaction};
use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs};
use std::path::{Path, PathBuf};

/// One write.
const WRITE_BYTES: usize = 1 << 20;
const _: () = assert!(WRITE_BYTES.is_multiple_of(BLOCK_BYTES));
/// Positions in an index are 32 bit, and signed in Kafka.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

pub(super) struct Sink {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    segment: Segment,
    index_interval_bytes: u32,
    block: Buffer,
    filled: usize,
    position: u64,
}

impl Sink {
    pub async fn create(folder: &Path, base_offset: i64, index_interval_bytes: u32) -> Result<Sink, CleanError> {
        let path = cleaned(&files::segment_path(folder, base_offset));
        let file = File::open(&path, FileMode::CreateNew).await.map_err(CleanError::io(&path, "creating"))?;
        Ok(Sink {
            folder: folder.to_owned(),
            path,
            file,
            segment: Segment::new(base_offset),
            index_interval_bytes,
            block: Buffer::take(WRITE_BYTES),
            filled: 0,
            position: 0,
        })
    }

    /// Bytes put so far.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes
    }

    pub async fn put(&mut self, header: &BatchHeader, mut bytes: &[u8], pace: &Pace) -> Result<(), CleanError> {
        if self.segment.bytes + bytes.len() as u64 > SEGMENT_BYTES_MAX {
            let source = std::io::Error::other("the segment grew past 2 GiB; lower segment.bytes");
            return Err(CleanError::io(&self.path, "writing")(source));
        }
        self.segment.push_found(header, self.index_interval_bytes);
        while !bytes.is_empty() {
            let take = bytes.len().min(WRITE_BYTES - self.filled);
            self.block[self.filled..][..take].copy_from_slice(&bytes[..take]);
            self.filled += take;
            bytes = &bytes[take..];
            if self.filled == WRITE_BYTES {
                self.write(WRITE_BYTES, pace).await?;
            }
        }
        Ok(())
    }

    /// The new segment, sealed: its files are whole and durable, their names not yet. `aborted` goes into its transaction index.
    pub async fn finish(mut self, aborted: &[AbortedTransaction], pace: &Pace) -> Result<Segment, CleanError> {
        if self.filled > 0 {
            let padded = self.filled.next_multiple_of(BLOCK_BYTES);
            self.block[self.filled..padded].fill(0);
            self.block.truncate(padded);
            self.write(padded, pace).await?;
        }
        let Sink { folder, path, file, mut segment, .. } = self;
        file.set_len(segment.bytes).await.map_err(CleanError::io(&path, "cutting the file to its size"))?;
        file.sync().await.map_err(CleanError::io(&path, "syncing"))?;
        let Some(mut index) = segment.index.take() else { unreachable!("a new segment has its index in memory") };
        index.seal();
        let base_offset = segment.base_offset;
        let mut small = vec![
            (files::index_path(&folder, base_offset), index.encode_offsets()),
            (files::time_index_path(&folder, base_offset), index.encode_times()),
        ];
        if !aborted.is_empty() {
            small.push((files::transaction_index_path(&folder, base_offset), txn_index::encode(aborted)));
        }
        for (path, content) in small {
            let path = cleaned(&path);
            fs::write_atomic(&path, &content).await.map_err(CleanError::io(&path, "writing"))?;
        }
        segment.aborted = Aborted::in_file(!aborted.is_empty());
        Ok(segment)
    }

    async fn write(&mut self, bytes: usize, pace: &Pace) -> Result<(), CleanError> {
        let block = std::mem::replace(&mut self.block, Buffer::take(0));
        let (written, block) = self.file.write_at(block, self.position, Durability::Written).await;
        written.map_err(CleanError::io(&self.path, "writing"))?;
        (self.block, self.filled) = (block, 0);
        self.position += bytes as u64;
        pace.wrote(bytes).await
    }
}
