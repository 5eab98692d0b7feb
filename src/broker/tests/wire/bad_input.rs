//! What a stranger may send to the port. Each is closed or answered as Kafka does, and nobody else notices.

use crate::kit::{Wire, decode, frame, with_broker};
use ringlane_protocol::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ringlane_protocol::metadata::MetadataResponse;
use ringlane_protocol::{ApiKey, ErrorCode};
use ringlane_runtime::sleep;
use std::time::Duration;

const METADATA: i16 = ApiKey::Metadata as i16;
const PRODUCE: i16 = ApiKey::Produce as i16;
const API_VERSIONS: i16 = ApiKey::ApiVersions as i16;

/// Sends `bytes` on a connection of its own and expects a close, while `witness` goes on being served.
async fn assert_closes(what: &str, bytes: &[u8], witness: &mut Wire) {
    let stranger = Wire::connect().await;
    stranger.send(bytes).await;
    assert!(stranger.is_closed().await, "{what}: answered instead of closed");
    witness.assert_served().await;
}

/// The first four bytes of TLS and HTTP read as 369 MB and 1.2 GB: whoever trusts them waits for ever, or takes that much memory.
#[test]
fn frames_of_impossible_sizes_are_closed() {
    with_broker(2, &[], || async {
        let mut witness = Wire::connect().await;
        for (what, bytes) in [
            ("a TLS handshake", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..]),
            ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("a negative size", b"\xff\xff\xff\xff"),
            ("the smallest size", b"\x80\x00\x00\x00"),
            ("the largest size", b"\x7f\xff\xff\xff"),
            ("one byte more than socket.request.max.bytes", &(104_857_601i32.to_be_bytes())),
            ("more than 512 KiB before the first request", &(524_289i32.to_be_bytes())),
            ("an empty frame", b"\0\0\0\0"),
            ("half a header", b"\0\0\0\x04\0\x03\0\x09"),
        ] {
            assert_closes(what, bytes, &mut witness).await;
        }
    });
}

/// After its first valid request a client may send what `socket.request.max.bytes` allows.
#[test]
fn a_known_client_may_send_large_frames() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        client.assert_served().await;
        // Trailing bytes are ignored, as Kafka does: three megabytes of them cross the step in which large bodies grow.
        let body = [&[1][..], &vec![0; 3 << 20]].concat();
        client.send_frame(METADATA, 9, 77, &[&body[..], &[0; 4]].concat()).await;
        let answer = client.receive().await.expect("an answer");
        assert_eq!(answer[..4], 77i32.to_be_bytes());
        client.assert_served().await;
    });
}

/// Kafka has no answer for what it does not know; a client that got one would take it for something else.
#[test]
fn unknown_apis_and_versions_are_closed() {
    with_broker(2, &[], || async {
        let mut witness = Wire::connect().await;
        for (key, version) in [
            (-1, 0),
            (1000, 0),
            (i16::MAX, 0),
            // Removed in Kafka 4: LeaderAndIsr and its like.
            (4, 0),
            (7, 3),
            // For controllers.
            (52, 0),
            (62, 0),
            // Not served yet.
            (17, 1),
            (METADATA, 14),
            (METADATA, -1),
            (1, 3),
            (1, 19),
            (PRODUCE, 14),
            // Advertised for old librdkafka, and still refused (KAFKA-18659).
            (PRODUCE, 0),
            (PRODUCE, 2),
        ] {
            assert_closes(&format!("key {key} version {version}"), &frame(key, version, 1, &[0; 64]), &mut witness)
                .await;
        }
    });
}

/// The one exception: a client of the future must learn which versions there are, in the form that every client reads (KIP-511).
#[test]
fn an_api_versions_request_of_the_future_is_told_the_range() {
    with_broker(1, &[], || async {
        let mut client = Wire::connect().await;
        client.send_frame(API_VERSIONS, 99, 5, b"\xff\xff what will they think of").await;
        let answer = client.receive().await.expect("an answer, not a close");
        assert_eq!(answer[..4], 5i32.to_be_bytes());
        let response = decode::<ApiVersionsResponse>(&answer[4..], 0);
        assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
        let [own] = &response.api_keys[..] else { panic!("only its own range: {:?}", response.api_keys) };
        assert_eq!((own.api_key, own.min_version, own.max_version), (18, 0, 5));

        let request = ApiVersionsRequest {
            client_software_name: "not a name!",
            client_software_version: "1",
            node_id: -1,
            ..Default::default()
        };
        let body = client.call(4, &request).await;
        assert_eq!(decode::<ApiVersionsResponse>(&body, 4).error_code, ErrorCode::InvalidRequest);
        client.assert_served().await;
    });
}

