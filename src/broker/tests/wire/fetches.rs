//! Fetch: what is returned, how much of it, when; and sessions.

use crate::kit::{Wire, batch, decode, with_broker};
use ringlane_protocol::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use ringlane_protocol::{ErrorCode, TopicId};
use ringlane_runtime::{now, sleep, spawn};
use std::time::Duration;

const LATEST: i16 = 18;

fn partition(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        ..Default::default()
    }
}

fn request(topic_id: TopicId, partitions: Vec<FetchPartition>) -> FetchRequest<'static> {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic: "", topic_id, partitions }],
        ..Default::default()
    }
}

/// Partition, bytes of records.
fn sizes(response: &FetchResponse<'_>) -> Vec<(i32, usize)> {
    let size = |data: &PartitionData<'_>| (data.partition_index, data.records.unwrap_or_default().len());
    response.responses.iter().flat_map(|topic| &topic.partitions).map(size).collect()
}

/// What was produced comes back byte for byte but for offset and leader epoch, from whichever shard it lives on.
#[test]
fn records_come_back_from_every_shard() {
    with_broker(4, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 8).await;
        let sent = batch(3, 100);
        for partition in 0..8 {
            assert_eq!(client.produce("orders", partition, -1, &sent).await, (ErrorCode::None, 0));
        }
        let body = client.call(LATEST, &request(id, (0..8).map(|index| partition(index, 0)).collect())).await;
        let response = decode::<FetchResponse>(&body, LATEST);
        let partitions = &response.responses[0].partitions;
        assert_eq!(partitions.iter().map(|data| data.partition_index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        for data in partitions {
            let records = data.records.expect("records, never null");
            assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (ErrorCode::None, 3, 0));
            assert_eq!(records[16..], sent[16..]);
        }
    });
}

/// Consumers sit in long polls; each must wake for the first record, wherever it is appended, and not by polling.
#[test]
fn a_waiting_fetch_wakes_for_the_first_record() {
    with_broker(4, &[], || async {
        let mut consumer = Wire::connect().await;
        let id = consumer.create_topic("orders", 8).await;
        let fetch = FetchRequest { max_wait_ms: 60_000, ..request(id, (0..8).map(|at| partition(at, 0)).collect()) };
        for index in 0..8 {
            let began = now();
            let producing = spawn("producer", async move {
                sleep(Duration::from_millis(300)).await;
                Wire::connect().await.produce("orders", index, -1, &batch(1, 100)).await
            });
            let mut fetch = fetch.clone();
            fetch.topics[0].partitions.iter_mut().take(index as usize).for_each(|known| known.fetch_offset = 1);
            let body = consumer.call(LATEST, &fetch).await;
            let found = sizes(&decode::<FetchResponse>(&body, LATEST));
            assert_eq!(found.iter().filter(|(_, bytes)| *bytes > 0).map(|(at, _)| *at).collect::<Vec<_>>(), [index]);
            assert!(began.elapsed() < Duration::from_secs(2), "woken, not timed out: {:?}", began.elapsed());
            assert_eq!(producing.await.expect("the producer runs").0, ErrorCode::None);
        }
    });
}

/// `min.bytes` is met by all partitions together, on whichever shards they are; without enough, `max.wait` ends the wait.
#[test]
fn min_bytes_counts_over_all_shards() {
    with_broker(4, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 4).await;
        let one = batch(1, 1000);
        for partition in 0..4 {
            client.produce("orders", partition, -1, &one).await;
        }
        let all = || (0..4).map(|index| partition(index, 0)).collect();
        for (min_bytes, must_wait) in [(4 * one.len(), false), (4 * one.len() + 1, true)] {
            let began = now();
            let fetch = FetchRequest { min_bytes: min_bytes as i32, max_wait_ms: 3000, ..request(id, all()) };
            let body = client.call(LATEST, &fetch).await;
            let found = sizes(&decode::<FetchResponse>(&body, LATEST));
            assert_eq!(found.iter().map(|(_, bytes)| bytes).sum::<usize>(), 4 * one.len());
            assert_eq!(began.elapsed() >= Duration::from_secs(3), must_wait, "min_bytes {min_bytes}");
        }
    });
}

/// A batch larger than every limit must still come, alone, or its consumer is stuck (KIP-74).
#[test]
fn limits_bind_all_but_the_first_batch() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 4).await;
        let large = batch(1, 50_000);
        for partition in 0..4 {
            client.produce("orders", partition, -1, &large).await;
            client.produce("orders", partition, -1, &large).await;
        }
        let all = || (0..4).map(|index| FetchPartition { partition_max_bytes: 10, ..partition(index, 0) }).collect();
        let body = client.call(LATEST, &FetchRequest { max_bytes: 10, ..request(id, all()) }).await;
        let found = sizes(&decode::<FetchResponse>(&body, LATEST));
        assert_eq!(found, [(0, large.len()), (1, 0), (2, 0), (3, 0)]);

        let all = || (0..4).map(|index| partition(index, 0)).collect();
        let two_and_a_half = large.len() as i32 * 5 / 2;
        let body = client.call(LATEST, &FetchRequest { max_bytes: two_and_a_half, ..request(id, all()) }).await;
        let total: usize = sizes(&decode::<FetchResponse>(&body, LATEST)).iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(total, 2 * large.len());
    });
}

