//! Stories about `ringlane` itself: what it prints, what it refuses, and with which exit code.

use crate::support::{Broker, Ended, end_of, run};

pub const RINGLANE: &str = env!("CARGO_BIN_EXE_ringlane");

/// Runs a command against `broker` that must succeed.
fn ringlane(broker: &Broker, arguments: &[&str], input: &str) -> String {
    run(RINGLANE, &[arguments, &["--brokers", broker.address()]].concat(), input)
}

/// Runs `ringlane server` with arguments that it must refuse, with exit code 1 and one message that holds `expected`.
fn refused(arguments: &[&str], expected: &[&str]) {
    let Ended { code, out, errors } = end_of(RINGLANE, &[&["server"], arguments].concat(), "");
    let messages: Vec<&str> = errors.lines().filter(|line| line.starts_with("ringlane: ")).collect();
    assert_eq!((code, out.as_str(), messages.len()), (Some(1), "", 1), "{arguments:?}:\n{errors}");
    for part in expected {
        assert!(messages[0].contains(part), "{part:?} is not in {}", messages[0]);
    }
}

/// The README's first ten minutes are the first thing that anybody runs.
#[test]
fn the_first_session_of_the_readme_works() {
    let broker = Broker::start(&[]);
    let hello = ringlane(&broker, &["topic", "create", "hello", "--partitions", "3"], "");
    assert_eq!(hello, "TOPIC  STATUS\nhello  OK\n");
    ringlane(&broker, &["produce", "hello", "--key-separator", ":"], "greeting:hello, world\n");
    assert_eq!(ringlane(&broker, &["consume", "hello", "-n", "1"], ""), "hello, world\n");
    let described = ringlane(&broker, &["topic", "describe", "hello"], "");
    assert!(described.contains("an ack survives power loss") && described.contains("HIGH-WATERMARK"), "{described}");
    assert!(run(RINGLANE, &["config", "flush.messages"], "").contains("survive power loss"));
    broker.signal_until_logged("USR1", "produce_records_total");
}

