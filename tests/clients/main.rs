//! Real Kafka clients, as their projects publish them, and our own commands against the built broker: what they produce must come back
//! byte for byte.
//!
//! Each test starts a broker of its own on a free port and an empty directory. The clients are fetched by `scripts/clients` into
//! `target/clients`, the first time a test asks for them.

mod commands;
mod consumer_groups;
mod groups;
mod logs;
mod ours;
mod share_groups;
mod support;
mod transactions;

use commands::RINGLANE;
use support::{Broker, Client, end_of, now_millis};

/// librdkafka is below kcat and the clients of a dozen languages: a codec or an acks that it cannot use is an outage for all of them.
#[test]
fn librdkafka_reads_back_what_it_wrote_with_every_codec_and_acks() {
    let broker = Broker::start(&[]);
    Client::Python.run("librdkafka.py", &[broker.address()]);
}

/// kcat is what people reach for when something is wrong: the headers and timestamps that it shows are taken for the truth.
#[test]
fn kcat_reads_back_what_it_wrote_and_what_librdkafka_wrote() {
    let broker = Broker::start(&["-o", "num.partitions=3"]);
    Client::Kcat.run("kcat.py", &[broker.address()]);
}

/// kafka-python checks sizes and checksums in its own way, and seeks by time; what one library writes the other must read.
#[test]
fn kafka_python_and_librdkafka_read_each_other() {
    let broker = Broker::start(&[]);
    Client::Python.run("kafka_python.py", &[broker.address()]);
}

/// franz-go uses the newest versions of every API and is strict about each byte.
#[test]
fn franz_go_reads_back_what_it_wrote() {
    let broker = Broker::start(&[]);
    for (codec, acks) in
        [("none", "0"), ("gzip", "1"), ("snappy", "all"), ("lz4", "idempotent"), ("zstd", "idempotent")]
    {
        Client::Go.run("franz", &[broker.address(), &format!("franz-{codec}-{acks}"), codec, acks]);
    }
}

/// Kafka's own tools are what every runbook names: their output is parsed by scripts.
#[test]
fn kafkas_own_tools_create_describe_produce_and_consume() {
    let broker = Broker::start(&[]);
    let java = |tool: &str, arguments: &[&str], input: &str| {
        let at = ["--bootstrap-server", broker.address()];
        Client::Java.run_with_input(tool, &[&at[..], arguments].concat(), input)
    };
    let (topics, produce, consume) = ("TopicCommand", "ConsoleProducer", "consumer.ConsoleConsumer");

    let created =
        java(topics, &["--create", "--topic", "orders", "--partitions", "3", "--config", "retention.ms=3600000"], "");
    assert!(created.contains("Created topic orders."), "{created}");
    let described = java(topics, &["--describe", "--topic", "orders"], "");
    for expected in [
        "PartitionCount: 3",
        "ReplicationFactor: 1",
        "retention.ms=3600000",
        "Partition: 1\tLeader: 1\tReplicas: 1\tIsr: 1",
    ] {
        assert!(described.contains(expected), "{expected:?} is not in {described}");
    }

    let lines: String = (0..50).map(|i| format!("trace:{i},span:x\tkey-{i}\tvalue {i} grüße\n")).collect();
    let keyed = ["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"];
    let before = now_millis();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let acks = if codec == "none" { "1" } else { "all" };
        let property = format!("acks={acks}");
        java(
            produce,
            &[&["--topic", "orders", "--compression-codec", codec, "--command-property", &property], &keyed[..]]
                .concat(),
            &lines,
        );
    }
    let after = now_millis();
    // The console producer stamps its records itself; these have timestamps that somebody chose.
    let dated: String = (0..50)
        .map(|i| format!("CreateTime:{}\ttrace:{i},span:y\tdated-{i}\tvalue {i}\n", 1_700_000_000_000_i64 + i * 7))
        .collect();
    Client::Python.run_with_input("lines.py", &[broker.address(), "produce", "orders"], &dated);

    let mut read = String::new();
    for partition in ["0", "1", "2"] {
        let from = ["--topic", "orders", "--partition", partition, "--offset", "earliest", "--timeout-ms", "4000"];
        let shown = ["timestamp", "partition", "offset", "headers", "key"].map(|part| format!("print.{part}=true"));
        let shown = shown.iter().flat_map(|property| ["--formatter-property", property]).collect::<Vec<_>>();
        read.push_str(&java(consume, &[&from[..], &shown].concat(), ""));
    }
    let read = sorted(read.lines().filter(|line| line.starts_with("CreateTime:")));
    let library = Client::Python.run("lines.py", &[broker.address(), "consume", "orders", "300"]);
    assert_eq!(read, sorted(library.lines()), "librdkafka reads something else");

    // CreateTime:T, Partition:P, Offset:O, and the line that was sent.
    let parts = read.iter().map(|line| {
        let mut parts = line.splitn(4, '\t');
        (parts.next().expect("a time"), parts.nth(2).expect("headers, key and value"))
    });
    let (chosen, stamped): (Vec<_>, Vec<_>) = parts.partition(|(_, sent)| sent.contains("\tdated-"));
    let chosen: Vec<String> = chosen.into_iter().map(|(time, sent)| format!("{time}\t{sent}")).collect();
    assert_eq!(sorted(chosen.iter().map(String::as_str)), sorted(dated.lines()));
    for (time, sent) in &stamped {
        let millis: i64 = time["CreateTime:".len()..].parse().expect("milliseconds");
        assert!((before..=after).contains(&millis), "{sent:?} was not sent at {millis}");
    }
    let expected = std::iter::repeat_n(lines.lines(), 5).flatten();
    assert_eq!(sorted(stamped.iter().map(|(_, sent)| *sent)), sorted(expected));

    assert_eq!(java(topics, &["--list", "--exclude-internal"], "").trim(), "orders");
    java(topics, &["--delete", "--topic", "orders"], "");
    assert_eq!(java(topics, &["--list", "--exclude-internal"], "").trim(), "");
}

