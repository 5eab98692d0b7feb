//! Pipelining: whatever takes how long, answers leave in the order of their requests, and records stand in the order in which they were sent.

use crate::kit::{Wire, batch, decode, produce_request, with_broker};
use ringlane_protocol::fetch::FetchRequest;
use ringlane_protocol::metadata::MetadataRequest;
use ringlane_protocol::produce::{ProduceRequest, ProduceResponse};
use ringlane_runtime::now;
use std::time::Duration;

/// Java clients keep five requests in flight and count on their order; partitions on four shards answer at four different times.
#[test]
fn pipelined_produce_requests_keep_their_order() {
    const REQUESTS: i64 = 300;
    const PARTITIONS: i32 = 8;
    with_broker(4, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", PARTITIONS).await;
        let records = batch(1, 100);
        let mut ids = Vec::new();
        for number in 0..REQUESTS {
            let partition = (number % i64::from(PARTITIONS)) as i32;
            ids.push(client.request(9, &produce_request("orders", partition, -1, &records)).await);
        }
        for (number, id) in (0..).zip(ids) {
            let body = client.answer::<ProduceRequest>(9, id).await;
            let response = decode::<ProduceResponse>(&body, 9);
            let base_offset = response.responses[0].partition_responses[0].base_offset;
            assert_eq!(base_offset, number / i64::from(PARTITIONS), "request {number}");
        }
    });
}

/// An answer that is ready must wait for the long poll before it: librdkafka and kafka-python send others behind a fetch.
#[test]
fn a_waiting_fetch_holds_the_answers_behind_it() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        let began = now();
        let partition = ringlane_protocol::fetch::FetchPartition { partition_max_bytes: 1000, ..Default::default() };
        let topic =
            ringlane_protocol::fetch::FetchTopic { topic: "orders", partitions: vec![partition], ..Default::default() };
        let fetch = FetchRequest { max_wait_ms: 700, min_bytes: 1, topics: vec![topic], ..Default::default() };
        let waiting = client.request(11, &fetch).await;
        let behind = client.request(9, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() }).await;
        client.answer::<FetchRequest>(11, waiting).await;
        assert!(began.elapsed() >= Duration::from_millis(700));
        client.answer::<MetadataRequest>(9, behind).await;
    });
}
