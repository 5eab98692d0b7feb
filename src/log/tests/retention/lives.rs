//! Random lives of one log that appends and deletes, each ended by power loss, kill -9 or in order. What was promised holds in the next:
//! a start that was raised stays raised, the end never falls behind what was stable, and all between reads back.

use crate::kit::{SEGMENT_BYTES, batch, check_all_from};
use ringlane_log::{DataDir, LogId, LogOptions, RetentionOptions, ShardLogs, ShardLogsOptions, StableMode};
use ringlane_protocol::TopicId;
use ringlane_runtime::sim::{LocalMain, Seed, Sim, SimOptions};
use ringlane_runtime::{random_u64, sleep, wall_clock_ms};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 200;
const LIVES: u64 = 6;

#[derive(Debug)]
struct Known {
    /// The start offset of the last deletion that was reported done.
    start: i64,
    /// No deletion has asked for more than this.
    start_max: i64,
    stable: i64,
    durable_mode: bool,
}

#[test]
fn a_log_keeps_its_start_and_its_end_over_crashes() {
    let seed = std::env::var("RINGLANE_LOG_SEED").ok().map(|text| text.parse().expect("a number"));
    let seeds = std::env::var("RINGLANE_LOG_SEEDS").ok().map_or(SEEDS, |text| text.parse().expect("a number"));
    for seed in seed.map_or(0..seeds, |seed: u64| seed..seed + 1) {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut sim = Sim::new(seed, SimOptions::default());
    let node = sim.add_node();
    let mut choices = Seed::new(seed).derive(1);
    let durable_mode = choices.chance(0.7);
    let known = Rc::new(RefCell::new(Known { start: 0, start_max: 0, stable: 0, durable_mode }));
    for _ in 0..LIVES {
        let knows = known.clone();
        let main: LocalMain = Box::new(move || Box::pin(live(seed, knows)));
        sim.start_local(node, vec![main]);
        let millis = choices.within(0..60);
        sim.run_for(Duration::from_micros(millis * millis * 500 + choices.below(1000)));
        assert!(sim.panics().is_empty(), "seed {seed}: {:?}", sim.panics());
        match sim.is_running(node) {
            true if choices.chance(0.6) => {
                sim.crash(node);
                if !durable_mode {
                    known.borrow_mut().stable = 0;
                }
            }
            true => sim.kill(node),
            false => {}
        }
    }
}

async fn live(seed: u64, known: Rc<RefCell<Known>>) {
    let data_dir = DataDir::open(Path::new("/data")).await.expect("the data directory opens");
    let options = ShardLogsOptions {
        tail_cache_bytes: 5_000,
        journal_file_bytes: 128 << 10,
        // So that a log of a few segments is worth reading ahead.
        read_bytes_first: 4 << 10,
        ..ShardLogsOptions::of(&data_dir, [5; 16]).await
    };
    let logs = ShardLogs::start(options);
    let stable_mode = if known.borrow().durable_mode { StableMode::Durable } else { StableMode::Written };
    let retention = RetentionOptions {
        retention_ms: -1,
        retention_bytes: 60_000,
        file_delete_delay_ms: random_u64() % 30,
        ..RetentionOptions::DEFAULT
    };
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, retention, stable_mode, ..LogOptions::default() };
    let id = LogId { topic: "orders".to_owned(), topic_id: TopicId([7; 16]), partition: 3 };
    let log = logs.open(id, options, false, &mut ()).await.expect("the log opens");
    logs.begin().await.expect("the journal begins");
    {
        let known = known.borrow();
        let (start, end) = (log.start_offset(), log.end_offset());
        assert!(start >= known.start, "seed {seed}: deleted records are back: the log starts at {start}, {known:?}");
        assert!(start <= known.start_max, "seed {seed}: nobody deleted up to {start}, {known:?}");
        assert!(end >= known.stable.max(start), "seed {seed}: lost: {start}..{end}, {known:?}");
    }
    check_all_from(&log, log.start_offset()).await;
    for _ in 0..60 {
        match random_u64() % 10 {
            0..=4 => {
                for _ in 0..random_u64() % 4 {
                    let value_bytes = random_u64() as usize % 3_000;
                    log.append(batch(log.end_offset(), wall_clock_ms(), value_bytes)).expect("the log is sound");
                }
            }
            5 => {
                let (start, stable) = (log.start_offset(), log.stable_offset());
                let offset = start + (random_u64() % (stable - start + 1) as u64) as i64;
                deleting(&known, offset);
                log.raise_log_start(offset).await.expect("the disk is sound");
                deleted(&known, log.start_offset().min(offset));
            }
            6..=7 => {
                deleting(&known, log.end_offset());
                let now_ms = Some(wall_clock_ms());
                if random_u64().is_multiple_of(3) {
                    // Everything: the log must roll first, if nothing is being written.
                    let retention = RetentionOptions { retention_bytes: 0, ..retention };
                    log.set_options(LogOptions { retention, ..options });
                }
                log.enforce_retention(log.stable_offset(), now_ms).await.expect("the disk is sound");
                log.set_options(options);
                deleted(&known, log.start_offset());
            }
            _ => sleep(Duration::from_micros(random_u64() % 4_000)).await,
        }
        known.borrow_mut().stable = log.stable_offset();
        check_all_from(&log, log.start_offset()).await;
    }
    if random_u64().is_multiple_of(2) {
        logs.close().await.expect("a sound log closes");
        known.borrow_mut().stable = log.stable_offset();
        data_dir.close().await.expect("the marker can be left");
    }
}

fn deleting(known: &RefCell<Known>, up_to: i64) {
    let mut known = known.borrow_mut();
    known.start_max = known.start_max.max(up_to);
}

fn deleted(known: &RefCell<Known>, start: i64) {
    let mut known = known.borrow_mut();
    known.start = known.start.max(start);
}

/// The rule broken must make some seed fail, or the test above proves nothing about it.
#[cfg(feature = "mutants")]
#[test]
fn a_start_that_is_not_durable_is_noticed() {
    use ringlane_log::mutants::{Mutant, select};
    select(Some(Mutant::LogStartNotDurable));
    let caught = (0..SEEDS).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
    select(None);
    assert!(caught.is_some(), "not noticed");
}