/// Purging a topic and looking at its size on disk are in every runbook, and both tools parse what the broker says.
#[test]
fn kafkas_own_tools_delete_records_and_describe_log_dirs() {
    let broker = Broker::start(&[]);
    let java = |tool: &str, arguments: &[&str]| {
        let at = ["--bootstrap-server", broker.address()];
        Client::Java.run(tool, &[&at[..], arguments].concat())
    };
    java("TopicCommand", &["--create", "--topic", "orders", "--partitions", "3"]);
    let lines: String = (0..20).map(|i| format!("value {i}\n")).collect();
    let run = ["produce", "orders", "--partition", "1", "--brokers", broker.address()];
    assert_eq!(end_of(RINGLANE, &run, &lines).code, Some(0));

    let offsets = std::env::temp_dir().join(format!("offsets-{}.json", broker.address().replace(':', "-")));
    let wanted = r#"{"version": 1, "partitions": [{"topic": "orders", "partition": 1, "offset": 7},
        {"topic": "orders", "partition": 0, "offset": -1}, {"topic": "orders", "partition": 2, "offset": 5}]}"#;
    support::write_file(&offsets, wanted);
    let deleted = java("DeleteRecordsCommand", &["--offset-json-file", offsets.to_str().unwrap()]);
    support::remove_file(&offsets);
    for expected in ["orders-1\tlow_watermark: 7", "orders-0\tlow_watermark: 0", "orders-2\terror: "] {
        assert!(deleted.contains(expected), "{expected:?} is not in {deleted}");
    }

    let described = java("LogDirsCommand", &["--describe", "--topic-list", "orders"]);
    let data = std::fs::canonicalize(broker.data()).unwrap();
    for expected in [r#""broker":1"#, &format!(r#""logDir":"{}""#, data.display()), r#""partition":"orders-1""#] {
        assert!(described.contains(expected), "{expected:?} is not in {described}");
    }
    assert!(!described.contains(r#""error":""#), "{described}");
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines
}

/// An orderly restart must neither lose a record nor move an offset, whoever reads afterwards.
#[test]
fn records_survive_a_restart() {
    let broker = Broker::start(&[]);
    Client::Python.run("librdkafka.py", &[broker.address(), "lz4"]);
    let broker = broker.restart();
    let check = "import sys, librdkafka, shapes\n\
                 for mode in librdkafka.MODES:\n    topic = f'librdkafka-lz4-{mode}'\n    \
                 shapes.compare(librdkafka.consume(sys.argv[1], topic), topic)";
    Client::Python.run("-c", &[check, broker.address()]);
}
