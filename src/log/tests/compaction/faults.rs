//! A disk that fails, or is full, while a log is cleaned: nothing is lost, the log goes on, and the round is tried again.

use super::damage::Everything;
use super::life::{batch_of, fill_until_sealed};
use ringlane_log::cleaner::{self, CleanerOptions};
use ringlane_log::{DataDir, Log, LogId, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_protocol::records::batches;
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind, LocalMain, Sim, SimOptions};
use ringlane_runtime::{sleep, spawn};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Keys of [`fill_until_sealed`].
const KEYS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Filled,
    Broken,
    Seen,
    Mended,
    Done,
}

/// Offsets of the records that are left.
async fn offsets(log: &Log) -> Vec<i64> {
    let (mut from, below, mut found) = (log.start_offset(), log.stable_offset(), Vec::new());
    loop {
        let data = log.read(from, below, 1 << 20, true).await.expect("reads go on");
        if data.slices.is_empty() {
            return found;
        }
        for batch in data.slices.iter().flat_map(|slice| batches(slice)) {
            let header = batch.expect("a whole batch").header;
            found.push(header.base_offset);
            from = header.next_offset();
        }
    }
}

/// Breaks the disk for files of the cleaner, then mends it; `appends`: the log takes appends all the time.
fn clean_on_a_bad_disk(name: &str, appends: bool, set: impl Fn(&mut Sim, ringlane_runtime::sim::NodeId)) {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let phase = Rc::new(Cell::new(None));
    let main: LocalMain = {
        let phase = phase.clone();
        Box::new(move || {
            Box::pin(async move {
                let metrics = Rc::new(ShardMetrics::default());
                let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
                let options = ShardLogsOptions {
                    metrics: metrics.clone(),
                    journal_file_bytes: 256 << 10,
                    tail_cache_bytes: 0,
                    ..ShardLogsOptions::of(&data_dir, [5; 16]).await
                };
                let logs = ShardLogs::start(options);
                logs.begin().await.expect("the journal begins");
                let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition: 0 };
                let options = LogOptions { segment_bytes: 5_000, ..LogOptions::default() };
                let log = logs.open(id, options, true, &mut ()).await.expect("opens");
                fill_until_sealed(&log).await;
                // What is stable is in its segment after a second at most.
                sleep(Duration::from_secs(3)).await;
                let before = offsets(&log).await;
                phase.set(Some(Phase::Filled));
                until(&phase, Phase::Broken).await;

                let source = Rc::new(Everything(vec![log.clone()]));
                let cleaning = spawn("cleaner", cleaner::run(logs.clone(), CleanerOptions::default(), source));
                sleep(Duration::from_secs(60)).await;
                let failing = (metrics.log_cleaner_uncleanable.value(), metrics.log_cleaner_rounds.value());
                assert_eq!(failing, (1, 0), "the failure is told");
                assert!(log.failure().is_none(), "the log goes on");
                assert_eq!(offsets(&log).await, before, "nothing is lost");
                if appends {
                    log.append(batch_of(log.end_offset(), "another")).expect("appends");
                }
                phase.set(Some(Phase::Seen));
                until(&phase, Phase::Mended).await;

                // Rounds at 0, 15, 45 and 105 seconds.
                sleep(Duration::from_secs(120)).await;
                assert_eq!(metrics.log_cleaner_uncleanable.value(), 0, "the round was tried again");
                assert!(metrics.log_cleaner_rounds.value() > 0 && log.failure().is_none());
                let after = offsets(&log).await;
                let newest = &before[before.len() - KEYS..];
                assert!(after.len() < before.len() / 2 && newest.iter().all(|offset| after.contains(offset)));
                drop(cleaning);
                logs.close().await.expect("a sound log closes");
                data_dir.close().await.expect("the marker can be left");
                phase.set(Some(Phase::Done));
            })
        })
    };
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(10), |_| phase.get() == Some(Phase::Filled));
    set(&mut sim, node);
    phase.set(Some(Phase::Broken));
    sim.run_until(Duration::from_secs(100), |_| phase.get() == Some(Phase::Seen));
    sim.clear_io_faults(node);
    sim.set_disk(node, DiskOptions::default());
    phase.set(Some(Phase::Mended));
    sim.run_until(Duration::from_secs(300), |_| phase.get() == Some(Phase::Done));
    assert_eq!(phase.get(), Some(Phase::Done), "{name}: the test did not end");
}

async fn until(phase: &Cell<Option<Phase>>, wanted: Phase) {
    while phase.get() != Some(wanted) {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Only what the cleaner writes fails: a log that gives up because of that has given up for nothing. And a log that is left alone for good
/// after one bad minute grows until the next restart.
#[test]
fn an_error_of_the_disk_costs_the_round_and_nothing_else() {
    for kind in [IoKind::Write, IoKind::Sync, IoKind::Create, IoKind::Rename] {
        clean_on_a_bad_disk(&format!("{kind:?}"), true, |sim, node| {
            sim.add_io_fault(node, IoFault { kind, path_contains: ".cleaned".to_owned(), probability: 1.0 });
        });
    }
}

/// Compaction is what would make room, and is refused it: when somebody else has made some, it must go on by itself.
#[test]
fn a_full_disk_is_waited_for() {
    clean_on_a_bad_disk("full", false, |sim, node| {
        sim.set_disk(node, DiskOptions { capacity_bytes: 1, ..DiskOptions::default() });
    });
}
