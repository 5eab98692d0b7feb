//! Share groups (KIP-932): Java's share consumer, the only one that there is, its tool, and ours beside it.

use crate::commands::RINGLANE;
use crate::support::{Broker, Client, end_of, run};

/// Each record is one consumer's until it says what became of it: what is accepted never comes again, what is released comes once more, and what
/// was rejected is gone; over a restart as well.
#[test]
fn javas_share_consumer_shares_records_out() {
    let broker = Broker::start(&["-o", "num.partitions=3"]);
    assert_eq!(end_of(RINGLANE, &["produce", "jobs", "--brokers", broker.address()], &lines(0, 30)).code, Some(0));
    begin_at_the_start(&broker);
    assert_eq!(read(&broker, "30", &["--release"]).len(), 30);
    assert_eq!(read(&broker, "30", &[]), sorted(&lines(0, 30)), "released records come again");
    assert_eq!(end_of(RINGLANE, &["produce", "jobs", "--brokers", broker.address()], &lines(30, 12)).code, Some(0));
    let broker = broker.restart();
    assert_eq!(read(&broker, "12", &["--reject"]), sorted(&lines(30, 12)), "accepted records do not come again");

    let share_groups = "consumer.group.ShareGroupCommand";
    let listed = java(&broker, share_groups, &["--list", "--state"]);
    assert!(listed.lines().any(|line| line.contains("workers") && line.contains("Empty")), "{listed}");
    let described = java(&broker, share_groups, &["--describe", "--group", "workers"]);
    let lags: Vec<&str> = described.lines().filter_map(|line| line.strip_prefix("workers")).collect();
    assert!(lags.len() == 3 && lags.iter().all(|line| line.trim_end().ends_with(" 0")), "{described}");
    let ours = run(RINGLANE, &["group", "describe", "workers", "--brokers", broker.address()], "");
    assert!(ours.lines().next().is_some_and(|head| head.contains("START-OFFSET")), "{ours}");
    assert_eq!(words(&ours, "workers"), words(&described, "workers"), "our tool says the same");
    let ours = run(RINGLANE, &["group", "list", "--brokers", broker.address()], "");
    assert!(ours.lines().any(|line| line.contains("workers") && line.contains("share")), "{ours}");

    let deleted = run(RINGLANE, &["group", "delete", "workers", "--topic", "jobs", "--brokers", broker.address()], "");
    assert!(deleted.contains("OK"), "{deleted}");
    let deleted = java(&broker, share_groups, &["--delete", "--group", "workers"]);
    assert!(deleted.contains("successful"), "{deleted}");
    assert!(!java(&broker, share_groups, &["--list"]).contains("workers"));
}

/// What several consumers do to each other no tool shows: records that one releases are another's, those of one that leaves come to the others,
/// and each is accepted once.
#[test]
fn javas_share_consumers_work_together() {
    let broker = Broker::start(&["-o", "group.share.assignment.interval.ms=0"]);
    let printed = Client::Java.run("ShareConsumers.java", &[broker.address()]);
    assert!(printed.contains("OK"), "{printed}");
}

fn begin_at_the_start(broker: &Broker) {
    let reset = ["--reset-offsets", "--group", "workers", "--topic", "jobs", "--to-earliest", "--execute"];
    java(broker, "consumer.group.ShareGroupCommand", &reset);
}

fn read(broker: &Broker, count: &str, more: &[&str]) -> Vec<String> {
    let asked = ["--topic", "jobs", "--group", "workers", "--max-messages", count, "--timeout-ms", "60000"];
    sorted(&java(broker, "consumer.ConsoleShareConsumer", &[&asked[..], more].concat()))
}

fn java(broker: &Broker, tool: &str, arguments: &[&str]) -> String {
    Client::Java.run(tool, &[&["--bootstrap-server", broker.address()][..], arguments].concat())
}

fn lines(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("job {number}\n")).collect()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().filter(|line| line.starts_with("job ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The words of the lines that begin with `first`.
fn words(text: &str, first: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| line.starts_with(first));
    let mut lines: Vec<Vec<String>> = lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    lines.sort();
    lines
}
