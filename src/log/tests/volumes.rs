//! Several data directories and a changing number of shards: what fails, fails alone, and whoever had a log's journal before, all of it is
//! found.

use bytes::Bytes;
use ringlane_log::{
    AppendBatch, AppendError, DataDir, Log, LogId, LogOptions, OpenError, Recovered, ShardLogs, ShardLogsOptions,
    VolumeOptions,
};
use ringlane_protocol::TopicId;
use ringlane_protocol::records::{BatchBuilder, BatchHeader, Compression};
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind, LocalMain, NodeId, Sim, SimOptions};
use ringlane_runtime::{fs, shard, shard_count, sleep};
use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const DIRECTORIES: [&str; 2] = ["/disk1", "/disk2"];
const LIMIT: Duration = Duration::from_secs(60);

fn batch(offset: i64) -> AppendBatch {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(offset);
    builder.push(1_000 + offset, None, Some(&[offset as u8; 1_000]), &[]);
    let bytes = Bytes::from(builder.finish().expect("builds"));
    AppendBatch::new(&BatchHeader::parse(&bytes).expect("was built"), bytes)
}

fn id(partition: i32) -> LogId {
    LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition }
}

fn sim() -> (Sim, NodeId) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    for directory in DIRECTORIES {
        sim.set_volume(node, Path::new(directory), DiskOptions::default());
    }
    (sim, node)
}

/// Runs `work` as the only shard of a process, until it ends.
fn run<T: 'static>(sim: &mut Sim, node: NodeId, work: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(RefCell::new(None));
    let into = result.clone();
    let main: LocalMain = Box::new(|| Box::pin(async move { into.replace(Some(work.await)).map_or((), drop) }));
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(LIMIT, |sim| !sim.is_running(node)), "it ends");
    result.take().expect("it ended")
}

fn options(volumes: Vec<VolumeOptions>, recovered: Recovered) -> ShardLogsOptions {
    ShardLogsOptions { journal_file_bytes: 256 << 10, ..ShardLogsOptions::new(volumes, Arc::new(recovered)) }
}

/// A process on both directories; one that cannot be opened is out of service.
async fn start() -> (ShardLogs, Vec<DataDir>) {
    let (mut volumes, mut open) = (Vec::new(), Vec::new());
    for (number, path) in (1..).zip(DIRECTORIES) {
        let mut volume = VolumeOptions::new(path.into(), [number; 16], false);
        match DataDir::open(Path::new(path)).await {
            Ok(data_dir) => open.push(data_dir),
            Err(error) => volume.out_of_service = Some(error.to_string()),
        }
        volumes.push(volume);
    }
    let recovered = Recovered::scan(&volumes, |_| true).await;
    (ShardLogs::start(options(volumes, recovered)), open)
}

/// Appends from the end on until `end` is stable.
async fn fill(logs: &ShardLogs, log: &Log, end: i64) {
    while log.end_offset() < end {
        log.append(batch(log.end_offset())).expect("a sound log");
    }
    while log.stable_offset() < end {
        logs.next_stable().await;
    }
}

async fn check(log: &Log, end: i64) {
    assert_eq!(log.end_offset(), end, "{}", log.id());
    for offset in 0..end {
        let data = log.read(offset, end, 1, true).await.expect("reads");
        assert_eq!(data.slices.concat(), batch(offset).bytes, "{} at {offset}", log.id());
    }
}

fn break_disk(sim: &mut Sim, node: NodeId, directory: &str) {
    for kind in [IoKind::Open, IoKind::Create, IoKind::List, IoKind::Write, IoKind::Sync, IoKind::Read] {
        sim.add_io_fault(node, IoFault { kind, path_contains: directory.to_owned(), probability: 1.0 });
    }
}

