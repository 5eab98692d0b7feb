#!/usr/bin/env python3
"""kcat against a broker: makes a topic by producing to it, with every codec, acks and set of headers; reads it back, and reads what
librdkafka wrote with timestamps of its own. Other programs know kcat by its output: it must show every byte.

    kcat.py BROKER          (with num.partitions=3)
"""
import re
import subprocess
import sys
import time

from confluent_kafka import Producer

import librdkafka
from librdkafka import SECONDS_MAX
from shapes import PARTITIONS, Record

# Not in any record: kcat cuts its input at these.
RECORD_END, KEY_END = "\x1e", "\x1f"
# Each codec with a way to be acknowledged.
CODECS = {"none": "acks=0", "gzip": "acks=1", "snappy": "acks=all", "lz4": "acks=all", "zstd": "enable.idempotence=true"}
# kcat gives the same headers to all records of a run, and can neither send nor show a header with a NUL byte.
HEADERS = ([], [("trace", b"x")], [("h", b"1"), ("h", "grüße=€".encode()), ("empty", b"")])
FIRST_TIMESTAMP = 1_700_000_000_000
# Lengths stand before what they measure, so nothing in a record can be taken for the frame around it; -1 is "none".
SHOWN = "%t %p %o %T %K %S [%h]\n%k%s"
FRAME = re.compile(rb"(\S+) (\d+) (\d+) (-?\d+) (-?\d+) (-?\d+) \[([^\n]*)\]\n")


def main(broker):
    for codec, mode in CODECS.items():
        topic = f"kcat-{codec}"
        sent = {partition: [] for partition in range(PARTITIONS)}
        begin = now()
        for headers in HEADERS:
            for partition in sent:
                records = list(shapes(partition, headers))
                produce(broker, topic, partition, records, headers, ["-z", codec, "-X", mode])
                sent[partition] += records
        end = now()
        got = {partition: consume(broker, topic, partition) for partition in sent}
        compare(got, sent, topic, lambda record, _: begin <= record.timestamp <= end)
        # Another client must see the very timestamps that kcat shows.
        if librdkafka.consume(broker, topic, sum(map(len, sent.values()))) != got:
            raise SystemExit(f"{topic}: kcat and librdkafka read different records")
        listed = kcat(broker, "-L", "-t", topic)
        if f'topic "{topic}" with {PARTITIONS} partitions'.encode() not in listed:
            raise SystemExit(f"{topic} was to be made with {PARTITIONS} partitions:\n{listed.decode()}")
    own_timestamps(broker)


def now():
    return time.time_ns() // 1_000_000


def shapes(partition, headers):
    """With and without key and value, empty and large, every byte but the two that kcat cuts at."""
    every = bytes(b for b in range(256) if chr(b) not in RECORD_END + KEY_END)
    for i in range(30):
        key = (None, b"key-%d\x00\xff\n" % i, b"k" * 300)[i % 3]
        value = (b"value %d" % i, every, every * 40, b"line\nline\r\n", b"\xf0\x9f\x98\x80" * (i + 1))[i % 5]
        yield Record(partition, key, value, headers, None)
    # An empty key or value is sent as none (-Z).
    yield Record(partition, b"tombstone", None, headers, None)
    yield Record(partition, None, b"no key", headers, None)


def produce(broker, topic, partition, records, headers, options):
    head = [argument for key, value in headers for argument in ("-H", f"{key}={value.decode()}")]
    end, separator = RECORD_END.encode(), KEY_END.encode()
    lines = b"".join((b"" if r.key is None else r.key) + separator + (r.value or b"") + end for r in records)
    kcat(broker, "-P", "-t", topic, "-p", str(partition), "-D", RECORD_END, "-K", KEY_END, "-Z", *head, *options, given=lines)


def consume(broker, topic, partition):
    """[(offset, Record)] of a partition, as kcat shows them from its beginning to its end."""
    out = kcat(broker, "-C", "-q", "-t", topic, "-p", str(partition), "-o", "beginning", "-e", "-X", "check.crcs=true", "-f", SHOWN)
    got, at = [], 0
    while at < len(out):
        frame = FRAME.match(out, at)
        if not frame or (frame[1], int(frame[2])) != (topic.encode(), partition):
            raise SystemExit(f"{topic}: kcat shows {out[at:at + 200]!r}")
        offset, timestamp, *lengths = map(int, frame.groups()[2:6])
        at = frame.end()
        key, value = None, None
        if lengths[0] >= 0:
            key, at = out[at:at + lengths[0]], at + lengths[0]
        if lengths[1] >= 0:
            value, at = out[at:at + lengths[1]], at + lengths[1]
        headers = [tuple(h.split(b"=", 1)) for h in frame[7].split(b",")] if frame[7] else []
        got.append((offset, Record(partition, key, value, [(key.decode(), value) for key, value in headers], timestamp)))
    return got


def compare(got, sent, what, right_time):
    for partition, want in sent.items():
        have = got[partition]
        if [offset for offset, _ in have] != list(range(len(want))):
            raise SystemExit(f"{what}: partition {partition} has {len(have)} records, {len(want)} were sent")
        for (offset, record), expected in zip(have, want):
            if record._replace(timestamp=None) != expected._replace(timestamp=None) or not right_time(record, expected):
                raise SystemExit(f"{what}: partition {partition} offset {offset}:\n  sent {expected!r:.300}\n  got  {record!r:.300}")
    print(f"{what}: {sum(map(len, sent.values()))} records are equal")


def own_timestamps(broker):
    """Timestamps that the producer chose, one record's below that of the one before it: kcat shows each, and finds offsets by them."""
    topic, failed = "kcat-own-timestamps", []
    records = [r._replace(timestamp=FIRST_TIMESTAMP + (i ^ 1) * 1000) for i, r in enumerate(shapes(0, HEADERS[2]))]
    producer = Producer({"bootstrap.servers": broker})
    for r in records:
        producer.produce(topic, r.value, r.key, r.partition, headers=r.headers, timestamp=r.timestamp,
                         on_delivery=lambda error, message: error and failed.append(error))
    if producer.flush(SECONDS_MAX) or failed:
        raise SystemExit(f"{topic}: not delivered: {failed[:3]}")
    compare({0: consume(broker, topic, 0)}, {0: records}, topic, lambda record, expected: record.timestamp == expected.timestamp)
    for asked, offset in ((0, 0), (FIRST_TIMESTAMP + 5001, 6), (records[-1].timestamp + 10_000, -1)):
        answer = kcat(broker, "-Q", "-t", f"{topic}:0:{asked}")
        if answer.decode().split() != [topic, "[0]", "offset", str(offset)]:
            raise SystemExit(f"{topic}: asked for the time {asked}, expected offset {offset}: {answer!r}")


def kcat(broker, *arguments, given=b""):
    done = subprocess.run(["kcat", "-b", broker, *arguments], input=given, capture_output=True, timeout=SECONDS_MAX, check=False)
    if done.returncode:
        raise SystemExit(f"kcat {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1])
