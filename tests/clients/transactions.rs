//! Transactions of real clients: what is committed is read once and in all places, what is aborted is not, and a restart changes neither.

use crate::support::{Broker, Client};

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