/// Scripts read places, counts and JSON; an off-by-one there replays or skips somebody's records.
#[test]
fn consume_begins_and_ends_where_it_is_told() {
    let broker = Broker::start(&["-o", "num.partitions=2"]);
    let produce =
        ["produce", "places", "--partition", "1", "--compression", "zstd", "--header", "source=test", "-k", "="];
    ringlane(&broker, &["topic", "create", "places"], "");
    let lines: String = (0..10).map(|i| format!("k{i}={i}\n")).collect();
    let sent = ringlane(&broker, &[&produce[..], &["--format", "json"]].concat(), &lines);
    assert_eq!(sent, "[{\"topic\":\"places\",\"partition\":1,\"records\":10,\"first_offset\":0,\"last_offset\":9}]\n");

    let consume = |arguments: &[&str]| ringlane(&broker, &[&["consume", "places"], arguments].concat(), "");
    assert_eq!(consume(&["--exit-at-end"]), "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(consume(&["-p", "1", "-o", "7", "-e", "-k", "="]), "k7=7\nk8=8\nk9=9\n");
    assert_eq!(consume(&["-p", "1", "-o", "-2", "-e"]), "8\n9\n");
    assert_eq!(consume(&["-p", "1", "-o", "3", "-n", "2"]), "3\n4\n");
    assert_eq!(consume(&["-o", "end", "-e"]), "");
    assert_eq!(consume(&["-o", "@0", "-n", "1"]), "0\n");
    let record = consume(&["-n", "1", "--format", "json"]);
    for part in [
        "\"partition\":1,\"offset\":0",
        "\"key\":\"k0\",\"value\":\"0\"",
        "\"headers\":[{\"key\":\"source\",\"value\":\"test\"}]",
    ] {
        assert!(record.contains(part), "{part} is not in {record}");
    }
}

/// One of several topics that fails must not hide among those that worked, nor end the others.
#[test]
fn topics_are_made_listed_and_deleted_with_a_line_each() {
    let broker = Broker::start(&[]);
    ringlane(&broker, &["topic", "create", "a", "-c", "retention.ms=1000"], "");
    let brokers = ["--brokers", broker.address()];
    let again = end_of(RINGLANE, &[&["topic", "create", "a", "b", "bad name"][..], &brokers].concat(), "");
    assert_eq!(again.code, Some(1), "{}", again.out);
    assert!(again.errors.contains("2 of 3 topics failed"), "{}", again.errors);
    assert!(
        again.out.contains("TOPIC_ALREADY_EXISTS") && again.out.contains("INVALID_TOPIC_EXCEPTION"),
        "{}",
        again.out
    );
    ringlane(&broker, &["topic", "create", "a", "--if-not-exists"], "");
    ringlane(&broker, &["topic", "create", "c", "--dry-run"], "");
    assert_eq!(
        ringlane(&broker, &["topic", "list"], ""),
        "NAME  PARTITIONS  REPLICAS\na     1           1\nb     1           1\n"
    );

    let described = ringlane(&broker, &["topic", "describe", "a"], "");
    let retention: Vec<&str> = described.lines().filter(|line| line.starts_with("retention.ms ")).collect();
    assert!(retention[0].contains("1000") && retention[0].ends_with("DYNAMIC_TOPIC_CONFIG"), "{described}");

    let unknown = end_of(RINGLANE, &[&["topic", "create", "d", "-c", "retention.m=1"][..], &brokers].concat(), "");
    assert!(
        unknown.out.contains("INVALID_CONFIG") && unknown.out.contains("did you mean retention.ms?"),
        "{}",
        unknown.out
    );
    let nowhere = end_of(RINGLANE, &[&["consume", "nowhere"][..], &brokers].concat(), "");
    assert!(nowhere.code == Some(1) && nowhere.errors.contains("there is no such topic"), "{}", nowhere.errors);
    ringlane(&broker, &["produce", "made-by-produce"], "x");
    ringlane(&broker, &["topic", "delete", "a", "b", "made-by-produce"], "");
    ringlane(&broker, &["topic", "delete", "a", "--if-exists"], "");
    assert_eq!(ringlane(&broker, &["topic", "list", "--format", "json"], ""), "[]\n");
}

/// Deleting too much cannot be undone: what is asked, what was done and what was refused each have their line.
#[test]
fn records_are_deleted_from_the_start_of_a_topic() {
    let broker = Broker::start(&[]);
    ringlane(&broker, &["topic", "create", "a", "-p", "2"], "");
    ringlane(&broker, &["produce", "a", "-p", "1"], "one\ntwo\nthree\n");
    let deleted = ringlane(&broker, &["topic", "delete-records", "a", "-p", "1", "--before", "2"], "");
    assert_eq!(deleted, "PARTITION  LOG-START-OFFSET  STATUS\n1          2                 OK\n");
    assert_eq!(ringlane(&broker, &["consume", "a", "-e"], ""), "three\n");
    let at = ["--brokers", broker.address()];
    let too_far = end_of(RINGLANE, &[&["topic", "delete-records", "a", "--before", "3"][..], &at].concat(), "");
    assert_eq!(too_far.code, Some(1), "{}", too_far.out);
    assert!(too_far.out.contains("OFFSET_OUT_OF_RANGE"), "{}", too_far.out);
    assert!(too_far.errors.contains("1 of 2 partitions failed"), "{}", too_far.errors);
    let all = ringlane(&broker, &["topic", "delete-records", "a", "--before", "end", "-f", "json"], "");
    assert!(all.contains(r#""log_start_offset":3"#), "{all}");
    assert_eq!(ringlane(&broker, &["consume", "a", "-e"], ""), "");
}

/// Every reason not to start is one message with its cure: a stack trace sends people back to what they had.
#[test]
fn a_server_that_cannot_start_says_why_in_one_message() {
    let broker = Broker::start(&["-o", "node.id=7"]);
    let data = broker.data();
    let (data, fresh) = (data.to_str().unwrap(), format!("{}-other", data.display()));

    let free = "127.0.0.1:0";
    refused(&["--listen", free, "--data", data], &["lock"]);
    refused(&["--listen", broker.address(), "--data", &fresh], &[broker.address(), "in use"]);
    refused(&["--data", "/proc/nowhere"], &["cannot make the data directory /proc/nowhere"]);
    refused(&["-o", "log.retenton.ms=1"], &["unknown key log.retenton.ms; did you mean log.retention.ms?"]);
    refused(&["-o", "num.partitions=0"], &["num.partitions", "at least 1"]);
    refused(&["--data", &fresh, "--cores", "4096"], &["4096"]);
    refused(&["--config", "/nowhere/server.properties"], &["/nowhere/server.properties"]);

    let stopped = broker.stop_and_keep();
    refused(&["--listen", free, "--data", stopped.to_str().unwrap(), "-o", "node.id=8"], &["7", "8"]);
}

/// Wrappers tell a mistyped command (2) from one that failed (1), and nothing may hang on a cluster that is not there.
#[test]
fn exit_codes_and_messages_are_those_of_the_manual() {
    let code = |arguments: &[&str]| end_of(RINGLANE, arguments, "").code;
    assert_eq!(code(&["server", "--no-such-option"]), Some(2));
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["consume", "t", "--offset", "strat"]), Some(2));
    assert_eq!(code(&["--help"]), Some(0));
    assert!(run(RINGLANE, &["--version"], "").starts_with("ringlane 0."));
    assert!(run(RINGLANE, &["topic", "--help"], "").contains("Examples:"));
    let nobody = end_of(RINGLANE, &["topic", "list", "--brokers", "127.0.0.1:1"], "");
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.errors.contains("127.0.0.1:1"), "{}", nobody.errors);
}
