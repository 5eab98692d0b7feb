//! Several file systems on one node.

use super::{blocks, run, write};
use crate::sim::{DiskOptions, NodeId, Sim, SimOptions};
use crate::{BLOCK_BYTES, Durability, File, FileMode, fs};
use std::io;
use std::path::Path;
use std::time::Duration;

const BLOCK: u64 = BLOCK_BYTES as u64;

fn with_blocks(count: u64) -> DiskOptions {
    DiskOptions { capacity_bytes: count * BLOCK, ..DiskOptions::default() }
}

/// A node with two data directories, the first of which has room for `count` blocks.
fn two_volumes(count: u64) -> (Sim, NodeId) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    sim.set_volume(node, Path::new("/data/d1"), with_blocks(count));
    sim.set_volume(node, Path::new("/data/d2"), with_blocks(100));
    (sim, node)
}

async fn file(path: &str) -> File {
    File::open(Path::new(path), FileMode::OpenOrCreate).await.unwrap()
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Of several data directories one is full: its partitions stop, the others go on. Without volumes that is never seen.
#[test]
fn one_directory_fills_up_alone() {
    let (mut sim, node) = two_volumes(3);
    run(&mut sim, node, async {
        let (first, second) = (file("/data/d1/log").await, file("/data/d2/log").await);
        write(&first, blocks(2, 1), 0, Durability::Durable).await;
        assert_eq!(fs::space(Path::new("/data/d1")).await.unwrap(), (BLOCK, 3 * BLOCK));
        assert_eq!(fs::space(Path::new("/data/d2/log")).await.unwrap(), (100 * BLOCK, 100 * BLOCK));
        assert_eq!(kind(fs::space(Path::new("/data/d3")).await), Some(io::ErrorKind::NotFound));

        let refused = first.write_at(blocks(2, 1), 2 * BLOCK, Durability::Durable).await.0;
        assert_eq!(kind(refused), Some(io::ErrorKind::StorageFull));
        write(&second, blocks(50, 1), 0, Durability::Durable).await;
        assert_eq!(fs::space(Path::new("/data/d1")).await.unwrap().0, BLOCK, "of its own");
    });
}

/// A full volume refuses more than writes: a store that only expects them to fail dies of the first new segment.
#[test]
fn a_full_volume_refuses_names_and_sizes_and_lets_go() {
    let (mut sim, node) = two_volumes(2);
    run(&mut sim, node, async {
        let full = Some(io::ErrorKind::StorageFull);
        let log = file("/data/d1/log").await;
        write(&log, blocks(2, 1), 0, Durability::Durable).await;
        assert_eq!(kind(File::open(Path::new("/data/d1/new"), FileMode::CreateNew).await), full);
        assert_eq!(kind(fs::create_dir_all(Path::new("/data/d1/folder")).await), full);
        assert_eq!(kind(fs::write_atomic(Path::new("/data/d1/meta"), b"1").await), full);
        assert_eq!(kind(log.set_len(3 * BLOCK).await), full);
        assert_eq!(kind(fs::truncate(Path::new("/data/d1/log"), 3 * BLOCK).await), full);
        assert_eq!(kind(log.allocate(3 * BLOCK).await), full);
        write(&log, blocks(2, 2), 0, Durability::Durable).await;
        fs::rename(Path::new("/data/d1/log"), Path::new("/data/d1/log.deleted")).await.unwrap();
        fs::create_dir_all(Path::new("/data/d1")).await.unwrap();

        log.set_len(BLOCK).await.unwrap();
        fs::write_atomic(Path::new("/data/d1/meta"), b"1").await.unwrap();
        fs::write_atomic(Path::new("/data/d2/meta"), b"1").await.unwrap();
    });
    sim.set_volume(node, Path::new("/data/d1"), with_blocks(10));
    run(&mut sim, node, async {
        write(&file("/data/d1/new").await, blocks(5, 1), 0, Durability::Durable).await;
    });
}

/// Moving a partition to another data directory by rename works on a developer's machine and on no other.
#[test]
fn a_rename_does_not_cross_volumes() {
    let (mut sim, node) = two_volumes(10);
    run(&mut sim, node, async {
        file("/data/d1/log").await;
        let crossed = fs::rename(Path::new("/data/d1/log"), Path::new("/data/d2/log")).await;
        assert_eq!(kind(crossed), Some(io::ErrorKind::CrossesDevices));
        assert!(fs::exists(Path::new("/data/d1/log")).await.unwrap());
    });
}

/// A slow disk must slow down its own partitions only; a lying one lose its own only.
#[test]
fn a_volume_is_as_slow_and_as_honest_as_it_is_told_to_be() {
    let (mut sim, node) = two_volumes(10);
    let second = Duration::from_secs(1);
    let bad = DiskOptions { latency: second..2 * second, lies_about_durability: true, ..with_blocks(10) };
    sim.set_volume(node, Path::new("/data/d1"), bad);
    let mut began = sim.now();
    run(&mut sim, node, async { fs::write_atomic(Path::new("/data/d2/meta"), b"1").await.unwrap() });
    assert!(sim.now().since(began) < second);
    began = sim.now();
    run(&mut sim, node, async {
        let log = file("/data/d1/log").await;
        write(&log, blocks(1, 1), 0, Durability::Durable).await;
        log.sync().await.unwrap();
        fs::sync_dir(Path::new("/data/d1")).await.unwrap();
    });
    assert!(sim.now().since(began) > 4 * second);
    let content = |sim: &Sim, path: &str| sim.file_content(node, Path::new(path)).ok();
    for seed in 0..20 {
        sim.crash(node);
        assert_eq!(content(&sim, "/data/d2/meta").as_deref(), Some(&b"1"[..]));
        assert!(fs_root_is_there(&sim, node), "a mounted directory does not get lost, crash {seed}");
    }
}

fn fs_root_is_there(sim: &Sim, node: NodeId) -> bool {
    sim.directory_entries(node, Path::new("/data/d1")).is_ok()
}

/// What is on a volume must be counted there from its first byte.
#[test]
#[should_panic(expected = "/data/d1 has entries: mount a volume there before anything is written")]
fn a_volume_is_mounted_before_it_is_used() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    run(&mut sim, node, async { fs::create_dir_all(Path::new("/data/d1/topic-0")).await.unwrap() });
    sim.set_volume(node, Path::new("/data/d1"), with_blocks(3));
}
