#!/usr/bin/env python3
"""Transactions of librdkafka, which speaks the first protocol: partitions are added before they are written to, epochs stay.

    transactions.py BROKER
"""
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3
TRANSACTIONS, RECORDS = 30, 10
SECONDS_MAX = 60


def main(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    for topic in ("numbers", "copies"):
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(SECONDS_MAX)
    committed = write(broker)
    expect(sorted(read(broker, "numbers", "read_committed", len(committed))), sorted(committed), "read_committed")
    everything = read(broker, "numbers", "read_uncommitted", TRANSACTIONS * RECORDS)
    expect(len(everything), TRANSACTIONS * RECORDS, "records of all transactions")
    copy(broker, len(committed))
    expect(sorted(read(broker, "copies", "read_committed", len(committed))), sorted(committed), "copies")
    replaced(broker)
    print("ok")


def write(broker):
    """Every third transaction is aborted, after its records have arrived."""
    producer, committed = transactional(broker, "writer"), []
    for transaction in range(TRANSACTIONS):
        producer.begin_transaction()
        values = [f"{transaction}.{number}" for number in range(RECORDS)]
        for number, value in enumerate(values):
            producer.produce("numbers", value, partition=number % PARTITIONS)
        producer.flush()
        if transaction % 3 == 2:
            producer.abort_transaction(SECONDS_MAX)
        else:
            producer.commit_transaction(SECONDS_MAX)
            committed += values
    return committed


def copy(broker, count):
    """Read, process, write: each record once, though every fourth attempt is given up and begun again."""
    consumer = Consumer(consuming(broker, "read_committed") | {"group.id": "copier", "enable.auto.commit": False})
    producer = transactional(broker, "copier")
    consumer.subscribe(["numbers"])
    copied, attempt, until = 0, 0, time.monotonic() + SECONDS_MAX
    while copied < count:
        expect(time.monotonic() < until, True, f"copied {copied} of {count} in time")
        messages = [message for message in consumer.consume(40, 0.5) if message.error() is None]
        if not messages:
            continue
        attempt += 1
        producer.begin_transaction()
        for message in messages:
            producer.produce("copies", message.value(), partition=message.partition())
        positions = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata(), SECONDS_MAX)
        if attempt % 4 == 2:
            producer.abort_transaction(SECONDS_MAX)
            for known in consumer.committed(consumer.assignment(), SECONDS_MAX):
                consumer.seek(TopicPartition(known.topic, known.partition, max(known.offset, 0)))
        else:
            producer.commit_transaction(SECONDS_MAX)
            copied += len(messages)
    consumer.close()


def replaced(broker):
    """A second producer with the same transactional id shuts the first one out."""
    first = transactional(broker, "twice")
    first.begin_transaction()
    first.produce("numbers", "of the first", partition=0)
    first.flush()
    second = transactional(broker, "twice")
    try:
        first.commit_transaction(SECONDS_MAX)
        raise AssertionError("the first producer still commits")
    except KafkaException as failed:
        expect(failed.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED), True, str(failed))
    second.begin_transaction()
    second.produce("numbers", "of the second", partition=0)
    second.commit_transaction(SECONDS_MAX)
    values = read(broker, "numbers", "read_committed", TRANSACTIONS // 3 * 2 * RECORDS + 1)
    expect(("of the first" in values, "of the second" in values), (False, True), "what was committed")


def transactional(broker, identity):
    producer = Producer({"bootstrap.servers": broker, "transactional.id": identity, "linger.ms": 1})
    producer.init_transactions(SECONDS_MAX)
    return producer


def consuming(broker, isolation):
    return {"bootstrap.servers": broker, "group.id": "unused", "isolation.level": isolation, "auto.offset.reset": "earliest"}


def read(broker, topic, isolation, count):
    """All values of a topic; waits for `count`, then whether more come."""
    consumer = Consumer(consuming(broker, isolation))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    values, idle, until = [], 0, time.monotonic() + SECONDS_MAX
    while idle < 3 and time.monotonic() < until:
        messages = [message for message in consumer.consume(500, 0.3) if message.error() is None]
        values += [message.value().decode() for message in messages]
        idle += len(values) >= count and not messages
    consumer.close()
    return values


def expect(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found}, expected {expected}")


if __name__ == "__main__":
    main(*sys.argv[1:])
