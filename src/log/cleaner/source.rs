//! Reads a sealed segment batch by batch, in large aligned reads.
//!
//! Owned by a round of `clean`; has its own file handle and buffer, so that a consumer's read-ahead and open files are not its business.
//! Every batch's CRC is checked: what is damaged must not be written again with a CRC that is right.

use super::CleanError;
use super::clean::Pace;
use ringlane_protocol::records::{Batch, BatchHeader, HEADER_BYTES};
use ringlane_runtime::{BLOCK_BYTES, Buffer, File, FileMode};
use std::io;
use std::path::PathBuf;

/// One read.
const READ_BYTES: usize = 1 << 20;
/// No larger batch was ever accepted: a length field beyond it is damage.
const BATCH_BYTES_MAX: usize = 256 << 20;

pub(super) struct Source {
    file: File,
    path: PathBuf,
    /// Of the segment.
    bytes: u64,
    /// Of the batch that `batch` gives.
    position: u64,
    batch_bytes: usize,
    window: Buffer,
    window_position: u64,
}

impl Source {
    /// `bytes`: how many of the file belong to the segment.
    pub async fn open(path: PathBuf, bytes: u64) -> Result<Source, CleanError> {
        let file = File::open(&path, FileMode::Read).await.map_err(CleanError::io(&path, "opening"))?;
        let window = Buffer::take(0);
        Ok(Source { file, path, bytes, position: 0, batch_bytes: 0, window, window_position: 0 })
    }

    /// Goes on to the next batch; false at the end of the segment.
    pub async fn advance(&mut self, pace: &Pace) -> Result<bool, CleanError> {
        self.position += self.batch_bytes as u64;
        self.batch_bytes = 0;
        if self.position == self.bytes {
            return Ok(false);
        }
        if self.in_window() < HEADER_BYTES {
            self.read(HEADER_BYTES, pace).await?;
        }
        let header = BatchHeader::parse(self.rest_of_window()).map_err(|error| self.corrupt(error.to_string()))?;
        if header.size() > BATCH_BYTES_MAX {
            return Err(self.corrupt(format!("it has {} bytes", header.size())));
        }
        if self.in_window() < header.size() {
            self.read(header.size(), pace).await?;
        }
        self.batch_bytes = header.size();
        self.batch()?.check_crc().map_err(|error| self.corrupt(error.to_string()))?;
        Ok(true)
    }

    /// The batch that `advance` went to.
    pub fn batch(&self) -> Result<Batch<'_>, CleanError> {
        Batch::parse(self.rest_of_window()).map_err(|error| self.corrupt(error.to_string()))
    }

    /// Something is wrong with the batch.
    pub fn corrupt(&self, found: String) -> CleanError {
        CleanError::Corrupt { path: self.path.clone(), position: self.position, found }
    }

    fn in_window(&self) -> usize {
        self.rest_of_window().len()
    }

    fn rest_of_window(&self) -> &[u8] {
        let from = self.position.saturating_sub(self.window_position) as usize;
        self.window.get(from..).unwrap_or_default()
    }

    /// Moves the window so that at least `need` bytes from the position on are in it.
    async fn read(&mut self, need: usize, pace: &Pace) -> Result<(), CleanError> {
        if self.position + need as u64 > self.bytes {
            return Err(self.corrupt(format!("it needs {need} bytes, which is past the end of the segment")));
        }
        let aligned = self.position - self.position % BLOCK_BYTES as u64;
        let lead = (self.position - aligned) as usize;
        let left = (self.bytes - aligned).next_multiple_of(BLOCK_BYTES as u64);
        let read_bytes = (lead + need).next_multiple_of(BLOCK_BYTES).max(READ_BYTES).min(left as usize);
        let held = std::mem::replace(&mut self.window, Buffer::take(0));
        let buffer =
            if held.capacity() == read_bytes && held.len() == read_bytes { held } else { Buffer::take(read_bytes) };
        let (read, mut buffer) = self.file.read_at(buffer, aligned).await;
        let read = read.map_err(CleanError::io(&self.path, "reading"))?;
        let wanted = (read_bytes as u64).min(self.bytes - aligned) as usize;
        if read < wanted {
            return Err(CleanError::io(&self.path, "reading")(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.truncate(wanted);
        (self.window, self.window_position) = (buffer, aligned);
        pace.read(read).await
    }
}
