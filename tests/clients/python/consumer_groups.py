#!/usr/bin/env python3
"""Consumer groups of the new protocol (KIP-848) by librdkafka: members share the partitions that the broker assigns, each record is read once,
whoever comes next goes on where the group has committed, and tools see what there is.

    consumer_groups.py BROKER
"""
import sys
import time

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from groups import FIRST, MORE, PARTITIONS, committed, create, expect, numbers, produce, read_all, states

SECONDS_MAX = 60


def main(broker):
    admin = AdminClient({"bootstrap.servers": broker})
    for assignor in ("uniform", "range"):
        topic, group = f"new-{assignor}", f"new-{assignor}"
        create(admin, topic)
        produce(broker, topic, 0, FIRST)
        members = [Member(broker, group, assignor, topic) for _ in range(3)]
        settle(members, PARTITIONS)
        expect([len(member.consumer.assignment()) for member in members], [2, 2, 2], f"{group}: partitions of each")
        expect(sorted(read_by(members) + read_all(members, FIRST - seen(members))), numbers(0, FIRST), f"{group}: the first records")
        members.pop().close()
        produce(broker, topic, FIRST, MORE)
        expect(sorted(read_all(members, MORE)), numbers(FIRST, MORE), f"{group}: after one has left")
        rest(admin, group, members)
        described = admin.describe_consumer_groups([group])[group].result(SECONDS_MAX)
        expect(described.type.name, "CONSUMER", f"{group}: type")
        expect(sorted(len(member.assignment.topic_partitions) for member in described.members), [3, 3], f"{group}: as described")
        for member in members:
            member.close()
        committed(admin, group, topic, FIRST + MORE)
        produce(broker, topic, FIRST + MORE, MORE)
        # By pattern: the broker matches it.
        late = Member(broker, group, assignor, f"^new-{assignor}$")
        expect(sorted(read_all([late], MORE)), numbers(FIRST + MORE, MORE), f"{group}: who comes later")
        late.close()
        admin.delete_consumer_groups([group])[group].result(SECONDS_MAX)


class Member:
    def __init__(self, broker, group, assignor, topic):
        self.read = []
        self.consumer = Consumer({
            "bootstrap.servers": broker, "group.id": group, "group.protocol": "consumer", "group.remote.assignor": assignor,
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
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

    def close(self):
        self.consumer.close()


def settle(members, partitions):
    """Until everybody has a part. What is read meanwhile is kept."""
    end = time.monotonic() + SECONDS_MAX
    while [len(member.consumer.assignment()) for member in members] != [partitions // len(members)] * len(members):
        if time.monotonic() > end:
            raise SystemExit(f"after {SECONDS_MAX} s the members have {[member.consumer.assignment() for member in members]}")
        for member in members:
            member.read += member.poll()


def rest(admin, group, members):
    """Until the group says that all members have what they shall have: what one gives up another must have got."""
    end = time.monotonic() + SECONDS_MAX
    while states(admin) != {group: "STABLE"}:
        if time.monotonic() > end:
            raise SystemExit(f"{group}: {states(admin)} after {SECONDS_MAX} s")
        for member in members:
            expect(member.poll(), [], f"{group}: nothing is read twice")


def read_by(members):
    return [value for member in members for value in member.read]


def seen(members):
    return len(read_by(members))


if __name__ == "__main__":
    main(sys.argv[1])
