//! Reads a segment from its first batch to its last byte, and goes on behind damage.
//!
//! Memory stays at one read whatever a length field says; a batch's body is only read for whoever asks for it, after its CRC was right.

use super::{OfflineError, failed, kind};
use crate::recovery::is_zero;
use crate::scan::{self, Bad, Scanner};
use ringlane_protocol::records::{BatchHeader, HEADER_BYTES};
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, FileMode, give_way};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 1 << 20;

/// A good batch: its length, its CRC and its place in the order of offsets are right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredBatch {
    pub position: u64,
    pub header: BatchHeader,
}

/// Bytes that are no good batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub position: u64,
    /// Where the next good batch begins, or the file ends.
    pub end: u64,
    pub found: String,
    /// Offset of the first record that is not there any more.
    pub from_offset: i64,
    /// Offset at which the log goes on, when it does in this file.
    pub next_offset: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    Batch(StoredBatch),
    Damage(Damage),
    /// Zeros from here to the end of the file: space that was set aside and never written.
    Unwritten {
        position: u64,
    },
}

/// One segment file being read.
pub struct Walk {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    base_offset: i64,
    scanner: Scanner,
    /// Next byte to read.
    at: u64,
    buffer: Option<Buffer>,
    /// Good batches of the last read.
    ready: VecDeque<StoredBatch>,
    bad: Option<Bad>,
}

impl Walk {
    /// A file without an offset in its name, a copy perhaps, begins with whatever its first batch says. `expected` is the end of the segment
    /// before it.
    pub async fn open(path: &Path, expected: Option<i64>) -> Result<Walk, OfflineError> {
        let file = File::open(path, FileMode::Read).await.map_err(failed(path, "opening"))?;
        let file_bytes = file.len().await.map_err(failed(path, "asking for the size"))?;
        let base_offset = match kind::offset_in_name(path) {
            Some(base) => base,
            None => first_offset(&file, file_bytes).await.map_err(failed(path, "reading"))?,
        };
        let scanner = Scanner::new(0, expected.unwrap_or(base_offset).max(base_offset), base_offset, file_bytes);
        Ok(Walk {
            path: path.to_owned(),
            file,
            file_bytes,
            base_offset,
            scanner,
            at: 0,
            buffer: None,
            ready: VecDeque::new(),
            bad: None,
        })
    }

    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Offset behind the last good batch so far.
    pub fn end_offset(&self) -> i64 {
        self.scanner.expected_offset()
    }

    /// `None` at the end of the file.
    pub async fn next(&mut self) -> Result<Option<Step>, OfflineError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(Step::Batch(batch)));
            }
            if let Some(bad) = self.bad.take() {
                return self.behind(bad).await.map(Some);
            }
            if self.at >= self.file_bytes {
                match self.scanner.finish() {
                    // A file that became shorter while it was read ends in the middle of a batch as well.
                    Err(bad) if self.scanner.position() < self.file_bytes => self.bad = Some(bad),
                    _ => return Ok(None),
                }
                continue;
            }
            self.read().await?;
        }
    }

    /// The bytes of a batch that [`Walk::next`] gave.
    pub async fn bytes_of(&self, batch: &StoredBatch) -> Result<Vec<u8>, OfflineError> {
        let (from, to) = (batch.position, batch.position + batch.header.size() as u64);
        let aligned = from - from % BLOCK_BYTES as u64;
        let span = (to - aligned).next_multiple_of(BLOCK_BYTES as u64) as usize;
        let (read, buffer) = self.file.read_at(Buffer::take(span), aligned).await;
        read.map_err(failed(&self.path, "reading a batch"))?;
        Ok(buffer[(from - aligned) as usize..(to - aligned) as usize].to_vec())
    }

    async fn read(&mut self) -> Result<(), OfflineError> {
        let aligned = self.at - self.at % BLOCK_BYTES as u64;
        let buffer = self.buffer.take().unwrap_or_else(|| Buffer::take(READ_BYTES));
        let (read, buffer) = self.file.read_at(buffer, aligned).await;
        let read = read.map_err(failed(&self.path, "reading"))?;
        let have = (read as u64).min(self.file_bytes - aligned) as usize;
        let skip = (self.at - aligned) as usize;
        if have <= skip {
            self.file_bytes = self.at;
            return Ok(());
        }
        let (ready, mut position) = (&mut self.ready, self.scanner.position());
        self.bad = self
            .scanner
            .feed(&buffer[skip..have], &mut |header| {
                ready.push_back(StoredBatch { position, header: *header });
                position += header.size() as u64;
            })
            .err();
        self.at = aligned + have as u64;
        self.buffer = Some(buffer);
        give_way().await;
        Ok(())
    }

    /// Finds where good batches go on behind a bad one.
    async fn behind(&mut self, bad: Bad) -> Result<Step, OfflineError> {
        let expected = self.scanner.expected_offset();
        let reading = "looking for the next good batch";
        if is_zero(&self.file, bad.position, self.file_bytes).await.map_err(failed(&self.path, reading))? {
            self.at = self.file_bytes;
            self.scanner = Scanner::new(self.file_bytes, expected, self.base_offset, self.file_bytes);
            return Ok(Step::Unwritten { position: bad.position });
        }
        let next = scan::find_good(&self.file, bad.position + 1, self.file_bytes, expected)
            .await
            .map_err(failed(&self.path, reading))?;
        let header = match next {
            Some(at) => {
                scan::good_at(&self.file, at, self.file_bytes, expected).await.map_err(failed(&self.path, reading))?
            }
            None => None,
        };
        let end = next.unwrap_or(self.file_bytes);
        let next_offset = header.map(|header| header.base_offset);
        self.at = end;
        self.scanner = Scanner::new(end, next_offset.unwrap_or(expected), self.base_offset, self.file_bytes);
        Ok(Step::Damage(Damage { position: bad.position, end, found: bad.found, from_offset: expected, next_offset }))
    }
}

async fn first_offset(file: &File, file_bytes: u64) -> std::io::Result<i64> {
    let (read, block) = file.read_at(Buffer::take(BLOCK_BYTES), 0).await;
    let have = (read? as u64).min(file_bytes) as usize;
    let head = block.get(..HEADER_BYTES.min(have)).unwrap_or_default();
    Ok(BatchHeader::parse(head).map_or(0, |header| header.base_offset.max(0)))
}
