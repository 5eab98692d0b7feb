//! Stories about the tables and what users write into them.

use std::collections::BTreeSet;

use crate::*;

fn build(properties: &str, settings: &[&str]) -> Result<(Config, Notes), Vec<ConfigError>> {
    settings.iter().fold(Config::builder().properties(properties, "server.properties"), |b, s| b.setting(s)).build()
}

fn messages(properties: &str, settings: &[&str]) -> String {
    let errors = build(properties, settings).expect_err("this configuration is wrong");
    errors.iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}

/// Lookups and the reference page trust the order; a default that its own row refuses would end every start with a panic.
#[test]
fn rows_are_sorted_unique_and_their_defaults_valid() {
    for rows in [BROKER_ROWS, TOPIC_ROWS] {
        assert!(rows.windows(2).all(|pair| pair[0].name < pair[1].name), "sort the rows by name");
        for row in rows {
            if let Some(default) = row.default {
                row.check(default).unwrap();
            }
            assert!(row.doc.ends_with('.'), "{}: documentation is made of sentences", row.name);
        }
    }
    let broker: Vec<&str> = Config::default().describe_broker().iter().map(|described| described.name).collect();
    assert_eq!(broker.iter().collect::<BTreeSet<_>>().len(), broker.len(), "a broker key stands in two rows");
    assert_eq!(BrokerConfig::default().node_id, 1);
    assert_eq!(Config::builder().build().unwrap().0.topic_defaults, TopicConfig::default());
}

/// kafka-topics, Connect and Streams ask for keys by name: a missing one is an exception in their code. Kafka 4.4's list.
#[test]
fn every_topic_key_of_kafka_is_there() {
    let kafka = "cleanup.policy compression.gzip.level compression.lz4.level compression.type compression.zstd.level delete.retention.ms \
        errors.deadletterqueue.group.enable file.delete.delay.ms flush.messages flush.ms follower.replication.throttled.replicas \
        index.interval.bytes leader.replication.throttled.replicas local.retention.bytes local.retention.ms max.compaction.lag.ms \
        max.decompressed.message.bytes max.message.bytes message.timestamp.after.max.ms message.timestamp.before.max.ms \
        message.timestamp.type min.cleanable.dirty.ratio min.compaction.lag.ms min.insync.replicas preallocate remote.copy.lag.bytes \
        remote.copy.lag.ms remote.log.copy.disable remote.log.delete.on.disable remote.storage.enable retention.bytes retention.ms \
        segment.bytes segment.index.bytes segment.jitter.ms segment.ms unclean.leader.election.enable";
    let ours: Vec<&str> = TOPIC_ROWS.iter().map(|row| row.name).collect();
    assert_eq!(ours, kafka.split_whitespace().collect::<Vec<_>>());
}

/// The stronger source must win, or an `-o` on the command line silently does nothing.
#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let environment =
        [("RINGLANE_NUM_PARTITIONS", "2"), ("RINGLANE_NODE_ID", "2"), ("RINGLANE_PORT", "tcp://1"), ("HOME", "/root")];
    let (config, notes) = Config::builder()
        .properties("num.partitions=1\nnode.id=1\nfetch.max.bytes=2048", "file")
        .environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .setting("num.partitions=3")
        .build()
        .unwrap();
    let broker = &config.broker;
    assert_eq!((broker.num_partitions, broker.node_id, broker.fetch_max_bytes), (3, 2, 2048));
    assert_eq!(notes.unknown_variables, ["RINGLANE_PORT"]);
}

/// Kafka gives retention three names in three units; the finer one counts whatever the order in the file.
#[test]
fn broker_keys_set_topic_defaults_in_their_units() {
    let (config, _) =
        build("log.retention.hours=2\nlog.segment.bytes=2000000\nlog.flush.interval.messages=10", &[]).unwrap();
    assert_eq!(config.topic_defaults.retention_ms, 7_200_000);
    assert_eq!(config.topic_defaults.segment_bytes, 2_000_000);
    assert!(!config.topic_defaults.durable());

    let (config, _) =
        build("log.retention.ms=5\nlog.retention.hours=-1\nlog.roll.hours=1", &["log.roll.ms=7"]).unwrap();
    assert_eq!(config.topic_defaults.retention_ms, 5);
    assert_eq!(config.topic_defaults.segment_ms, 7);
}

/// A mistyped key that is dropped silently is a durability setting that its owner believes in.
#[test]
fn an_unknown_key_is_an_error_with_line_and_the_nearest_name() {
    let message = messages("node.id=1\nlog.retenton.ms=5", &["completely.unheard.of.thing=1"]);
    assert!(
        message.contains("server.properties:2: unknown key log.retenton.ms; did you mean log.retention.ms?"),
        "{message}"
    );
    assert!(message.contains("unknown key completely.unheard.of.thing") && message.lines().count() == 2, "{message}");
}

/// People bring a Kafka file of hundreds of keys: it must start, and say what has no effect, guards by name.
#[test]
fn kafkas_other_keys_are_accepted_and_named() {
    let text = "process.roles=broker,controller\nnum.io.threads=8\nssl.keystore.location=/k\nauthorizer.class.name=\ncontroller.quorum.voters=1@h:1";
    let (_, notes) = build(text, &[]).unwrap();
    assert_eq!(
        notes.ignored,
        [
            "authorizer.class.name",
            "controller.quorum.voters",
            "num.io.threads",
            "process.roles",
            "ssl.keystore.location"
        ]
    );
    assert_eq!(notes.ignored_guards, ["ssl.keystore.location"]);
}

