#!/usr/bin/env python3
"""Records as the lines that Kafka's console consumer prints, by librdkafka: to compare with that consumer, and to make what the console
producer cannot, records with timestamps of their own.

    lines.py BROKER consume TOPIC COUNT     CreateTime:TIMESTAMP, Partition:P, Offset:O, headers, key, value
    lines.py BROKER produce TOPIC           reads the same from standard input, without partition and offset
"""
import sys

from confluent_kafka import Producer

import librdkafka

TIME = "CreateTime:"


def consume(broker, topic, count):
    for partition, records in librdkafka.consume(broker, topic, int(count)).items():
        for offset, r in records:
            headers = ",".join(f"{key}:{value.decode()}" for key, value in r.headers)
            print(f"{TIME}{r.timestamp}", f"Partition:{partition}", f"Offset:{offset}", headers, r.key.decode(), r.value.decode(), sep="\t")


def produce(broker, topic):
    producer, failed = Producer({"bootstrap.servers": broker}), []
    for line in sys.stdin:
        time, headers, key, value = line.rstrip("\n").split("\t")
        pairs = [tuple(header.split(":")) for header in headers.split(",")]
        producer.produce(topic, value, key, headers=pairs, timestamp=int(time.removeprefix(TIME)),
                         on_delivery=lambda error, message: error and failed.append(error))
    if producer.flush(librdkafka.SECONDS_MAX) or failed:
        raise SystemExit(f"{topic}: not delivered: {failed[:3]}")


if __name__ == "__main__":
    {"consume": consume, "produce": produce}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
