//! Files on the real disk: durable writes, aligned reads, names, locks.

use super::on_shard;
use crate::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs, timeout};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory of its own, removed when the test has passed.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("ringlane-runtime-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn block(fill: u8, blocks: usize) -> Buffer {
    let mut buffer = Buffer::take(blocks * BLOCK_BYTES);
    buffer.fill(fill);
    buffer
}

#[test]
fn what_is_written_is_read() {
    on_shard(|| async {
        let scratch = Scratch::new("written");
        let path = scratch.0.join("file");
        let file = File::open(&path, FileMode::CreateNew).await.unwrap();
        assert_eq!(file.path(), path);
        file.allocate(1 << 20).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 0, "space is not size");
        let (written, _) = file.write_at(block(1, 1), 0, Durability::Durable).await;
        written.unwrap();
        let (written, _) = file.write_at(block(2, 300), BLOCK_BYTES as u64, Durability::Written).await;
        written.unwrap();
        file.sync().await.unwrap();
        assert_eq!(file.len().await.unwrap(), 301 * BLOCK_BYTES as u64);

        let (read, buffer) = file.read_at(Buffer::take(302 * BLOCK_BYTES), 0).await;
        assert_eq!(read.unwrap(), 301 * BLOCK_BYTES);
        assert!(buffer[..BLOCK_BYTES].iter().all(|byte| *byte == 1));
        assert!(buffer[BLOCK_BYTES..301 * BLOCK_BYTES].iter().all(|byte| *byte == 2));
        let (read, _) = file.read_at(Buffer::take(BLOCK_BYTES), 1 << 20 << 2).await;
        assert_eq!(read.unwrap(), 0, "past the end");
    });
}

