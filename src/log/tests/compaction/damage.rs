//! A log that cannot be cleaned is left as it is, and does not keep the cleaner from the others.

use super::life::{batch_of, fill_until_sealed};
use ringlane_log::cleaner::{self, CleanerOptions, Compaction, CompactionOptions, CompactionSource, ProducerFacts};
use ringlane_log::{DataDir, Log, LogId, LogKey, LogOptions, ShardLogs, ShardLogsOptions};
use ringlane_metrics::ShardMetrics;
use ringlane_protocol::TopicId;
use ringlane_runtime::sim::{LocalMain, Sim, SimOptions};
use ringlane_runtime::{sleep, spawn};
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Every log is compacted.
pub struct Everything(pub Vec<Log>);

impl CompactionSource for Everything {
    fn compaction(&self, log: LogKey) -> Option<Compaction> {
        let log = self.0.iter().find(|known| known.key() == log)?;
        let stable = log.stable_offset();
        Some(Compaction { options: CompactionOptions::default(), last_stable_offset: stable, high_watermark: stable })
    }

    fn producers(&self, _: LogKey) -> ProducerFacts {
        ProducerFacts::default()
    }
}

/// A cleaner that writes what it cannot read gives damage a CRC that is right; one that stops at it lets every other log grow.
#[test]
fn a_damaged_log_is_left_alone_and_the_others_are_cleaned() {
    let mut sim = Sim::new(1, SimOptions::default());
    let node = sim.add_node();
    let (is_filled, is_damaged, is_done) =
        (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let main: LocalMain = {
        let (is_filled, is_damaged, is_done) = (is_filled.clone(), is_damaged.clone(), is_done.clone());
        Box::new(move || {
            Box::pin(async move {
                let metrics = Rc::new(ShardMetrics::default());
                let data_dir = DataDir::open(Path::new("/data")).await.expect("opens");
                let options = ShardLogsOptions {
                    metrics: metrics.clone(),
                    journal_file_bytes: 256 << 10,
                    ..ShardLogsOptions::of(&data_dir, [5; 16]).await
                };
                let logs = ShardLogs::start(options);
                logs.begin().await.expect("the journal begins");
                let mut open = Vec::new();
                for partition in 0..3 {
                    let id = LogId { topic: "table".to_owned(), topic_id: TopicId([7; 16]), partition };
                    let options = LogOptions { segment_bytes: 5_000, ..LogOptions::default() };
                    let log = logs.open(id, options, true, &mut ()).await.expect("opens");
                    fill_until_sealed(&log).await;
                    open.push(log);
                }
                // What is stable is in its segment after a second at most.
                sleep(Duration::from_secs(3)).await;
                is_filled.set(true);
                while !is_damaged.get() {
                    sleep(Duration::from_millis(1)).await;
                }
                let before: Vec<u64> = open.iter().map(Log::size_bytes).collect();
                let cleaning = spawn(
                    "cleaner",
                    cleaner::run(logs.clone(), CleanerOptions::default(), Rc::new(Everything(open.clone()))),
                );
                sleep(Duration::from_secs(60)).await;
                drop(cleaning);
                assert_eq!((metrics.log_cleaner_rounds.value(), metrics.log_cleaner_uncleanable.value()), (2, 1));
                let after: Vec<u64> = open.iter().map(Log::size_bytes).collect();
                assert!(after[0] < before[0] && after[1] == before[1] && after[2] < before[2], "{before:?} {after:?}");
                assert!(open[1].failure().is_none(), "it still takes appends");
                open[1].append(batch_of(open[1].end_offset(), "key")).expect("appends");
                is_done.set(true);
            })
        })
    };
    sim.start_local(node, vec![main]);
    sim.run_until(Duration::from_secs(10), |_| is_filled.get());
    sim.flip_bit(node, Path::new("/data/table-1/00000000000000000000.log"), 8 * 1_000 + 3).expect("the file is there");
    is_damaged.set(true);
    sim.run_until(Duration::from_secs(100), |_| is_done.get());
    assert!(is_done.get(), "the test did not end");
}