/// Each partition's trouble is its own, and trouble is answered at once.
#[test]
fn errors_are_per_partition_and_do_not_wait() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 2).await;
        client.produce("orders", 0, -1, &batch(2, 10)).await;
        let began = now();
        let fenced = FetchPartition { current_leader_epoch: 99, ..partition(1, 0) };
        let wanted = vec![partition(0, 3), partition(7, 0), fenced];
        let mut fetch = FetchRequest { max_wait_ms: 30_000, ..request(id, wanted) };
        fetch.topics.push(FetchTopic { topic: "", topic_id: TopicId([3; 16]), partitions: vec![partition(0, 0)] });
        let body = client.call(LATEST, &fetch).await;
        let response = decode::<FetchResponse>(&body, LATEST);
        let errors: Vec<ErrorCode> =
            response.responses.iter().flat_map(|topic| &topic.partitions).map(|data| data.error_code).collect();
        let expected = [
            ErrorCode::OffsetOutOfRange,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownLeaderEpoch,
            ErrorCode::UnknownTopicId,
        ];
        assert_eq!(errors, expected);
        assert!(began.elapsed() < Duration::from_secs(5));
    });
}

/// A consumer of many partitions names them once; then only what has news travels (KIP-227).
#[test]
fn a_session_sends_only_news() {
    with_broker(4, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 4).await;
        let quick = |session_id, session_epoch, topics| FetchRequest {
            max_wait_ms: 0,
            session_id,
            session_epoch,
            topics,
            ..request(id, Vec::new())
        };
        let all = request(id, (0..4).map(|index| partition(index, 0)).collect()).topics;
        let body = client.call(LATEST, &quick(0, 0, all)).await;
        let response = decode::<FetchResponse>(&body, LATEST);
        let session = response.session_id;
        assert!(session > 0);
        assert_eq!(sizes(&response).len(), 4, "a full fetch answers every partition");

        let body = client.call(LATEST, &quick(session, 1, vec![])).await;
        assert_eq!(sizes(&decode::<FetchResponse>(&body, LATEST)), []);

        let records = batch(1, 10);
        client.produce("orders", 2, -1, &records).await;
        let body = client.call(LATEST, &quick(session, 2, vec![])).await;
        assert_eq!(sizes(&decode::<FetchResponse>(&body, LATEST)), [(2, records.len())]);

        for (session_id, epoch, expected) in
            [(session, 7, ErrorCode::InvalidFetchSessionEpoch), (session + 4, 3, ErrorCode::FetchSessionIdNotFound)]
        {
            let body = client.call(LATEST, &quick(session_id, epoch, vec![])).await;
            let response = decode::<FetchResponse>(&body, LATEST);
            assert_eq!((response.error_code, response.responses.len()), (expected, 0));
        }
        client.call(LATEST, &quick(session, -1, vec![])).await;
        let body = client.call(LATEST, &quick(session, 3, vec![])).await;
        assert_eq!(decode::<FetchResponse>(&body, LATEST).error_code, ErrorCode::FetchSessionIdNotFound);
    });
}

/// Clients that ask for megabytes and read nothing hold memory that others need: they must not get all of it, and not for ever.
#[test]
fn clients_that_do_not_read_do_not_starve_those_that_do() {
    with_broker(1, &[("memory.shard.bytes", "67108864")], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 4).await;
        for partition in 0..4 {
            client.produce("orders", partition, -1, &batch(1, 900_000)).await;
            client.produce("orders", partition, -1, &batch(1, 900_000)).await;
        }
        let everything = || {
            request(id, (0..4).map(|at| FetchPartition { partition_max_bytes: 2 << 20, ..partition(at, 0) }).collect())
        };
        let mut greedy = Vec::new();
        for _ in 0..8 {
            let mut connection = Wire::connect().await;
            connection.request(LATEST, &everything()).await;
            greedy.push(connection);
        }
        for _ in 0..5 {
            let body = client.call(LATEST, &everything()).await;
            let read: usize = sizes(&decode::<FetchResponse>(&body, LATEST)).iter().map(|(_, bytes)| bytes).sum();
            assert!(read >= 900_000, "at least one batch comes, whatever others hold: {read}");
        }
    });
}

/// A batch that is too large for its turn counts towards `min_bytes` but does not go out. A fetch that looked at what it got, and asked the
/// same shard again for the rest, was answered at once, again and again: a core burnt until `max_wait_ms` was over.
#[test]
fn a_fetch_does_not_spin_on_a_batch_that_does_not_fit() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 2).await;
        assert_eq!(client.produce("orders", 0, -1, &batch(1, 10)).await.0, ErrorCode::None);
        assert_eq!(client.produce("orders", 1, -1, &batch(1, 5_000)).await.0, ErrorCode::None);
        let small = |index| FetchPartition { partition_max_bytes: 1_000, ..partition(index, 0) };
        let fetch = FetchRequest { max_wait_ms: 60_000, min_bytes: 1_000, ..request(id, vec![small(0), small(1)]) };

        let began = now();
        let body = client.call(LATEST, &fetch).await;

        let found = sizes(&decode::<FetchResponse>(&body, LATEST));
        assert!(found[0].1 > 0 && found[1].1 == 0, "{found:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    });
}