/// A broker with ten disks must not stop for one; nor may a partition start anew, empty, because its disk is away for a day.
#[test]
fn a_disk_that_fails_takes_its_own_logs_along_and_gives_them_back_when_it_returns() {
    let (mut sim, node) = sim();
    run(&mut sim, node, async {
        let (logs, _open) = start().await;
        let mut opened = Vec::new();
        for partition in 0..4 {
            opened.push(logs.open(id(partition), LogOptions::default(), true, &mut ()).await.expect("opens"));
        }
        logs.begin().await.expect("begins");
        let on_first = opened.iter().filter(|log| log.data_dir() == Path::new(DIRECTORIES[0])).count();
        assert_eq!(on_first, 2, "new logs go where there are fewest");
        for log in &opened {
            fill(&logs, log, 20).await;
        }
    });

    break_disk(&mut sim, node, DIRECTORIES[1]);
    run(&mut sim, node, async {
        let (logs, _open) = start().await;
        for partition in 0..4 {
            match logs.open(id(partition), LogOptions::default(), false, &mut ()).await {
                Ok(log) => {
                    assert_eq!(partition % 2, 0, "these were on the first disk");
                    check(&log, 20).await;
                }
                Err(OpenError::OtherDirectoryMissing { path, .. }) => {
                    assert_eq!((partition % 2, path.as_path()), (1, Path::new(DIRECTORIES[1])));
                }
                Err(other) => panic!("{other}"),
            }
        }
        logs.begin().await.expect("one disk is enough");
        let new = logs.open(id(9), LogOptions::default(), true, &mut ()).await.expect("a new one goes to the first");
        fill(&logs, &new, 5).await;
        assert!(logs.data_dirs()[1].failure.is_some() && logs.data_dirs()[0].failure.is_none());
    });

    sim.clear_io_faults(node);
    run(&mut sim, node, async {
        let (logs, _open) = start().await;
        for (partition, end) in [(0, 20), (1, 20), (2, 20), (3, 20), (9, 5)] {
            check(&logs.open(id(partition), LogOptions::default(), false, &mut ()).await.expect("is back"), end).await;
        }
    });
}

/// A folder that cannot be read at a start, once: what only the journals have of its log must outlive that start (seed 158 of the simulation
/// with disk errors lost acknowledged records so).
#[test]
fn journals_are_not_void_while_a_log_that_needs_them_cannot_be_reached() {
    let unreadable = "disk1/orders-0";
    let (mut sim, node) = sim();
    let crashed = Rc::new(RefCell::new(false));
    let filled = crashed.clone();
    let main: LocalMain = Box::new(move || {
        Box::pin(async move {
            let (logs, _open) = start().await;
            let log = logs.open(id(0), LogOptions::default(), true, &mut ()).await.expect("opens");
            logs.begin().await.expect("begins");
            // While the journal's first file is made, batches go to the segment.
            fill(&logs, &log, 10).await;
            sleep(Duration::from_secs(1)).await;
            fill(&logs, &log, 20).await;
            filled.replace(true);
            sleep(LIMIT).await;
        })
    });
    sim.start_local(node, vec![main]);
    assert!(sim.run_until(LIMIT, |_| *crashed.borrow()), "{:?}", sim.panics());
    // The second ten are in the journal only.
    sim.crash(node);

    sim.add_io_fault(node, IoFault { kind: IoKind::List, path_contains: unreadable.to_owned(), probability: 1.0 });
    run(&mut sim, node, async move {
        let (logs, _open) = start().await;
        logs.open(id(0), LogOptions::default(), false, &mut ()).await.map(drop).expect_err("unreadable");
        logs.begin().await.expect("the other disk is enough");
        assert!(logs.data_dirs()[0].failure.is_some(), "{unreadable}: its journal would be void");
    });

    sim.clear_io_faults(node);
    run(&mut sim, node, async {
        let (logs, _open) = start().await;
        check(&logs.open(id(0), LogOptions::default(), false, &mut ()).await.expect("is back"), 20).await;
    });
}

/// The journal that has a log's newest batches may be another shard's, which does not know that the log's directory has to stay as it is.
#[test]
fn a_directory_that_another_shard_gave_up_is_not_begun() {
    let (mut sim, node) = sim();
    run(&mut sim, node, async {
        let (logs, _open) = start().await;
        logs.give_up(&[DIRECTORIES[1].into()]);
        logs.begin().await.expect("one disk is enough");
        assert!(logs.data_dirs()[1].failure.is_some() && logs.data_dirs()[0].failure.is_none());
    });
}

