//! What a disk keeps, loses and refuses.

mod faults;
mod volumes;

use crate::sim::{DiskOptions, IoFault, IoKind, LocalMain, NodeId, Sim, SimOptions};
use crate::{BLOCK_BYTES, Buffer, Durability, File, FileMode, fs};
use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

const SEEDS: u64 = 40;

fn run(sim: &mut Sim, node: NodeId, main: impl Future<Output = ()> + 'static) {
    let main: LocalMain = Box::new(|| Box::pin(main));
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(Duration::from_secs(60), |sim| !sim.is_running(node)), "seed {}", sim.seed());
}

/// What `before` did, seen after a power loss, for many seeds.
fn after_power_loss<F>(before: impl Fn() -> F, path: &str) -> Vec<Option<Vec<u8>>>
where
    F: Future<Output = ()> + 'static,
{
    (0..SEEDS)
        .map(|seed| {
            let mut sim = Sim::new(seed, SimOptions::default());
            let node = sim.add_node();
            run(&mut sim, node, before());
            sim.crash(node);
            sim.file_content(node, Path::new(path)).ok()
        })
        .collect()
}

fn blocks(count: usize, byte: u8) -> Buffer {
    let mut buffer = Buffer::take(count * BLOCK_BYTES);
    buffer.fill(byte);
    buffer
}

async fn new_file(path: &str) -> File {
    let file = File::open(Path::new(path), FileMode::CreateNew).await.unwrap();
    fs::sync_dir(Path::new("/data")).await.unwrap();
    file
}

async fn write(file: &File, blocks: Buffer, position: u64, durability: Durability) {
    file.write_at(blocks, position, durability).await.0.unwrap();
}

/// The story that the whole simulator is for: an append is acknowledged before its sync, power fails, the record is gone. Without a
/// disk that loses (and tears, and keeps) unsynced writes, the bug would pass every test.
#[test]
fn an_unsynced_write_may_be_kept_lost_or_torn_between_sectors() {
    let write_once = || async {
        let file = new_file("/data/log").await;
        write(&file, blocks(2, 1), 0, Durability::Durable).await;
        write(&file, blocks(2, 2), 0, Durability::Written).await;
    };
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for content in after_power_loss(write_once, "/data/log") {
        let content = content.expect("its name is durable");
        assert_eq!(content.len(), 2 * BLOCK_BYTES);
        for sector in content.chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "torn inside a sector");
        }
        match (content.contains(&1), content.contains(&2)) {
            (true, false) => lost += 1,
            (false, true) => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 0 && lost > 0 && torn > 0, "kept {kept}, lost {lost}, torn {torn}");
}

/// Without this a correct program would be accused.
#[test]
fn durable_writes_and_synced_writes_survive() {
    let write_all_ways = || async {
        let file = new_file("/data/log").await;
        write(&file, blocks(1, 1), 0, Durability::Written).await;
        write(&file, blocks(1, 2), 0, Durability::Durable).await;
        write(&file, blocks(1, 3), 4096, Durability::Written).await;
        file.sync().await.unwrap();
        fs::write_atomic(Path::new("/data/meta"), b"version 7").await.unwrap();
    };
    let expected = [[2; BLOCK_BYTES], [3; BLOCK_BYTES]].concat();
    assert!(after_power_loss(write_all_ways, "/data/log").iter().all(|content| content.as_ref() == Some(&expected)));
    let meta = after_power_loss(write_all_ways, "/data/meta");
    assert!(meta.iter().all(|content| content.as_deref() == Some(b"version 7")));
}

/// A log sets its file's size ahead of its writes: the size before must not come back and take a durable write away.
#[test]
fn a_size_set_before_a_durable_write_does_not_come_back() {
    let grow = || async {
        let file = new_file("/data/log").await;
        write(&file, blocks(2, 9), 0, Durability::Written).await;
        file.set_len(100).await.unwrap();
        write(&file, blocks(2, 7), 4096, Durability::Durable).await;
    };
    for content in after_power_loss(grow, "/data/log") {
        let content = content.expect("its name is durable");
        assert_eq!(content[4096..], [7; 2 * BLOCK_BYTES]);
        assert!(content[100..4096].iter().all(|byte| *byte == 0), "what was cut off stays cut off");
    }
}

