//! Errors by kind of operation and by path.

use super::{blocks, new_file, run, write};
use crate::sim::{IoFault, IoKind, Sim, SimOptions};
use crate::{Buffer, Durability, File, FileMode, fs};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

const KINDS: [IoKind; 9] = [
    IoKind::Read,
    IoKind::Write,
    IoKind::Sync,
    IoKind::Open,
    IoKind::Create,
    IoKind::Rename,
    IoKind::Remove,
    IoKind::SyncDir,
    IoKind::List,
];

/// Does everything that can be done in `directory`, whatever fails; names of what failed.
async fn failures_in(directory: &str) -> BTreeSet<&'static str> {
    let at = |name: &str| Path::new(directory).join(name);
    let mut failed = BTreeSet::new();
    let mut note = |what, is_ok: bool| _ = (!is_ok).then(|| failed.insert(what));
    let file = File::open(&at("file"), FileMode::ReadWrite).await;
    note("open", file.is_ok());
    if let Ok(file) = file {
        note("read_at", file.read_at(Buffer::take(4096), 0).await.0.is_ok());
        note("write_at", file.write_at(blocks(1, 1), 0, Durability::Written).await.0.is_ok());
        note("allocate", file.allocate(1 << 20).await.is_ok());
        note("set_len", file.set_len(4096).await.is_ok());
        note("sync", file.sync().await.is_ok());
    }
    note("create", File::open(&at("new"), FileMode::CreateNew).await.is_ok());
    note("create_dir_all", fs::create_dir_all(&at("new-folder/deep")).await.is_ok());
    note("lock_dir", fs::lock_dir(Path::new(directory)).await.is_ok());
    note("rename", fs::rename(&at("file"), &at("renamed")).await.is_ok());
    note("rename", fs::rename(&at("renamed"), &at("file")).await.is_ok());
    note("remove_file", fs::remove_file(&at("surplus")).await.is_ok());
    note("remove_dir_all", fs::remove_dir_all(&at("surplus-folder")).await.is_ok());
    note("sync_dir", fs::sync_dir(Path::new(directory)).await.is_ok());
    note("read_dir", fs::read_dir(Path::new(directory)).await.is_ok());
    note("list", fs::list(Path::new(directory)).await.is_ok());
    note("exists", fs::exists(&at("file")).await.is_ok());
    note("space", fs::space(Path::new(directory)).await.is_ok());
    note("read", fs::read(&at("small")).await.is_ok());
    note("truncate", fs::truncate(&at("small"), 1).await.is_ok());
    note("write_atomic", fs::write_atomic(&at("small"), b"2").await.is_ok());
    failed
}

async fn prepare(directory: &str) {
    let at = |name: &str| Path::new(directory).join(name);
    fs::create_dir_all(&at("surplus-folder")).await.unwrap();
    write(&File::open(&at("file"), FileMode::CreateNew).await.unwrap(), blocks(2, 1), 0, Durability::Written).await;
    File::open(&at("surplus"), FileMode::CreateNew).await.unwrap();
    fs::write_atomic(&at("small"), b"12").await.unwrap();
}

/// The store has another answer for each: a data directory that cannot be listed is not one that cannot be written. What cannot be made to
/// fail is never tested.
#[test]
fn each_kind_of_operation_fails_by_path_and_no_other_does() {
    let expected = |kind| match kind {
        IoKind::Read => &["read_at", "read"][..],
        IoKind::Write => &["write_at", "allocate", "set_len", "truncate", "write_atomic"],
        IoKind::Sync => &["sync", "truncate", "write_atomic"],
        IoKind::Open => &["open", "truncate"],
        IoKind::Create => &["create", "create_dir_all", "lock_dir", "write_atomic"],
        IoKind::Rename => &["rename", "write_atomic"],
        IoKind::Remove => &["remove_file", "remove_dir_all"],
        IoKind::SyncDir => &["sync_dir", "write_atomic"],
        IoKind::List => &["read_dir", "list", "exists", "space"],
    };
    for kind in KINDS {
        let mut sim = Sim::new(1, SimOptions::default());
        let node = sim.add_node();
        run(&mut sim, node, async {
            prepare("/data/d1").await;
            prepare("/data/d2").await;
        });
        sim.add_io_fault(node, IoFault { kind, path_contains: "/d1".to_owned(), probability: 1.0 });
        run(&mut sim, node, async move {
            let failed = failures_in("/data/d1").await;
            assert_eq!(failed, expected(kind).iter().copied().collect(), "{kind:?} on d1");
            assert_eq!(failures_in("/data/d2").await, BTreeSet::new(), "{kind:?} is for d1 only");
        });
    }
}

/// Whoever treats a failed sync of a directory as done loses the name with the next power loss; it must stay possible that it is lost.
#[test]
fn a_failed_sync_of_a_directory_makes_no_name_durable() {
    let mut lost = 0;
    for seed in 0..20 {
        let mut sim = Sim::new(seed, SimOptions::default());
        let node = sim.add_node();
        sim.add_io_fault(node, IoFault { kind: IoKind::SyncDir, path_contains: "/data".to_owned(), probability: 1.0 });
        run(&mut sim, node, async {
            File::open(Path::new("/data/file"), FileMode::CreateNew).await.unwrap();
            fs::sync_dir(Path::new("/data")).await.unwrap_err();
        });
        sim.crash(node);
        lost += usize::from(sim.file_content(node, Path::new("/data/file")).is_err());
    }
    assert!(lost > 0 && lost < 20, "lost {lost} of 20");
}

/// A failed write of a new size leaves the old one: a log that believes otherwise reads zeros as records.
#[test]
fn a_failed_size_changes_nothing() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    run(&mut sim, node, async { write(&new_file("/data/log").await, blocks(2, 7), 0, Durability::Durable).await });
    sim.add_io_fault(node, IoFault { kind: IoKind::Write, path_contains: "log".to_owned(), probability: 1.0 });
    run(&mut sim, node, async {
        let refused: io::Result<()> = fs::truncate(Path::new("/data/log"), 100).await;
        assert!(refused.is_err());
        assert_eq!(fs::list(Path::new("/data")).await.unwrap(), [("/data/log".into(), 8192)]);
    });
}