/// All that is wrong in one run: a user who fixes one error a start gives up.
#[test]
fn every_wrong_value_is_named_with_what_is_expected() {
    let message = messages(
        "num.partitions=0\nlog.retention.hours=soon\nauto.create.topics.enable=yes\nlog.cleanup.policy=delet\nlog.segment.bytes=12\nnode.id=99999999999",
        &["oops"],
    );
    for expected in [
        "invalid value 0 for configuration num.partitions: expected at least 1",
        "invalid value soon for configuration log.retention.hours: expected a whole number",
        "invalid value yes for configuration auto.create.topics.enable: expected true or false",
        "invalid value delet for configuration log.cleanup.policy: expected delete, compact",
        "invalid value 12 for configuration log.segment.bytes: expected at least 1048576",
        "invalid value 99999999999 for configuration node.id: expected at most 2147483647",
        "-o oops: expected key=value",
    ] {
        assert!(message.contains(expected), "{expected:?} is not in\n{message}");
    }
}

/// Clients would be told to dial 0.0.0.0, or a TLS listener would answer in the clear.
#[test]
fn listeners_that_cannot_work_are_refused() {
    let cases = [
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "set advertised.listeners"),
        ("listeners=SSL://127.0.0.1:9093", "TLS and SASL are not supported"),
        ("listeners=", "listeners is empty"),
        ("listeners=PLAINTEXT://127.0.0.1", "expected NAME://HOST:PORT"),
        ("listeners=PLAINTEXT://127.0.0.1:70000", "is not a port"),
        ("advertised.listeners=OTHER://h:1", "which listeners does not have"),
        ("log.dirs=/a,/b,/a", "names /a twice"),
    ];
    for (text, expected) in cases {
        let message = messages(text, &[]);
        assert!(message.contains(expected), "{text}: {message}");
    }
    let (config, _) = build("listeners=PLAINTEXT://[::1]:9092,internal://:9093\nlog.dir=/d", &["broker.id=7"]).unwrap();
    let listeners: Vec<String> = config.broker.listeners.iter().map(Endpoint::to_string).collect();
    assert_eq!(listeners, ["PLAINTEXT://[::1]:9092", "INTERNAL://:9093"]);
    assert_eq!((config.broker.log_dirs[0].as_str(), config.broker.node_id), ("/d", 7));
}

/// CreateTopics must refuse what would be dropped later; what an older version accepted must still open.
#[test]
fn topic_settings_are_checked_and_old_ones_tolerated() {
    let config = Config::default();
    let topic = config.topic([("segment.bytes", "1048576"), ("cleanup.policy", "compact,delete")]).unwrap();
    assert_eq!(topic.segment_bytes, 1 << 20);
    assert_eq!(topic.cleanup_policy, CleanupPolicy { delete: true, compact: true });

    let unknown = Config::check_topic("retention.m", "1").unwrap_err();
    assert_eq!(unknown.to_string(), "unknown topic config name: retention.m; did you mean retention.ms?");
    assert!(Config::check_topic("min.cleanable.dirty.ratio", "1.5").is_err());
    assert!(Config::check_topic("compression.type", "brotli").is_err());

    let (topic, refused) = config.topic_lenient([("gone", "1"), ("retention.ms", "9")]);
    assert_eq!((topic.retention_ms, refused.len()), (9, 1));
}

/// `kafka-configs --describe --all` and Connect read value, source and the levels below; a wrong source makes them rewrite values.
#[test]
fn describe_gives_value_source_and_the_levels_below() {
    let (config, _) = build("log.retention.hours=2", &[]).unwrap();
    let all = config.describe_topic([("retention.ms", "9"), ("flush.messages", "5")]);
    let of = |name: &str| all.iter().find(|described| described.name == name).unwrap();

    let retention = of("retention.ms");
    let levels: Vec<_> = retention.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap(), s.source)).collect();
    assert_eq!(
        levels,
        [
            ("retention.ms", "9", Source::Topic),
            ("log.retention.hours", "2", Source::StaticBroker),
            ("log.retention.hours", "168", Source::Default),
        ]
    );
    assert_eq!((of("flush.messages").value.as_deref(), of("flush.messages").source), (Some("5"), Source::Topic));
    assert_eq!((of("segment.ms").value.as_deref(), of("segment.ms").source), (Some("604800000"), Source::Default));

    let without = config.describe_topic([]);
    let retention = without.iter().find(|described| described.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.source), (Some("7200000"), Source::StaticBroker));

    let broker = config.describe_broker();
    let of = |name: &str| broker.iter().find(|described| described.name == name).unwrap();
    assert_eq!(
        (of("log.retention.hours").value.as_deref(), of("log.retention.hours").source),
        (Some("2"), Source::StaticBroker)
    );
    assert_eq!((of("log.retention.ms").value.as_deref(), of("log.roll.hours").value.as_deref()), (None, Some("168")));
    assert!(of("node.id").read_only);
}

/// The page that users read would drift from what the program does. `RINGLANE_BLESS=1` writes it anew.
#[test]
fn the_reference_page_is_what_the_rows_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/reference.md");
    if std::env::var_os("RINGLANE_BLESS").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a test that writes a file of the repository")]
        std::fs::write(path, reference_page()).unwrap();
        return;
    }
    assert!(
        reference_page() == include_str!("reference.md"),
        "a row changed: write the page anew with RINGLANE_BLESS=1 cargo test -p ringlane-config"
    );
}
