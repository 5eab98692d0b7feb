#!/usr/bin/env python3
"""librdkafka (through confluent-kafka) against a broker: every codec with every acks, idempotent too; each record is read back and compared.

    librdkafka.py BROKER [CODEC]...
"""
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from shapes import PARTITIONS, RECORDS, Record, by_partition, compare, shape

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
MODES = {
    "acks-0": {"acks": 0},
    "acks-1": {"acks": 1},
    "acks-all": {"acks": "all"},
    "idempotent": {"enable.idempotence": True},
}
SECONDS_MAX = 30


def main(broker, codecs):
    admin = AdminClient({"bootstrap.servers": broker})
    for codec in codecs:
        for mode, settings in MODES.items():
            topic = f"librdkafka-{codec}-{mode}"
            admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(SECONDS_MAX)
            produce(broker, topic, {"compression.type": codec, **settings})
            compare(consume(broker, topic), topic)


def produce(broker, topic, settings):
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 5, **settings})
    failed = []
    for record in map(shape, range(RECORDS)):
        producer.produce(topic, record.value, record.key, record.partition, headers=record.headers, timestamp=record.timestamp,
                         on_delivery=lambda error, message: error and failed.append(error))
    if producer.flush(SECONDS_MAX) or failed:
        raise SystemExit(f"{topic}: not delivered: {failed[:3]}")


def consume(broker, topic, count=RECORDS):
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "unused", "enable.auto.commit": False, "check.crcs": True})
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in by_partition()])
    got, left, end = {}, count, time.monotonic() + SECONDS_MAX
    while left:
        if time.monotonic() > end:
            raise SystemExit(f"{topic}: {left} of {count} records did not come within {SECONDS_MAX} s")
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            raise SystemExit(f"{topic}: {message.error()}")
        record = Record(message.partition(), message.key(), message.value(), message.headers() or [], message.timestamp()[1])
        got.setdefault(message.partition(), []).append((message.offset(), record))
        left -= 1
    consumer.close()
    return got


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or CODECS)