/// The classic of `write new, rename over old, done`: without the sync of the directory, the old one can be back.
#[test]
fn a_rename_without_a_sync_of_the_directory_may_be_lost() {
    let rename = || async {
        fs::write_atomic(Path::new("/data/state"), b"old").await.unwrap();
        fs::write_atomic(Path::new("/data/new"), b"new").await.unwrap();
        fs::rename(Path::new("/data/new"), Path::new("/data/state")).await.unwrap();
    };
    let after = after_power_loss(rename, "/data/state");
    assert!(after.iter().any(|content| content.as_deref() == Some(b"old")));
    assert!(after.iter().any(|content| content.as_deref() == Some(b"new")));
    assert!(after.iter().all(Option::is_some), "a rename is atomic");
}

/// A segment whose bytes are durable but whose name is not is a lost segment.
#[test]
fn a_new_file_without_a_sync_of_its_directory_may_be_lost() {
    let create = || async {
        fs::create_dir_all(Path::new("/data/topic-0")).await.unwrap();
        fs::sync_dir(Path::new("/data")).await.unwrap();
        let file = File::open(Path::new("/data/topic-0/0.log"), FileMode::CreateNew).await.unwrap();
        write(&file, blocks(1, 1), 0, Durability::Durable).await;
    };
    let after = after_power_loss(create, "/data/topic-0/0.log");
    assert!(after.iter().any(Option::is_some) && after.iter().any(Option::is_none));
}

/// kill -9 is not a power loss: what the device has, it keeps, synced or not; what was on its way is there in part or not at all.
#[test]
fn a_killed_process_loses_no_completed_write() {
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, SimOptions::default());
        let node = sim.add_node();
        let main: LocalMain = Box::new(|| {
            Box::pin(async {
                let file = new_file("/data/log").await;
                write(&file, blocks(1, 1), 0, Durability::Written).await;
                drop(file.write_at(blocks(1, 2), 4096, Durability::Durable).await);
                std::future::pending().await
            })
        });
        sim.start_local(node, vec![main]);
        let path = Path::new("/data/log");
        sim.run_until(Duration::from_secs(1), |sim| {
            sim.file_content(node, path).is_ok_and(|content| content.len() == 4096)
        });

        sim.kill(node);

        let content = sim.file_content(node, path).unwrap();
        assert_eq!(content[..4096], [1; 4096]);
    }
}

/// A full disk must be an error that names itself, not a hang or a torn log; and space comes back with a removed file.
#[test]
fn a_full_disk_refuses_writes_and_reservations() {
    let disk = DiskOptions { capacity_bytes: 4 * BLOCK_BYTES as u64, ..DiskOptions::default() };
    let mut sim = Sim::new(1, SimOptions { disk, ..SimOptions::default() });
    let node = sim.add_node();
    run(&mut sim, node, async {
        let file = new_file("/data/a").await;
        file.allocate(3 * 4096).await.unwrap();
        write(&file, blocks(3, 1), 0, Durability::Durable).await;
        let other = new_file("/data/b").await;
        let refused = other.write_at(blocks(2, 1), 0, Durability::Durable).await.0.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(other.allocate(2 * 4096).await.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(other.len().await.unwrap(), 0);
        assert_eq!(fs::space(Path::new("/data")).await.unwrap(), (4096, 4 * 4096));

        drop(file);
        fs::remove_file(Path::new("/data/a")).await.unwrap();
        fs::sync_dir(Path::new("/data")).await.unwrap();
        write(&other, blocks(2, 1), 0, Durability::Durable).await;
    });
}

/// fsyncgate: after a failed sync the next one says ok although the bytes are gone. A program that retries loses data.
#[test]
fn a_sync_after_a_failed_sync_says_ok_and_keeps_nothing() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let fault = |kind| IoFault { kind, path_contains: "log".to_owned(), probability: 1.0 };
    sim.add_io_fault(node, fault(IoKind::Sync));
    run(&mut sim, node, async {
        let file = new_file("/data/log").await;
        write(&file, blocks(1, 1), 0, Durability::Written).await;
        assert!(file.sync().await.is_err());
        assert!(new_file("/data/other").await.sync().await.is_ok(), "another file is not concerned");
    });
    sim.clear_io_faults(node);
    run(&mut sim, node, async {
        let file = File::open(Path::new("/data/log"), FileMode::ReadWrite).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 4096);
        file.sync().await.unwrap();
    });
    sim.crash(node);
    assert_eq!(sim.file_content(node, Path::new("/data/log")).unwrap().len(), 0);

    sim.add_io_fault(node, fault(IoKind::Read));
    sim.add_io_fault(node, fault(IoKind::Write));
    run(&mut sim, node, async {
        let file = File::open(Path::new("/data/log"), FileMode::ReadWrite).await.unwrap();
        assert!(file.read_at(blocks(1, 0), 0).await.0.is_err());
        assert!(file.write_at(blocks(1, 0), 0, Durability::Written).await.0.is_err());
    });
}