/// Bodies cut short, and counts that promise what is not there: refused before anything is allocated for them.
#[test]
fn bodies_that_do_not_parse_are_closed() {
    with_broker(2, &[], || async {
        let mut witness = Wire::connect().await;
        let served = [0, 1, 2, 3, 10, 19, 20, 22, 23, 32, 37, 60, 75];
        for key in served {
            let api = ApiKey::from_i16(key).expect("a key");
            for version in [api.versions().min, api.versions().max] {
                if (key, version) != (METADATA, 0) || version > 0 {
                    assert_closes(
                        &format!("{api} v{version} without a body"),
                        &frame(key, version, 1, &[]),
                        &mut witness,
                    )
                    .await;
                }
            }
        }
        // Two billion topics in seven bytes; an array of -2; a name of 32767 bytes in a frame of ten; a name that is not UTF-8.
        for (what, version, body) in [
            ("a count beyond the frame", 8, &b"\x7f\xff\xff\xff\0\0\0"[..]),
            ("a compact count beyond the frame", 12, b"\xff\xff\xff\xff\x0f\0\0"),
            ("a count of -2", 8, b"\xff\xff\xff\xfe\0\0\0"),
            ("a name beyond the frame", 8, b"\0\0\0\x01\x7f\xffabcdef"),
            ("a name that is no text", 8, b"\0\0\0\x01\0\x02\xff\xfe\0\0\0"),
            ("a varint without end", 12, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ] {
            assert_closes(what, &frame(METADATA, version, 1, body), &mut witness).await;
        }
    });
}

/// A client that dribbles its request, or never finishes it, must not hold a connection for ever.
#[test]
fn slow_and_silent_clients_are_closed() {
    with_broker(1, &[("connections.max.idle.ms", "20000")], || async {
        let silent = Wire::connect().await;
        let mut busy = Wire::connect().await;
        let dribbling = Wire::connect().await;
        dribbling.send(&100_000i32.to_be_bytes()).await;
        let mut sent = 0;
        while dribbling.send(b"x").await {
            sleep(Duration::from_secs(1)).await;
            busy.assert_served().await;
            sent += 1;
            assert!(sent < 200, "a body of 100 KB takes a minute at the slowest that is allowed");
        }
        assert!(silent.is_closed().await);
        busy.assert_served().await;
    });
}

/// Thousands of requests without reading one answer: the broker stops reading them, others go on, and whoever reads at last gets all
/// answers in order.
#[test]
fn a_client_that_does_not_read_stops_itself() {
    const REQUESTS: i32 = 5000;
    with_broker(2, &[], || async {
        let mut witness = Wire::connect().await;
        witness.create_topic("wide", 100).await;
        let greedy = std::rc::Rc::new(Wire::connect().await);
        let sending = greedy.clone();
        let sender = ringlane_runtime::spawn("greedy", async move {
            for id in 0..REQUESTS {
                // All topics, a few kilobytes of answer.
                assert!(sending.send_frame(METADATA, 1, id, b"\xff\xff\xff\xff").await);
            }
        });
        sleep(Duration::from_secs(5)).await;
        witness.assert_served().await;
        for id in 0..REQUESTS {
            let answer = greedy.receive().await.expect("every answer comes");
            assert_eq!(answer[..4], id.to_be_bytes(), "in order");
            decode::<MetadataResponse>(&answer[4..], 1);
        }
        sender.await.expect("all was sent");
    });
}

/// Reconnecting fleets open thousands of connections at once; each must be served.
#[test]
fn thousands_of_connections_are_served() {
    with_broker(4, &[], || async {
        let mut all = Vec::new();
        for _ in 0..2000 {
            all.push(Wire::connect().await);
        }
        for connection in &mut all {
            connection.assert_served().await;
        }
    });
}

/// `max.connections` holds the rest back until someone leaves; `max.connections.per.ip` sends them away.
#[test]
fn connection_limits_hold() {
    with_broker(2, &[("max.connections", "3")], || async {
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut connection = Wire::connect().await;
            connection.assert_served().await;
            open.push(connection);
        }
        let waiting = Wire::connect().await;
        waiting.send_frame(METADATA, 1, 9, b"\xff\xff\xff\xff").await;
        assert!(waiting.is_silent_for(Duration::from_secs(5)).await);
        open.pop();
        assert!(waiting.receive().await.is_some());
    });
    with_broker(2, &[("max.connections.per.ip", "2")], || async {
        let (mut first, mut second) = (Wire::connect().await, Wire::connect().await);
        first.assert_served().await;
        second.assert_served().await;
        assert!(Wire::connect().await.is_closed().await);
        drop(second);
        sleep(Duration::from_secs(1)).await;
        Wire::connect().await.assert_served().await;
    });
}