/// A disk that dies at work: its logs refuse appends with the reason, the others do not notice.
#[test]
fn a_disk_that_dies_at_work_fails_its_own_logs_only() {
    let (mut sim, node) = sim();
    let broken = Rc::new(RefCell::new(false));
    let (is_broken, main_done) = (broken.clone(), Rc::new(RefCell::new(false)));
    let done = main_done.clone();
    let main: LocalMain = Box::new(move || {
        Box::pin(async move {
            let (logs, _open) = start().await;
            let first = logs.open(id(0), LogOptions::default(), true, &mut ()).await.expect("opens");
            let second = logs.open(id(1), LogOptions::default(), true, &mut ()).await.expect("opens");
            logs.begin().await.expect("begins");
            fill(&logs, &first, 10).await;
            fill(&logs, &second, 10).await;
            while !*is_broken.borrow() {
                sleep(Duration::from_millis(1)).await;
            }
            second.append(batch(10)).expect("not known yet");
            while second.failure().is_none() {
                logs.next_stable().await;
            }
            assert!(
                matches!(second.append(batch(10)), Err(AppendError::Failed(failed)) if failed.to_string().contains(DIRECTORIES[1]))
            );
            fill(&logs, &first, 20).await;
            check(&first, 20).await;
            done.replace(true);
        })
    });
    sim.start_local(node, vec![main]);
    sim.run_for(Duration::from_secs(2));
    break_disk(&mut sim, node, DIRECTORIES[1]);
    broken.replace(true);
    sim.run_until(LIMIT, |sim| !sim.is_running(node));
    assert!(*main_done.borrow(), "it got to its end: {:?}", sim.panics());
}

/// A machine gets more cores, or fewer: the journals of the shards of before have to be read by those of now.
#[test]
fn another_number_of_shards_finds_what_every_journal_has() {
    const PARTITIONS: i32 = 6;
    let (mut sim, node) = sim();
    let mut end = 0;
    for shards in [4, 1, 3, 2] {
        let (before, after) = (end, end + 15);
        end = after;
        let ready = Rc::new(RefCell::new(0));
        let mains = (0..shards)
            .map(|_| {
                let ready = ready.clone();
                let main: LocalMain = Box::new(move || Box::pin(live(before, after, ready, PARTITIONS)));
                main
            })
            .collect();
        sim.start_local(node, mains);
        let all_ready = sim.run_until(LIMIT, |_| *ready.borrow() == 3 * shards);
        assert!(all_ready, "{shards} shards: {:?}", sim.panics());
        // Nothing is in its segment yet: all is in the journals.
        sim.crash(node);
    }
}

/// One shard's life. `ready` counts the steps that all shards have to be past before the next one.
async fn live(before: i64, after: i64, ready: Rc<RefCell<usize>>, partitions: i32) {
    let shards = shard_count();
    let all_at = |step: usize| {
        let ready = ready.clone();
        async move {
            *ready.borrow_mut() += 1;
            while *ready.borrow() < step * shards {
                sleep(Duration::from_micros(100)).await;
            }
        }
    };
    fs::create_dir_all(Path::new(DIRECTORIES[0])).await.expect("creates");
    let volumes = vec![VolumeOptions::new(DIRECTORIES[0].into(), [1; 16], false)];
    // Every shard reads all here: the sharing out is the broker's.
    let recovered = Recovered::scan(&volumes, |_| true).await;
    let logs = ShardLogs::start(options(volumes, recovered));
    let mut opened = Vec::new();
    for partition in (0..partitions).filter(|partition| *partition as usize % shards == usize::from(shard().0)) {
        let log = logs.open(id(partition), LogOptions::default(), false, &mut ()).await.expect("opens");
        check(&log, before).await;
        opened.push(log);
    }
    all_at(1).await;
    logs.begin().await.expect("begins");
    all_at(2).await;
    logs.end_recovery(shards).await;
    for log in &opened {
        fill(&logs, log, after).await;
    }
    all_at(3).await;
    // Until the power goes.
    sleep(LIMIT).await;
}
