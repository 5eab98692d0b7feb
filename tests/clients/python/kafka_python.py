#!/usr/bin/env python3
"""kafka-python against a broker: creates a topic, produces with it, reads by assigned partitions, seeks by offset and by time; then reads
what librdkafka wrote and the other way round.

    kafka_python.py BROKER
"""
import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

import librdkafka
from shapes import PARTITIONS, RECORDS, Record, by_partition, compare, plain

SECONDS_MAX = 30


def main(broker):
    admin = KafkaAdminClient(bootstrap_servers=broker)
    for codec, acks in ((None, 0), ("gzip", 1), ("snappy", "all"), ("lz4", "all"), ("zstd", "all")):
        topic = f"kafka-python-{codec}-{acks}"
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
        produce(broker, topic, codec, acks)
        compare(consume(broker, topic), topic, plain)
    compare(librdkafka.consume(broker, topic), "librdkafka reads kafka-python's records", plain)
    seek(broker, topic)

    librdkafka.main(broker, ["zstd"])
    compare(consume(broker, "librdkafka-zstd-idempotent"), "kafka-python reads librdkafka's records")
    admin.delete_topics([topic])
    if topic in admin.list_topics():
        raise SystemExit(f"{topic} is deleted and still listed")


def produce(broker, topic, codec, acks):
    producer = KafkaProducer(bootstrap_servers=broker, acks=acks, linger_ms=5, compression_type=codec, enable_idempotence=acks == "all")
    sent = [
        producer.send(topic, r.value, r.key, headers=r.headers, partition=r.partition, timestamp_ms=r.timestamp)
        for r in map(plain, range(RECORDS))
    ]
    producer.flush(SECONDS_MAX)
    for future in sent:
        future.get(SECONDS_MAX)
    producer.close(SECONDS_MAX)


def reader(broker, topic):
    consumer = KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, check_crcs=True, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, p) for p in by_partition()])
    return consumer


def consume(broker, topic):
    consumer = reader(broker, topic)
    consumer.seek_to_beginning()
    got, left, end = {}, RECORDS, time.monotonic() + SECONDS_MAX
    while left and time.monotonic() < end:
        for at, records in consumer.poll(timeout_ms=500).items():
            for r in records:
                got.setdefault(at.partition, []).append((r.offset, Record(at.partition, r.key, r.value, list(r.headers), r.timestamp)))
                left -= 1
    consumer.close()
    return got


def seek(broker, topic):
    """Positions by time and by offset are what a tool that replays a day relies on."""
    consumer = reader(broker, topic)
    at, records = TopicPartition(topic, 1), by_partition()[1]
    middle = len(records) // 2
    found = consumer.offsets_for_times({at: records[middle].timestamp})[at]
    ends = (consumer.beginning_offsets([at])[at], consumer.end_offsets([at])[at])
    if (found.offset, found.timestamp, ends) != (middle, records[middle].timestamp, (0, len(records))):
        raise SystemExit(f"{topic}: offsets by time and ends are {found} and {ends}, expected {middle} and {(0, len(records))}")
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1])
