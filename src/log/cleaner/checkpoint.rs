//! How far a log was cleaned: a small file in the partition's folder.
//!
//! Written by `scheduler` after each round, lowered by a truncation. Losing it costs one round over the whole log, nothing else; one that
//! promises too much would leave records uncleaned, so a truncation lowers it before anything new is appended.

use ringlane_runtime::fs;
use std::io;
use std::path::Path;

pub(crate) const FILE_NAME: &str = "cleaner-offset-checkpoint";

/// `None`: never cleaned, or not readable as a checkpoint.
pub(crate) async fn read(folder: &Path) -> io::Result<Option<i64>> {
    match fs::read(&folder.join(FILE_NAME)).await {
        Ok(content) => Ok(decode(&content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn write(folder: &Path, cleaned_offset: i64) -> io::Result<()> {
    fs::write_atomic(&folder.join(FILE_NAME), encode(cleaned_offset).as_bytes()).await
}

/// The log now ends at `end_offset`.
pub(crate) async fn lower(folder: &Path, end_offset: i64) -> io::Result<()> {
    match read(folder).await? {
        Some(cleaned) if cleaned > end_offset => write(folder, end_offset).await,
        _ => Ok(()),
    }
}

fn encode(cleaned_offset: i64) -> String {
    format!("version: 0\ncleaned_offset: {cleaned_offset}\n")
}

fn decode(content: &[u8]) -> Option<i64> {
    let text = str::from_utf8(content).ok()?.strip_prefix("version: 0\ncleaned_offset: ")?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint that does not read back makes every round after a restart start at the beginning.
    #[test]
    fn a_checkpoint_reads_back() {
        assert_eq!(decode(encode(77).as_bytes()), Some(77));
        assert_eq!(decode(b"version: 1\ncleaned_offset: 77\n"), None);
        assert_eq!(decode(b"\xff"), None);
    }
}