/// A segment's last batch ends between blocks: the count, not the buffer, says where.
#[test]
fn a_file_that_ends_inside_a_block_reads_to_its_end() {
    on_shard(|| async {
        let scratch = Scratch::new("end");
        let path = scratch.0.join("file");
        std::fs::write(&path, vec![7; 5000]).unwrap();
        let file = File::open(&path, FileMode::ReadWrite).await.unwrap();
        let (read, buffer) = file.read_at(Buffer::take(4 * BLOCK_BYTES), 0).await;
        assert_eq!(read.unwrap(), 5000);
        assert!(buffer[..5000].iter().all(|byte| *byte == 7));
        let (read, _) = file.read_at(Buffer::take(BLOCK_BYTES), BLOCK_BYTES as u64).await;
        assert_eq!(read.unwrap(), 5000 - BLOCK_BYTES);
        file.set_len(100).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 100);
        file.set_len(10_000).await.unwrap();
        let (read, buffer) = file.read_at(Buffer::take(3 * BLOCK_BYTES), 0).await;
        assert_eq!(read.unwrap(), 10_000);
        assert!(buffer[100..10_000].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn modes_keep_their_promise() {
    on_shard(|| async {
        let scratch = Scratch::new("modes");
        let path = scratch.0.join("file");
        let kind = |result: io::Result<File>| result.err().map(|error| error.kind());
        assert_eq!(kind(File::open(&path, FileMode::Read).await), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(File::open(&path, FileMode::ReadWrite).await), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(File::open(&path, FileMode::OpenOrCreate).await), None);
        assert_eq!(kind(File::open(&path, FileMode::CreateNew).await), Some(io::ErrorKind::AlreadyExists));
        let read_only = File::open(&path, FileMode::Read).await.unwrap();
        let (written, buffer) = read_only.write_at(block(1, 1), 0, Durability::Written).await;
        assert!(written.is_err());
        assert_eq!(buffer.len(), BLOCK_BYTES, "the buffer comes back");
    });
}

/// On a full device the appender must hear of it; a short write taken for a whole one would be a hole in the log.
#[test]
fn a_full_device_is_an_error() {
    on_shard(|| async {
        let full = File::open(Path::new("/dev/full"), FileMode::ReadWrite).await.unwrap();
        assert!(!full.is_direct());
        let (written, _) = full.write_at(block(1, 1), 0, Durability::Written).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    });
}

/// More operations at once than the ring's queues hold: every one must complete, none be lost on the way in or out.
#[test]
fn a_flood_of_operations_completes() {
    on_shard(|| async {
        let scratch = Scratch::new("flood");
        let file = File::open(&scratch.0.join("file"), FileMode::CreateNew).await.unwrap();
        let (written, _) = file.write_at(block(5, 64), 0, Durability::Written).await;
        written.unwrap();
        let read = |number: u64| {
            let file = file.clone();
            async move {
                let (read, buffer) = file.read_at(Buffer::take(BLOCK_BYTES), number % 64 * BLOCK_BYTES as u64).await;
                read.unwrap() == BLOCK_BYTES && buffer[0] == 5
            }
        };
        let all = futures::future::join_all((0..10_000).map(read)).await;
        assert!(all.into_iter().all(|is_right| is_right));
    });
}

/// A dropped write still writes (fault B12): its memory and its descriptor must live until it has.
#[test]
fn a_dropped_write_keeps_its_buffer_and_file() {
    on_shard(|| async {
        let scratch = Scratch::new("dropped");
        for round in 0..50 {
            let path = scratch.0.join(format!("file-{round}"));
            let file = File::open(&path, FileMode::CreateNew).await.unwrap();
            {
                let write = file.write_at(block(round as u8 + 1, 16), 0, Durability::Written);
                let _ = timeout(Duration::ZERO, write).await;
            }
            drop(file);
            // Takes the same memory and the same descriptor number if they were free.
            drop(block(0, 16));
            let other = File::open(&scratch.0.join("other"), FileMode::OpenOrCreate).await.unwrap();
            let (written, _) = other.write_at(block(200, 16), 0, Durability::Written).await;
            written.unwrap();
            let (_, buffer) = other.read_at(Buffer::take(16 * BLOCK_BYTES), 0).await;
            assert!(buffer.iter().all(|byte| *byte == 200), "another file's write landed here");
            let left = std::fs::read(&path).unwrap();
            assert!(left.iter().all(|byte| *byte == round as u8 + 1 || *byte == 0));
        }
    });
}

#[test]
fn names_are_managed() {
    on_shard(|| async {
        let scratch = Scratch::new("names");
        let root = &scratch.0;
        fs::create_dir_all(&root.join("b/c")).await.unwrap();
        fs::write_atomic(&root.join("a"), b"old").await.unwrap();
        fs::write_atomic(&root.join("a"), b"new").await.unwrap();
        assert_eq!(fs::read(&root.join("a")).await.unwrap(), b"new");
        assert_eq!(fs::read_dir(root).await.unwrap(), [root.join("a"), root.join("b")]);
        fs::rename(&root.join("a"), &root.join("b/d")).await.unwrap();
        fs::sync_dir(&root.join("b")).await.unwrap();
        assert!(fs::exists(&root.join("b/d")).await.unwrap() && !fs::exists(&root.join("a")).await.unwrap());
        fs::remove_file(&root.join("b/d")).await.unwrap();
        fs::remove_dir_all(&root.join("b")).await.unwrap();
        assert_eq!(fs::read_dir(root).await.unwrap(), [] as [PathBuf; 0]);
        let (free, total) = fs::space(root).await.unwrap();
        assert!(free <= total && total > 0);
        assert_eq!(fs::read(&root.join("a")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

/// Opening a log with thousands of segments must not cost a call off the shard for the size of each.
#[test]
fn a_listing_has_the_sizes() {
    on_shard(|| async {
        let scratch = Scratch::new("listed");
        let root = &scratch.0;
        fs::create_dir_all(&root.join("folder")).await.unwrap();
        std::fs::write(root.join("b"), vec![7; 5000]).unwrap();
        std::fs::write(root.join("a"), b"").unwrap();
        let expected = [(root.join("a"), 0), (root.join("b"), 5000), (root.join("folder"), 0)];
        assert_eq!(fs::list(root).await.unwrap(), expected);
        assert_eq!(fs::list(&root.join("c")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

/// Repair cuts a bad tail off a file that no log has open.
#[test]
fn a_file_is_truncated_by_its_name() {
    on_shard(|| async {
        let scratch = Scratch::new("truncated");
        let path = scratch.0.join("file");
        assert_eq!(fs::truncate(&path, 0).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, vec![7; 5000]).unwrap();
        fs::truncate(&path, 100).await.unwrap();
        fs::truncate(&path, 200).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [[7; 100], [0; 100]].concat());
    });
}

/// Two brokers on one directory would each recycle the other's journal.
#[test]
fn a_directory_is_locked_once() {
    on_shard(|| async {
        let scratch = Scratch::new("locked");
        let lock = fs::lock_dir(&scratch.0).await.unwrap();
        let refused = fs::lock_dir(&scratch.0).await.err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(lock);
        fs::lock_dir(&scratch.0).await.unwrap();
    });
}
