//! Writes what a start found behind the recovery point once more, so that it is durable whatever happened to the process before.
//!
//! Called by `recovery`, on the home shard, before the log is anybody's. A sync before the first read is not enough: when the process before
//! was told that a sync failed, the kernel has marked those changes clean, and the next sync says ok without writing them. Journals are void
//! after the start, so a batch that looks durable and is not would be gone with the next power cut. The same bytes go where they are: a crash
//! in the middle changes nothing. Costs what was written since the last checkpoint, 256 MiB or so at most.

use ringlane_runtime::{BLOCK_BYTES, Buffer, Durability, File, give_way};
use std::io;

const WRITE_BYTES: usize = 1 << 20;
const _: () = assert!(WRITE_BYTES.is_multiple_of(BLOCK_BYTES));

/// Writes the bytes `from..to` of `file` again, which then ends at `to`, and syncs it.
pub(crate) async fn rewrite(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from - from % BLOCK_BYTES as u64;
    while at < to {
        let bytes = (to - at).min(WRITE_BYTES as u64) as usize;
        let (read, mut block) = file.read_at(Buffer::take(bytes.next_multiple_of(BLOCK_BYTES)), at).await;
        let read = read?;
        if read < bytes {
            let found = format!("{read} bytes are left at byte {at}, {bytes} were there before");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, found));
        }
        block[bytes..].fill(0);
        file.write_at(block, at, Durability::Written).await.0?;
        at += bytes as u64;
        give_way().await;
    }
    // Sets the size that it may have: a size that was set before a failed sync is as much lost as bytes are.
    file.set_len(to).await?;
    file.sync().await
}
