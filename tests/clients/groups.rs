//! Consumer groups of real clients: they share partitions, resume where they have committed, and their tools tell what there is.

use crate::commands::RINGLANE;
use crate::support::{Broker, Client, end_of, run};

const AT_ONCE: &[&str] = &["-o", "group.initial.rebalance.delay.ms=500"];

/// subscribe() is how almost everybody reads Kafka.
#[test]
fn librdkafka_and_kafka_python_share_a_topic_in_groups() {
    let broker = Broker::start(AT_ONCE);
    Client::Python.run("groups.py", &[broker.address()]);
}

/// `kcat -G` shows a group at work; the second run must begin where the first one ended.
#[test]
fn kcat_reads_in_a_group_and_goes_on_where_it_was() {
    let broker = Broker::start(&[AT_ONCE, &["-o", "num.partitions=3"]].concat());
    let read = |count: &str| {
        let at = ["-b", broker.address(), "-G", "readers", "-q", "-c", count];
        let from = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "orders"];
        sorted(&run("kcat", &[&at[..], &from].concat(), ""))
    };
    let (first, second) = (lines(0, 30), lines(30, 12));
    produce(&broker, &first);
    assert_eq!(read("30"), sorted(&first));
    produce(&broker, &second);
    assert_eq!(read("12"), sorted(&second));
}

/// franz-go balances cooperatively and checks every answer against what it asked.
#[test]
fn franz_go_members_share_a_topic_in_a_group() {
    let broker = Broker::start(AT_ONCE);
    Client::Go.run("franz", &[broker.address(), "franz-group", "group", "3"]);
}

/// The Java consumer and `kafka-consumer-groups.sh` are the reference for everybody else, and their output is parsed by scripts.
#[test]
fn javas_consumer_and_its_group_tool_agree_on_a_group() {
    let broker = Broker::start(&[AT_ONCE, &["-o", "num.partitions=2"]].concat());
    let java = |tool: &str, arguments: &[&str]| {
        let at = ["--bootstrap-server", broker.address()];
        Client::Java.run(tool, &[&at[..], arguments].concat())
    };
    let (consume, groups) = ("consumer.ConsoleConsumer", "consumer.group.ConsumerGroupCommand");
    let read = |count: &str| {
        let asked = ["--topic", "orders", "--group", "readers", "--from-beginning", "--max-messages", count];
        sorted(&java(consume, &[&asked[..], &["--timeout-ms", "60000"]].concat()))
    };
    let (first, second) = (lines(0, 20), lines(20, 10));
    produce(&broker, &first);
    assert_eq!(read("20"), sorted(&first));
    produce(&broker, &second);

    let described = java(groups, &["--describe", "--group", "readers"]);
    let lags: i64 = columns(&described, "orders").map(|row| row[5].parse::<i64>().expect("a lag")).sum();
    assert_eq!(lags, 10, "{described}");
    assert!(java(groups, &["--describe", "--group", "readers", "--state"]).contains("Empty"));
    assert!(java(groups, &["--list"]).lines().any(|line| line.trim() == "readers"));
    assert_eq!(read("10"), sorted(&second));

    let reset = ["--reset-offsets", "--group", "readers", "--topic", "orders", "--to-earliest", "--execute"];
    let reset = java(groups, &reset);
    assert!(columns(&reset, "orders").all(|row| row[3] == "0") || reset.contains(" 0"), "{reset}");
    assert_eq!(read("30"), sorted(&format!("{first}{second}")));
    let deleted = java(groups, &["--delete", "--group", "readers"]);
    assert!(deleted.contains("successful"), "{deleted}");
    assert!(!java(groups, &["--list"]).contains("readers"));
}

/// Our own commands are what an operator has at hand when a consumer is behind.
#[test]
fn our_own_commands_read_in_a_group_describe_it_and_move_it() {
    let broker = Broker::start(AT_ONCE);
    let ringlane = |arguments: &[&str]| run(RINGLANE, &[arguments, &["--brokers", broker.address()]].concat(), "");
    ringlane(&["topic", "create", "orders", "--partitions", "2"]);
    produce(&broker, &lines(0, 10));
    assert_eq!(sorted(&ringlane(&["consume", "orders", "-g", "readers", "-n", "6"])).len(), 6);
    let lag = |described: &str| -> i64 { columns(described, "orders").map(|row| row[5].parse().unwrap_or(0)).sum() };
    let described = ringlane(&["group", "describe", "readers"]);
    assert_eq!(lag(&described), 4, "{described}");
    assert_eq!(sorted(&ringlane(&["consume", "orders", "-g", "readers", "-n", "4"])).len(), 4);
    assert_eq!(ringlane(&["group", "list"]), "GROUP    TYPE     STATE  PROTOCOL\nreaders  classic  Empty  consumer\n");

    let seek = ["group", "seek", "readers", "--topic", "orders", "--to-earliest"];
    let would_be = ringlane(&seek);
    assert!(columns(&would_be, "orders").all(|row| row[4] == "0"), "{would_be}");
    assert_eq!(lag(&ringlane(&["group", "describe", "readers"])), 0, "a plan moves nothing");
    ringlane(&[&seek[..], &["--apply"]].concat());
    assert_eq!(lag(&ringlane(&["group", "describe", "readers"])), 10);
    assert_eq!(ringlane(&["group", "delete", "readers"]), "GROUP    STATUS\nreaders  OK\n");
    assert_eq!(ringlane(&["group", "list", "-f", "json"]), "[]\n");
}

/// A restart of the broker must not move a group: its members come back, its offsets are there.
#[test]
fn a_group_survives_a_restart_of_its_broker() {
    let broker = Broker::start(&[AT_ONCE, &["-o", "num.partitions=3"]].concat());
    let read = |broker: &Broker, count: &str| {
        let at = ["-b", broker.address(), "-G", "readers", "-q", "-c", count];
        let from = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000", "orders"];
        sorted(&run("kcat", &[&at[..], &from].concat(), ""))
    };
    let (first, second) = (lines(0, 30), lines(30, 12));
    produce(&broker, &first);
    assert_eq!(read(&broker, "30"), sorted(&first));
    let broker = broker.restart();
    produce(&broker, &second);
    assert_eq!(read(&broker, "12"), sorted(&second));
}

fn produce(broker: &Broker, lines: &str) {
    let run = ["produce", "orders", "--brokers", broker.address()];
    assert_eq!(end_of(RINGLANE, &run, lines).code, Some(0));
}

fn lines(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("order {number}\n")).collect()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().filter(|line| line.starts_with("order ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The columns of each row of a table that names `topic`.
fn columns<'a>(table: &'a str, topic: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(move |row| row.contains(&topic))
}
