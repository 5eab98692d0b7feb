//! Consumers of the new group protocol (KIP-848): Java's and librdkafka's share partitions that the broker assigns, and go on where they were.

use crate::commands::RINGLANE;
use crate::support::{Broker, Client, end_of};

/// Java's own consumer is the reference client of the protocol, and its tool shows what scripts parse.
#[test]
fn javas_consumer_reads_in_a_group_of_the_new_protocol() {
    let broker = Broker::start(&["-o", "num.partitions=3"]);
    let java = |tool: &str, arguments: &[&str]| {
        let at = ["--bootstrap-server", broker.address()];
        Client::Java.run(tool, &[&at[..], arguments].concat())
    };
    let read = |count: &str, what: &[&str]| {
        let asked = ["--group", "readers", "--max-messages", count, "--timeout-ms", "60000", "--from-beginning"];
        let protocol = ["--command-property", "group.protocol=consumer"];
        sorted(&java("consumer.ConsoleConsumer", &[&asked[..], &protocol, what].concat()))
    };
    let (first, second) = (lines(0, 30), lines(30, 12));
    produce(&broker, &first);
    assert_eq!(read("30", &["--topic", "orders"]), sorted(&first));
    produce(&broker, &second);
    let groups = "consumer.group.ConsumerGroupCommand";
    let state = java(groups, &["--describe", "--group", "readers", "--state"]);
    assert!(state.contains("Empty") && state.contains("uniform"), "{state}");
    let listed = java(groups, &["--list", "--type"]);
    assert!(listed.lines().any(|line| line.contains("readers") && line.contains("Consumer")), "{listed}");
    assert_eq!(read("12", &["--topic", "orders"]), sorted(&second), "it goes on where it was");

    let reset = ["--reset-offsets", "--group", "readers", "--topic", "orders", "--to-earliest", "--execute"];
    java(groups, &reset);
    assert_eq!(read("42", &["--include", "ord.*"]), sorted(&format!("{first}{second}")), "a subscription by pattern");
    let deleted = java(groups, &["--delete", "--group", "readers"]);
    assert!(deleted.contains("successful"), "{deleted}");
}

/// librdkafka speaks the protocol on its own terms; its members must agree with the broker on who has what while they come and go.
#[test]
fn librdkafka_shares_a_topic_in_a_group_of_the_new_protocol() {
    let broker = Broker::start(&[]);
    Client::Python.run("consumer_groups.py", &[broker.address()]);
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
