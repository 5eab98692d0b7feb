//! Produce requests whose frame is sound and whose content is not: the partition is answered, the connection stays.

use crate::kit::{Wire, batch, decode, produce_request, with_broker};
use ringlane_protocol::ErrorCode;
use ringlane_protocol::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringlane_protocol::records::{BatchBuilder, Compression};

/// Sets bytes and makes the CRC right again, so that the check behind it is reached.
fn tampered(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch(3, 10);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// Damaged or dishonest batches would be stored for every consumer to choke on.
#[test]
fn bad_batches_are_answered_per_partition() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        let mut wrong_crc = batch(3, 10);
        wrong_crc[17] ^= 1;
        let cut = &batch(3, 10)[..70];
        let two = [batch(1, 10), batch(1, 10)].concat();
        for (what, records, expected) in [
            ("a wrong CRC", &wrong_crc[..], ErrorCode::CorruptMessage),
            ("no batch", b"", ErrorCode::InvalidRecord),
            ("half a batch", cut, ErrorCode::InvalidRecord),
            ("two batches", &two, ErrorCode::InvalidRecord),
            ("magic 1", &tampered(16, &[1]), ErrorCode::InvalidRecord),
            ("a base offset", &tampered(0, &5i64.to_be_bytes()), ErrorCode::InvalidRecord),
            ("a count beyond the records", &tampered(57, &9i32.to_be_bytes()), ErrorCode::InvalidRecord),
            ("a negative count", &tampered(57, &(-1i32).to_be_bytes()), ErrorCode::InvalidRecord),
            ("a last offset that contradicts the count", &tampered(23, &7i32.to_be_bytes()), ErrorCode::InvalidRecord),
            ("a control batch", &tampered(21, &[0, 0x20]), ErrorCode::InvalidRecord),
            ("a producer without a sequence", &tampered(43, &[0, 0, 0, 0, 0, 0, 0, 9]), ErrorCode::InvalidRecord),
        ] {
            let (error, base_offset) = client.produce("orders", 0, -1, records).await;
            assert_eq!((error, base_offset), (expected, -1), "{what}");
        }
        let (error, base_offset) = client.produce("orders", 0, -1, &batch(3, 10)).await;
        assert_eq!((error, base_offset), (ErrorCode::None, 0), "nothing of the bad ones was stored");
    });
}

/// 50 KB that unpack to 50 MB: whoever unpacks what a client sends must have a bound.
#[test]
fn a_decompression_bomb_is_refused_or_stored_packed() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        let mut bomb = BatchBuilder::new(Compression::Gzip);
        bomb.push(1_767_225_600_000, None, Some(&vec![0; 50 << 20]), &[]);
        let (error, _) = client.produce("orders", 0, -1, &bomb.finish().expect("a batch")).await;
        assert!(matches!(error, ErrorCode::None | ErrorCode::InvalidRecord), "{error}");
        client.assert_served().await;
    });
}

/// Each wrong partition has an answer of its own; the right one beside it is stored.
#[test]
fn one_bad_partition_does_not_spoil_the_others() {
    with_broker(4, &[], || async {
        let mut client = Wire::connect().await;
        let id = client.create_topic("orders", 4).await;
        let good = batch(2, 10);
        let partition = |index| PartitionProduceData { index, records: Some(&good) };
        let by_name = |name, partition_data| TopicProduceData { name, partition_data, ..Default::default() };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![
                by_name("orders", vec![partition(0), partition(9), partition(3)]),
                by_name("nothing", vec![partition(0)]),
            ],
            ..Default::default()
        };
        let body = client.call(9, &request).await;
        let response = decode::<ProduceResponse>(&body, 9);
        let errors = |topic: usize| -> Vec<ErrorCode> {
            response.responses[topic].partition_responses.iter().map(|partition| partition.error_code).collect()
        };
        assert_eq!(errors(0), [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::None]);
        assert_eq!(errors(1), [ErrorCode::UnknownTopicOrPartition]);

        let by_id = |topic_id, partition_data| TopicProduceData { topic_id, partition_data, ..Default::default() };
        let unknown = ringlane_protocol::TopicId([9; 16]);
        let topic_data = vec![by_id(id, vec![partition(1)]), by_id(unknown, vec![partition(0)])];
        let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data, ..Default::default() };
        let body = client.call(13, &request).await;
        let response = decode::<ProduceResponse>(&body, 13);
        assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::None);
        assert_eq!(response.responses[1].partition_responses[0].error_code, ErrorCode::UnknownTopicId);

        let (error, _) = client.produce("orders", 0, 2, &good).await;
        assert_eq!(error, ErrorCode::InvalidRequiredAcks);
    });
}

/// With acks=0 nothing is answered, so a close is the only way to tell the producer; when all is well it hears nothing at all.
#[test]
fn an_unacknowledged_failure_closes_the_connection() {
    with_broker(2, &[], || async {
        let mut client = Wire::connect().await;
        client.create_topic("orders", 1).await;
        client.request(9, &produce_request("orders", 0, 0, &batch(1, 10))).await;
        client.assert_served().await;
        let mut wrong_crc = batch(1, 10);
        wrong_crc[17] ^= 1;
        client.request(9, &produce_request("orders", 0, 0, &wrong_crc)).await;
        assert!(client.is_closed().await);

        let mut other = Wire::connect().await;
        let (error, base_offset) = other.produce("orders", 0, 1, &batch(1, 10)).await;
        assert_eq!((error, base_offset), (ErrorCode::None, 1));
    });
}
