#!/usr/bin/env python3
"""Consumer groups of librdkafka and kafka-python: members share the partitions, each record is read once, whoever comes next goes on where
the group has committed, and tools see what there is.

    groups.py BROKER
"""
import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer

PARTITIONS = 6
FIRST, MORE = 300, 60
SECONDS_MAX = 60


def main(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    for strategy in ("range", "cooperative-sticky"):
        topic = f"shared-{strategy}"
        create(admin, topic)
        produce(broker, topic, 0, FIRST)
        group = f"librdkafka-{strategy}"
        members = [Librdkafka(broker, group, topic, strategy) for _ in range(3)]
        read = read_all(members, FIRST)
        expect(sorted(read), numbers(0, FIRST), f"{group}: the first records")
        expect([len(member.assignment()) for member in members], [2, 2, 2], f"{group}: partitions of each")
        # One goes: the others have its partitions soon.
        members.pop().close()
        produce(broker, topic, FIRST, MORE)
        expect(sorted(read_all(members, MORE)), numbers(FIRST, MORE), f"{group}: after one has left")
        for member in members:
            member.close()
        committed(admin, group, topic, FIRST + MORE)
        produce(broker, topic, FIRST + MORE, MORE)
        late = Librdkafka(broker, group, topic, strategy)
        expect(sorted(read_all([late], MORE)), numbers(FIRST + MORE, MORE), f"{group}: who comes later")
        expect(states(admin), {group: "STABLE"}, "groups with members")
        late.close()
        admin.delete_consumer_groups([group])[group].result(SECONDS_MAX)

    topic = "shared-kafka-python"
    create(admin, topic)
    produce(broker, topic, 0, FIRST)
    members = [KafkaPython(broker, "kafka-python", topic) for _ in range(2)]
    expect(sorted(read_all(members, FIRST)), numbers(0, FIRST), "kafka-python: the first records")
    for member in members:
        member.close()
    committed(admin, "kafka-python", topic, FIRST)
    produce(broker, topic, FIRST, MORE)
    # Both libraries speak of the same group.
    late = Librdkafka(broker, "kafka-python", topic, "range")
    expect(sorted(read_all([late], MORE)), numbers(FIRST, MORE), "librdkafka goes on where kafka-python was")
    late.close()


class Librdkafka:
    def __init__(self, broker, group, topic, strategy):
        self.consumer = Consumer({
            "bootstrap.servers": broker, "group.id": group, "partition.assignment.strategy": strategy, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
        })
        self.consumer.subscribe([topic])

    def poll(self):
        messages = self.consumer.consume(100, 0.1)
        for message in messages:
            if message.error():
                raise SystemExit(f"{message.error()}")
        if messages:
            self.consumer.commit(asynchronous=False)
        return [message.value() for message in messages]

    def assignment(self):
        return self.consumer.assignment()

    def close(self):
        self.consumer.close()


class KafkaPython:
    def __init__(self, broker, group, topic):
        self.consumer = KafkaConsumer(topic, bootstrap_servers=broker, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest",
                                      session_timeout_ms=6000, heartbeat_interval_ms=500)

    def poll(self):
        values = [record.value for records in self.consumer.poll(timeout_ms=100).values() for record in records]
        if values:
            self.consumer.commit()
        return values

    def close(self):
        self.consumer.close()


def read_all(members, count):
    read, end = [], time.monotonic() + SECONDS_MAX
    while len(read) < count:
        if time.monotonic() > end:
            raise SystemExit(f"{count - len(read)} of {count} records did not come within {SECONDS_MAX} s")
        for member in members:
            read += member.poll()
    # Nobody reads anything twice, neither now nor a moment later.
    for member in members * 5:
        read += member.poll()
    return read


def create(admin, topic):
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(SECONDS_MAX)


def numbers(first, count):
    return sorted(b"%d" % i for i in range(first, first + count))


def produce(broker, topic, first, count):
    producer = Producer({"bootstrap.servers": broker})
    for i in range(first, first + count):
        producer.produce(topic, b"%d" % i, partition=i % PARTITIONS)
    if producer.flush(SECONDS_MAX):
        raise SystemExit(f"{topic}: not delivered")


def committed(admin, group, topic, count):
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in range(PARTITIONS)])
    answer = admin.list_consumer_group_offsets([asked])[group].result(SECONDS_MAX)
    expect([p.offset for p in answer.topic_partitions], [count // PARTITIONS] * PARTITIONS, f"{group}: committed offsets")


def states(admin):
    groups = admin.list_consumer_groups().result(SECONDS_MAX).valid
    return {group.group_id: group.state.name for group in groups if group.state.name != "EMPTY"}


def expect(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: {found} instead of {expected}")


if __name__ == "__main__":
    main(sys.argv[1])
