//! Transactions of real clients: what is committed is read once and in all places, what is aborted is not, and a restart changes neither.

use crate::commands::RINGLANE;
use crate::support::{Broker, Client, end_of};

const AT_ONCE: &[&str] = &["-o", "group.initial.rebalance.delay.ms=200"];

/// librdkafka and all that is built on it speak the first protocol.
#[test]
fn librdkafka_commits_aborts_and_copies_exactly_once() {
    let broker = Broker::start(AT_ONCE);
    Client::Python.run("transactions.py", &[broker.address()]);
}

/// The Java client takes the second protocol from the broker's features; Kafka Streams, Connect and Flink are built on it.
#[test]
fn javas_producer_commits_aborts_and_copies_exactly_once() {
    let broker = Broker::start(AT_ONCE);
    let said = Client::Java.run("Transactions.java", &[broker.address()]);
    assert_eq!(said.trim(), "ok");
}

/// Readers wait for a transaction whose producer is gone: whoever is called at night must see which, and end it.
#[test]
fn an_open_transaction_is_found_and_ended_by_command() {
    let broker = Broker::start(AT_ONCE);
    let open = "import os, sys, transactions as t\n\
                from confluent_kafka.admin import AdminClient, NewTopic\n\
                admin = AdminClient({'bootstrap.servers': sys.argv[1]})\n\
                admin.create_topics([NewTopic('numbers', 3, 1)])['numbers'].result(60)\n\
                producer = t.transactional(sys.argv[1], 'hanging')\n\
                producer.begin_transaction()\n\
                producer.produce('numbers', 'never to be seen', partition=1)\n\
                producer.flush()\n\
                os._exit(0)";
    Client::Python.run("-c", &[open, broker.address()]);
    let txn = |arguments: &[&str]| {
        let ended = end_of(RINGLANE, &[&["txn"], arguments, &["--brokers", broker.address()]].concat(), "");
        assert_eq!(ended.code, Some(0), "{}", ended.errors);
        ended.out
    };
    assert!(txn(&["list", "--state", "Ongoing"]).contains("hanging"));
    let described = txn(&["describe", "hanging"]);
    assert!(described.contains("Ongoing") && described.contains("numbers-1"), "{described}");
    txn(&["abort", "hanging"]);
    assert!(!txn(&["list", "--state", "Ongoing"]).contains("hanging"));
    let check = "import sys, transactions as t\n\
                 t.expect(t.read(sys.argv[1], 'numbers', 'read_committed', 0), [], 'what was aborted')";
    Client::Python.run("-c", &[check, broker.address()]);
    let unknown = end_of(RINGLANE, &["txn", "abort", "nobody", "--brokers", broker.address()], "");
    assert!(unknown.code != Some(0) && unknown.errors.contains("nobody"), "{}", unknown.errors);
}

/// What was aborted before a restart must stay so, and a producer's next life must find its transactional id.
#[test]
fn transactions_survive_a_restart_of_their_broker() {
    let broker = Broker::start(AT_ONCE);
    Client::Python.run("transactions.py", &[broker.address()]);
    let broker = broker.restart();
    let check = "import sys, transactions as t\n\
                 values = t.read(sys.argv[1], 'numbers', 'read_committed', 201)\n\
                 t.expect((len(values), 'of the first' in values), (201, False), 'after the restart')\n\
                 producer = t.transactional(sys.argv[1], 'writer')\n\
                 producer.begin_transaction()\n\
                 producer.produce('numbers', 'later', partition=0)\n\
                 producer.commit_transaction(t.SECONDS_MAX)\n\
                 t.expect('later' in t.read(sys.argv[1], 'numbers', 'read_committed', 202), True, 'a later life')";
    Client::Python.run("-c", &[check, broker.address()]);
}
