//! The home shard on a simulated machine: appends, acks, reads, offsets, faults and crashes, as a broker would ask for them.

mod kit;
mod transactions;

use kit::{Home, appended, batch_of, on_one_shard, stamped};
use ringlane_partition::{Acks, OffsetSpec, OffsetsEntry, ReadTicket, TopicConfig};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::records::TimestampType;
use ringlane_runtime::sim::{DiskOptions, IoFault, IoKind};
use ringlane_runtime::{now, sleep, spawn};
use std::time::Duration;

/// The promise of the whole broker: an ack means stable, and nobody sees a record before that.
#[test]
fn acks_and_readers_wait_until_the_batch_is_stable() {
    on_one_shard(1, |home| async move {
        let slow = Duration::from_millis(40);
        home.disk(DiskOptions { latency: slow..slow * 2, ..DiskOptions::default() });
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            let began = now();
            let before = home.read_from(0).await.high_watermark;
            let append = home.start_append(acks, 10_000, batch_of(3));
            assert_eq!(home.read_from(0).await.high_watermark, before, "not stable yet");
            assert_eq!(appended(append.await), before);
            assert!(began.elapsed() >= slow, "{acks:?} was answered after {:?}", began.elapsed());
            assert_eq!(home.read_from(0).await.high_watermark, before + 3);
        }
    });
}

/// Consumers read what producers wrote, from any offset, in whole batches, with the offsets and epoch that the broker gave.
#[test]
fn records_are_read_back_with_their_offsets() {
    on_one_shard(2, |home| async move {
        for i in 0..20 {
            assert_eq!(home.append(batch_of(1 + i % 3)).await, home.model_end());
            home.grow_model(1 + i % 3);
        }
        for from in 0..home.model_end() {
            let read = home.read_from(from).await;
            let headers = kit::headers(&read.slices);
            assert!(headers[0].base_offset <= from && from <= headers[0].last_offset());
            assert_eq!(headers.last().unwrap().next_offset(), home.model_end());
            assert!(headers.iter().all(|header| header.leader_epoch == 0));
            assert!(headers.windows(2).all(|pair| pair[0].next_offset() == pair[1].base_offset));
        }
        let at_end = home.read_from(home.model_end()).await;
        assert_eq!((at_end.error, at_end.bytes), (ErrorCode::None, 0));
        for outside in [-1, home.model_end() + 1] {
            assert_eq!(home.read_from(outside).await.error, ErrorCode::OffsetOutOfRange);
        }
    });
}

/// A consumer at the end of the log costs nothing until something arrives, and then no time.
#[test]
fn a_waiting_read_wakes_when_enough_is_visible_or_its_time_is_up() {
    on_one_shard(3, |home| async move {
        let one = batch_of(1).len() as i32;
        let began = now();
        let waiting = spawn("read", home.read_waiting(0, 5_000, one + 1, None));
        sleep(Duration::from_millis(100)).await;
        home.append(batch_of(1)).await;
        sleep(Duration::from_millis(100)).await;
        let last = home.append(batch_of(1)).await;
        let read = waiting.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!((last, read.bytes as i32), (1, 2 * one));

        let began = now();
        let read = home.read_waiting(2, 700, 1, None).await;
        assert_eq!((read.error, read.bytes, read.high_watermark), (ErrorCode::None, 0, 2));
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(700) && waited < Duration::from_millis(800), "{waited:?}");

        let began = now();
        assert_eq!(home.read_waiting(9, 5_000, 1, None).await.error, ErrorCode::OffsetOutOfRange);
        assert!(began.elapsed() < Duration::from_secs(1), "an error is not waited with");
    });
}

/// Two shards share one fetch: the one that has nothing must not hold the client when the other has enough.
#[test]
fn a_hurried_read_answers_at_once_even_if_it_was_never_polled() {
    on_one_shard(4, |home| async move {
        let ticket = ReadTicket { shard: 3, number: 9 };
        let began = now();
        let reading = home.read_waiting(0, 5_000, 1, Some(ticket));
        home.shard.hurry(ticket);
        assert_eq!(reading.await.error, ErrorCode::None);
        assert!(began.elapsed() < Duration::from_millis(100));
    });
}

