//! Real Kafka clients, as their projects publish them, and our own commands against the built broker: what they produce must come back
//! byte for byte.
//!
//! Each test starts a broker of its own on a free port and an empty directory. The clients are fetched by `scripts/clients` into
//! `target/clients`, the first time a test asks for them.

mod commands;
mod logs;
mod support;

use support::{Broker, Client};

/// librdkafka is below kcat and the clients of a dozen languages: a codec or an acks that it cannot use is an outage for all of them.
#[test]
fn librdkafka_reads_back_what_it_wrote_with_every_codec_and_acks() {
    let broker = Broker::start(&[]);
    Client::Python.run("librdkafka.py", &[broker.address()]);
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
        java(topics, &["--create", "--topic", "orders", "--partitions", "2", "--config", "retention.ms=3600000"], "");
    assert!(created.contains("Created topic orders."), "{created}");
    let described = java(topics, &["--describe", "--topic", "orders"], "");
    for expected in [
        "PartitionCount: 2",
        "ReplicationFactor: 1",
        "retention.ms=3600000",
        "Partition: 1\tLeader: 1\tReplicas: 1\tIsr: 1",
    ] {
        assert!(described.contains(expected), "{expected:?} is not in {described}");
    }

    let lines: String = (0..50).map(|i| format!("trace:{i},span:x\tkey-{i}\tvalue {i} grüße\n")).collect();
    let keyed = ["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"];
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
    let mut read = String::new();
    for partition in ["0", "1"] {
        let from = ["--topic", "orders", "--partition", partition, "--offset", "earliest", "--timeout-ms", "4000"];
        let shown = ["--formatter-property", "print.key=true", "--formatter-property", "print.headers=true"];
        read.push_str(&java(consume, &[&from[..], &shown].concat(), ""));
    }
    let mut got: Vec<&str> = read.lines().filter(|line| line.starts_with("trace:")).collect();
    let mut expected: Vec<&str> = std::iter::repeat_n(lines.lines(), 5).flatten().collect();
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);

    assert_eq!(java(topics, &["--list"], "").trim(), "orders");
    java(topics, &["--delete", "--topic", "orders"], "");
    assert_eq!(java(topics, &["--list"], "").trim(), "");
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