/// A disk that lies is how a checker is checked: whoever trusts it loses what it "made durable".
#[test]
fn a_lying_disk_loses_durable_writes() {
    let disk = DiskOptions { lies_about_durability: true, ..DiskOptions::default() };
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut sim = Sim::new(seed, SimOptions { disk: disk.clone(), ..SimOptions::default() });
        let node = sim.add_node();
        run(&mut sim, node, async { fs::write_atomic(Path::new("/data/meta"), b"x").await.unwrap() });
        sim.crash(node);
        lost += usize::from(sim.file_content(node, Path::new("/data/meta")).ok().as_deref() != Some(b"x"));
    }
    assert!(lost > 0);
}

/// Bit rot must be possible, or nothing shows that checksums are looked at.
#[test]
fn a_flipped_bit_is_read_back_flipped() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    run(&mut sim, node, async { write(&new_file("/data/log").await, blocks(2, 0), 0, Durability::Durable).await });
    sim.flip_bit(node, Path::new("/data/log"), 4100 * 8 + 3).unwrap();
    run(&mut sim, node, async {
        let file = File::open(Path::new("/data/log"), FileMode::Read).await.unwrap();
        let (count, buffer) = file.read_at(blocks(2, 9), 0).await;
        assert_eq!(count.unwrap(), 2 * BLOCK_BYTES);
        assert_eq!(buffer.iter().position(|byte| *byte == 8), Some(4100));
    });
}

/// Two brokers on one data directory destroy it; and a crash must not leave the lock behind.
#[test]
fn a_directory_is_locked_by_one_process_until_its_end() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    for _ in 0..2 {
        run(&mut sim, node, async {
            let lock = fs::lock_dir(Path::new("/data")).await.unwrap();
            let refused = fs::lock_dir(Path::new("/data")).await.err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            drop(lock);
            std::mem::forget(fs::lock_dir(Path::new("/data")).await.unwrap());
        });
        sim.crash(node);
    }
}

/// Truncation after a bad tail must leave zeros behind it, not the old bytes, when the file grows again.
#[test]
fn set_len_cuts_and_grows_with_zeros() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    run(&mut sim, node, async {
        let file = new_file("/data/log").await;
        write(&file, blocks(2, 7), 0, Durability::Written).await;
        file.set_len(100).await.unwrap();
        file.set_len(5000).await.unwrap();
        let (count, buffer) = file.read_at(blocks(2, 9), 0).await;
        assert_eq!(count.unwrap(), 5000);
        assert_eq!(buffer[..100], [7; 100]);
        assert!(buffer[100..5000].iter().all(|byte| *byte == 0));
    });
}

/// Retention asks a file for its age when its records do not tell: a read or a new name must not make it young again.
#[test]
fn a_file_knows_when_it_was_last_written() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    run(&mut sim, node, async {
        let (old, new) = (Path::new("/data/log"), Path::new("/data/renamed"));
        let file = new_file("/data/log").await;
        let began_ms = crate::wall_clock_ms();
        crate::sleep(Duration::from_secs(3)).await;
        write(&file, blocks(1, 7), 0, Durability::Durable).await;
        let written_ms = fs::modified_ms(old).await.unwrap();
        assert!((3_000..3_100).contains(&(written_ms - began_ms)), "{written_ms} {began_ms}");
        crate::sleep(Duration::from_secs(3)).await;
        file.read_at(blocks(1, 0), 0).await.0.unwrap();
        fs::rename(old, new).await.unwrap();
        assert_eq!(fs::modified_ms(new).await.unwrap(), written_ms);
        file.set_len(10).await.unwrap();
        assert!(fs::modified_ms(new).await.unwrap() >= written_ms + 3_000);
        assert_eq!(fs::modified_ms(old).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}