/// The first batch goes out whatever its size, or a consumer with a small limit would never get past it (KIP-74).
#[test]
fn limits_bind_all_but_the_first_batch() {
    on_one_shard(5, |home| async move {
        for _ in 0..4 {
            home.append(batch_of(10)).await;
        }
        let one = batch_of(10).len();
        let bytes = |max_bytes: usize, partition_max: usize, at_least_one| {
            let mut request = home.read_request(0, 0, 1);
            (request.max_bytes, request.at_least_one) = (max_bytes as i32, at_least_one);
            request.entries[0].max_bytes = partition_max as i32;
            let reading = home.shard.read(request);
            async move { reading.await.results[0].bytes }
        };
        assert_eq!(bytes(1, 1, true).await, one);
        assert_eq!(bytes(1, 1, false).await, 0);
        assert_eq!(bytes(2 * one, 1 << 20, true).await, 2 * one);
        assert_eq!(bytes(1 << 20, 3 * one + 7, true).await, 3 * one);
        assert_eq!(bytes(1 << 20, 1 << 20, true).await, 4 * one);
    });
}

/// A producer that lost an answer sends again, also to a broker that crashed in between: no record twice, none lost.
#[test]
fn repeated_batches_are_recognised_also_after_a_crash() {
    let mut machine = kit::Machine::new(6);
    machine.run(|home| async move {
        for sequence in 0..8 {
            assert_eq!(home.append(stamped(7, 0, sequence)).await, i64::from(sequence));
        }
        assert_eq!(home.append(stamped(7, 0, 5)).await, 5);
        home.metrics_must(|metrics| (metrics.produce_duplicates.value(), metrics.produce_batches.value()) == (1, 8));
    });
    machine.crash();
    machine.run(|home| async move {
        for sequence in 3..8 {
            assert_eq!(home.append(stamped(7, 0, sequence)).await, i64::from(sequence), "sequence {sequence}");
        }
        let refused = home.start_append(Acks::All, 0, stamped(7, 0, 9)).await;
        assert_eq!(refused.error(), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(home.append(stamped(7, 1, 0)).await, 8);
        assert_eq!(home.start_append(Acks::All, 0, stamped(7, 0, 8)).await.error(), ErrorCode::InvalidProducerEpoch);
        assert_eq!(home.read_from(0).await.high_watermark, 9);
    });
}

/// A client must hear within its timeout, and the disk may still finish: the record stays and is seen.
#[test]
fn a_slow_disk_times_requests_out_and_the_records_stay() {
    on_one_shard(7, |home| async move {
        let slow = Duration::from_secs(3);
        home.disk(DiskOptions { latency: slow..slow * 2, ..DiskOptions::default() });
        let began = now();
        let result = home.start_append(Acks::All, 500, batch_of(1)).await;
        assert_eq!(result.error(), ErrorCode::RequestTimedOut);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(500) && waited < Duration::from_secs(1), "{waited:?}");
        let read = home.read_waiting(0, 20_000, 1, None).await;
        assert_eq!(read.high_watermark, 1);
    });
}

/// A dead disk must be told, not waited for; what was stable stays readable.
#[test]
fn a_failed_log_refuses_appends_and_still_serves_reads() {
    on_one_shard(8, |home| async move {
        home.append(batch_of(2)).await;
        for kind in [IoKind::Write, IoKind::Sync] {
            home.fault(IoFault { kind, path_contains: ".journal".into(), probability: 1.0 });
        }
        let failed = home.start_append(Acks::All, 10_000, batch_of(1)).await;
        assert_eq!(failed.error(), ErrorCode::KafkaStorageError);
        let refused = home.start_append(Acks::None, 10_000, batch_of(1)).await;
        assert_eq!(refused.error(), ErrorCode::KafkaStorageError);
        let read = home.read_from(0).await;
        assert_eq!((read.error, read.high_watermark, kit::headers(&read.slices).len()), (ErrorCode::None, 2, 1));
        home.metrics_must(|metrics| metrics.partitions_offline.value() == 1);
    });
}

