//! Segments leave a log, on a simulated disk: by age, by size, by DeleteRecords; with readers under way and crashes in between.
//!
//! `RINGLANE_LOG_SEEDS` sets how many seeds the random test runs (200), `RINGLANE_LOG_SEED` runs one.

mod kit;
mod lives;

use kit::{Retained, names, on_one_log, start_ms};
use ringlane_log::{ReadError, ReadPlan, RetentionOptions};
use ringlane_runtime::{fs, sleep, wall_clock_ms};
use std::time::Duration;

const DAY: i64 = 24 * 3_600_000;

/// The whole way of an old segment: out of the log, out of sight, off the disk after the delay. And a reader that was under way must
/// be told, not given records of another place.
#[test]
fn old_segments_go_and_readers_under_way_plan_again() {
    let retention =
        RetentionOptions { retention_ms: 2 * DAY, file_delete_delay_ms: 5_000, ..RetentionOptions::DEFAULT };
    on_one_log(1, retention, |log: Retained| async move {
        log.append_days_ago(3, 20).await;
        let first_young = log.append_days_ago(1, 20).await;
        log.seal_all().await;
        let size_bytes = log.log.size_bytes();
        let under_way = log.log.plan_read(0, 5, 1 << 20, true);
        log.log.enforce_retention(log.log.stable_offset(), Some(wall_clock_ms())).await.expect("the disk is sound");

        let start = log.log.start_offset();
        assert!(start > 0 && start <= first_young, "{start} {first_young}");
        assert!(log.log.size_bytes() < size_bytes);
        let ReadPlan::Disk(under_way) = under_way else { panic!("the tail is small") };
        assert!(matches!(under_way.run().await, Err(ReadError::Moved)));
        log.check_all_from(start).await;

        let deleted =
            || async { names("/data/orders-3").await.iter().filter(|name| name.ends_with(".deleted")).count() };
        assert!(deleted().await >= 3, "log and indexes: {:?}", names("/data/orders-3").await);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(deleted().await, 0);
        assert!(!names("/data/orders-3").await.contains(&"00000000000000000000.log".to_owned()));
    });
}

/// A topic that nobody writes to any more must still lose its last records, and its next offset must stay what it was.
#[test]
fn an_idle_log_is_emptied_and_goes_on_where_it_ended() {
    on_one_log(2, RetentionOptions { retention_ms: DAY, ..RetentionOptions::DEFAULT }, |log| async move {
        let end = log.append_days_ago(9, 7).await;
        log.log.enforce_retention(end, Some(wall_clock_ms())).await.expect("the disk is sound");
        assert_eq!((log.log.start_offset(), log.log.end_offset(), log.log.size_bytes()), (end, end, 0));
        assert!(names("/data/orders-3").await.contains(&format!("{end:020}.log")));
        log.append_days_ago(0, 3).await;
        log.check_all_from(end).await;
    });
}

/// One record of the year 3000 keeps a log for ever in Kafka. Here its segment counts from when it was written.
#[test]
fn timestamps_from_the_far_future_pin_nothing() {
    on_one_log(3, RetentionOptions { retention_ms: 2 * DAY, ..RetentionOptions::DEFAULT }, |log| async move {
        let end = log.append_days_ago(-300_000, 5).await;
        log.log.enforce_retention(end, Some(start_ms() + DAY)).await.expect("the disk is sound");
        assert_eq!(log.log.start_offset(), 0, "written a day ago");
        log.log.enforce_retention(end, Some(start_ms() + 3 * DAY)).await.expect("the disk is sound");
        assert_eq!(log.log.start_offset(), end);
    });
}

/// While the clock is not believed nothing may go by age, but a full disk cannot wait for the clock.
#[test]
fn without_a_clock_only_size_counts() {
    let retention = RetentionOptions { retention_ms: 0, retention_bytes: 40_000, ..RetentionOptions::DEFAULT };
    on_one_log(4, retention, |log| async move {
        let end = log.append_days_ago(9, 40).await;
        log.seal_all().await;
        log.log.enforce_retention(end, None).await.expect("the disk is sound");
        let size_bytes = log.log.size_bytes();
        assert!((40_000..80_000).contains(&size_bytes), "{size_bytes}");
        log.check_all_from(log.log.start_offset()).await;
    });
}

/// DeleteRecords in the middle of a segment: its records are gone for readers, timestamps included, also after a restart; the segments
/// before it are gone from the disk.
#[test]
fn a_raised_start_hides_what_is_below_and_frees_whole_segments() {
    on_one_log(5, RetentionOptions { delete: false, ..RetentionOptions::DEFAULT }, |log| async move {
        let end = log.append_days_ago(3, 40).await;
        log.seal_all().await;
        log.log.raise_log_start(33).await.expect("the disk is sound");
        log.log.raise_log_start(21).await.expect("lower is no error, and no change");
        assert_eq!(log.log.start_offset(), 33);
        assert!(log.log.raise_log_start(end + 1).await.is_err(), "not stable");
        sleep(Duration::from_secs(1)).await;
        let first = names("/data/orders-3").await.into_iter().find(|name| name.ends_with(".log")).unwrap();
        assert!(first.as_str() > "00000000000000000000.log", "{first}");
        assert_eq!(log.log.offset_for_timestamp(0, end).await.unwrap().unwrap().0, 33);
        assert_eq!(log.log.max_timestamp(34).await.unwrap().unwrap().0, 33);

        let log = log.reopen().await;
        assert_eq!((log.log.start_offset(), log.log.end_offset()), (33, end));
        log.log.raise_log_start(end).await.expect("the disk is sound");
        let log = log.reopen().await;
        assert_eq!((log.log.start_offset(), log.log.end_offset()), (end, end));
    });
}

/// What a crash left of deleted files would fill the disk a little more with each one.
#[test]
fn leftovers_of_the_last_process_go_at_the_next_start() {
    on_one_log(6, RetentionOptions { retention_ms: DAY, ..RetentionOptions::DEFAULT }, |log| async move {
        let end = log.append_days_ago(9, 40).await;
        log.seal_all().await;
        log.log.enforce_retention(end, Some(wall_clock_ms())).await.expect("the disk is sound");
        assert!(names("/data/orders-3").await.iter().any(|name| name.ends_with(".deleted")));
        // As if the process had been killed between noting the new start and renaming a segment of long ago.
        fs::write_atomic(std::path::Path::new("/data/orders-3/00000000000000000000.log"), b"x").await.unwrap();
        let log = log.reopen().await;
        sleep(Duration::from_secs(1)).await;
        let names = names("/data/orders-3").await;
        assert!(
            !names.iter().any(|name| name.ends_with(".deleted") || name.starts_with("00000000000000000000.")),
            "{names:?}"
        );
        assert_eq!((log.log.start_offset(), log.log.end_offset()), (end, end));
    });
}