/// Requests for a deleted topic would wait for ever, and its producers fill the table.
#[test]
fn a_removed_partition_answers_all_who_wait() {
    on_one_shard(9, |home| async move {
        let slow = Duration::from_secs(3);
        home.disk(DiskOptions { latency: slow..slow * 2, ..DiskOptions::default() });
        let append = home.start_append(Acks::All, 60_000, batch_of(1));
        let read = spawn("read", home.read_waiting(0, 60_000, 1, None));
        sleep(Duration::from_millis(1)).await;
        let began = now();
        let shard = home.shard.clone();
        let removing = spawn("remove", async move { shard.remove(kit::AT).await });
        assert_eq!(append.await.error(), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(read.await.unwrap().error, ErrorCode::NotLeaderOrFollower);
        assert!(began.elapsed() < Duration::from_secs(1));
        removing.await.unwrap();
        assert_eq!(home.start_append(Acks::All, 0, batch_of(1)).await.error(), ErrorCode::NotLeaderOrFollower);
    });
}

/// A client with old metadata must be sent to the new leader, one with newer metadata must wait for us.
#[test]
fn leadership_and_epochs_are_checked() {
    on_one_shard(10, |home| async move {
        home.append(batch_of(2)).await;
        home.change(|spec| spec.leader_epoch = 4).await;
        home.append(batch_of(3)).await;
        let with_epoch = |epoch| {
            let mut request = home.read_request(0, 0, 1);
            request.entries[0].current_leader_epoch = epoch;
            let reading = home.shard.read(request);
            async move { reading.await.results.remove(0) }
        };
        assert_eq!(with_epoch(4).await.error, ErrorCode::None);
        let fenced = with_epoch(3).await;
        assert_eq!((fenced.error, fenced.current_leader.unwrap().leader_epoch), (ErrorCode::FencedLeaderEpoch, 4));
        assert_eq!(with_epoch(5).await.error, ErrorCode::UnknownLeaderEpoch);

        let ends: Vec<_> = [0, 3, 4, 5].into_iter().map(|epoch| home.epoch_end(epoch)).collect();
        assert_eq!(ends, [(0, 2), (0, 2), (4, 5), (-1, -1)]);

        // A consumer whose last record is of an epoch that ended before it: its log parted from ours.
        let mut request = home.read_request(4, 0, 1);
        request.entries[0].last_fetched_epoch = 0;
        let diverging = home.shard.read(request).await.results.remove(0);
        let end = diverging.diverging_epoch.unwrap();
        assert_eq!((end.epoch, end.end_offset, diverging.bytes), (0, 2, 0));

        let waiting = spawn("read", home.read_waiting(5, 60_000, 1, None));
        sleep(Duration::from_millis(1)).await;
        home.change(|spec| (spec.leader_epoch, spec.leader_id) = (5, 99)).await;
        assert_eq!(waiting.await.unwrap().error, ErrorCode::NotLeaderOrFollower);
        let refused = home.start_append(Acks::Leader, 0, batch_of(1)).await;
        assert_eq!(refused.error(), ErrorCode::NotLeaderOrFollower);
        assert_eq!(refused.current_leader.unwrap().leader_id, 99);
        home.change(|spec| (spec.leader_epoch, spec.leader_id) = (4, kit::BROKER)).await;
        assert_eq!(home.read_from(0).await.error, ErrorCode::NotLeaderOrFollower, "old news changes nothing");
    });
}

/// Epochs must survive a crash, or a consumer would be told that its records never were.
#[test]
fn leader_epochs_survive_a_crash() {
    let mut machine = kit::Machine::new(11);
    machine.run(|home| async move {
        home.append(batch_of(2)).await;
        home.change(|spec| spec.leader_epoch = 3).await;
        home.append(batch_of(2)).await;
    });
    machine.crash();
    machine.run(|home| async move {
        home.change(|spec| spec.leader_epoch = 6).await;
        assert_eq!([0, 3, 6].map(|epoch| home.epoch_end(epoch)), [(0, 2), (3, 4), (6, 4)]);
    });
}

/// Tools and consumers seek by these.
#[test]
fn offsets_are_listed_as_kafka_does() {
    on_one_shard(12, |home| async move {
        for timestamp in [5_000, 9_000, 7_000] {
            home.append(kit::batch_at(timestamp)).await;
        }
        let list = |wanted| {
            let home = home.clone();
            async move {
                let entry = OffsetsEntry { at: kit::AT, current_leader_epoch: -1, wanted };
                let result = home.offset(entry).await;
                assert_eq!(result.error, ErrorCode::None);
                (result.offset, result.timestamp, result.leader_epoch)
            }
        };
        assert_eq!(list(OffsetSpec::Latest).await, (3, -1, 0));
        assert_eq!(list(OffsetSpec::Earliest).await, (0, -1, 0));
        assert_eq!(list(OffsetSpec::EarliestLocal).await, (0, -1, 0));
        assert_eq!(list(OffsetSpec::MaxTimestamp).await, (1, 9_000, 0));
        assert_eq!(list(OffsetSpec::Timestamp(5_001)).await, (1, 9_000, 0));
        assert_eq!(list(OffsetSpec::Timestamp(0)).await, (0, 5_000, 0));
        assert_eq!(list(OffsetSpec::Timestamp(9_001)).await, (-1, -1, -1));
        assert_eq!(list(OffsetSpec::LatestTiered).await, (-1, -1, -1));
        assert_eq!(list(OffsetSpec::EarliestPendingUpload).await, (-1, -1, -1));
    });
}

/// Topics that want the broker's time get it in the batch and in the answer.
#[test]
fn log_append_time_is_stamped() {
    on_one_shard(13, |home| async move {
        home.configure(TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..TopicConfig::default() }).await;
        let result = home.start_append(Acks::All, 1_000, kit::batch_at(5)).await;
        assert!(result.log_append_time_ms > 1_000_000);
        let read = home.read_from(0).await;
        let header = kit::headers(&read.slices)[0];
        assert_eq!(header.max_timestamp, result.log_append_time_ms);
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    });
}

/// What cannot be promised must be refused before it is appended, not after.
#[test]
fn requests_that_cannot_be_kept_are_refused_before_the_append() {
    on_one_shard(14, |home| async move {
        home.change(|spec| (spec.replicas_count, spec.isr_count) = (3, 1)).await;
        home.configure(TopicConfig { min_insync_replicas: 2, ..TopicConfig::default() }).await;
        assert_eq!(home.start_append(Acks::All, 0, batch_of(1)).await.error(), ErrorCode::NotEnoughReplicas);
        assert_eq!(appended(home.start_append(Acks::Leader, 1_000, batch_of(1)).await), 0);
        assert_eq!(home.read_from(0).await.high_watermark, 0, "frozen below min.insync.replicas");
        home.change(|spec| spec.isr_count = 2).await;
        assert_eq!(home.read_from(0).await.high_watermark, 1);

        let mut twice = home.append_request(Acks::All, 1_000, batch_of(1));
        twice.entries.extend(home.append_request(Acks::All, 1_000, batch_of(1)).entries);
        let codes: Vec<_> = home.send(twice).await.results.iter().map(|result| result.error()).collect();
        assert_eq!(codes, [ErrorCode::None, ErrorCode::InvalidRequest]);

        let transactional = home.start_append(Acks::All, 1_000, kit::transactional(5)).await;
        assert_eq!(transactional.error(), ErrorCode::InvalidTxnState);
        assert_eq!(home.read_from(0).await.high_watermark, 2);
    });
}

/// A disk that does not keep up would otherwise fill the memory with what is not yet written.
#[test]
fn produce_is_refused_when_too_much_waits_for_the_disk() {
    on_one_shard(15, |home| async move {
        let slow = Duration::from_secs(2);
        home.disk(DiskOptions { latency: slow..slow * 2, ..DiskOptions::default() });
        let sent: Vec<_> = (0..40).map(|_| home.start_append(Acks::None, 0, kit::large_batch(1 << 20))).collect();
        let mut refused = 0;
        for append in sent {
            refused += usize::from(append.await.error() == ErrorCode::KafkaStorageError);
        }
        assert_eq!(refused, 40 - kit::UNSTABLE_BYTES_MAX / (1 << 20));
        assert_eq!(home.start_append(Acks::Leader, 10_000, batch_of(1)).await.error(), ErrorCode::None);
    });
}

/// Orderly stop: nobody is left without an answer.
#[test]
fn closing_answers_everybody() {
    on_one_shard(16, |home| async move {
        let slow = Duration::from_secs(3);
        home.disk(DiskOptions { latency: slow..slow * 2, ..DiskOptions::default() });
        let append = home.start_append(Acks::All, 60_000, batch_of(1));
        let read = spawn("read", home.read_waiting(0, 60_000, 1, None));
        sleep(Duration::from_millis(1)).await;
        home.shard.close();
        assert_eq!(append.await.error(), ErrorCode::NotLeaderOrFollower);
        assert_eq!(read.await.unwrap().error, ErrorCode::NotLeaderOrFollower);
        assert_eq!(home.start_append(Acks::All, 0, batch_of(1)).await.error(), ErrorCode::NotLeaderOrFollower);
    });
}

/// Producers, consumers and crashes at random, against what a list of acknowledged records says: nothing acknowledged is lost, nothing is
/// stored twice, offsets have no gaps, what a reader has seen stays.
#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    for seed in 0..16 {
        let mut machine = kit::Machine::new(1_000 + seed);
        let story = kit::Story::default();
        for life in 0..4 {
            let told = story.clone();
            machine.run_until_crash(move |home: Home| kit::random_life(home, told, seed * 10 + life));
        }
        let told = story.clone();
        machine.run(move |home| async move { told.check(&home).await });
        assert!(story.acknowledged() > 0, "seed {seed}: the test tested nothing");
    }
}
