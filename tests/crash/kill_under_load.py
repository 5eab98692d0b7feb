#!/usr/bin/env python3
"""Kills the broker with SIGKILL under load, again and again, and checks that nothing it acknowledged is lost.

    kill_under_load.py --broker target/release/ringlane [--rounds 10] [--seconds 3] [--topic-config flush.messages=1] [--seed N]

Each round: two librdkafka producers (one idempotent, one plain, both acks=all) write numbered records to 8 partitions; after a random time
the broker is killed and started again on the same directory; then every partition is read from the start. Checked after each round:
every acknowledged record stands at the offset that the acknowledgement named, with the very same bytes; no offset stands twice; offsets rise
without a gap; the records of the idempotent producer are neither doubled nor out of order.

Needs the PyPI package confluent-kafka. Exit code 0 when nothing was lost, 1 when something was, 2 when the broker could not be driven.
"""
import argparse
import collections
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 8
TOPIC = "crash"
START_SECONDS_MAX = 30
READ_SECONDS_MAX = 120


class Broker:
    """One broker process on one directory and one port, started and killed as often as asked."""

    def __init__(self, binary, directory, options):
        self.binary, self.directory, self.options = binary, directory, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = None

    def start(self):
        command = [self.binary, "server", "--data", self.directory + "/data", "--listen", f"127.0.0.1:{self.port}"]
        for option in self.options:
            command += ["-o", option]
        self.log = open(self.directory + "/broker.log", "a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        watchdog = threading.Timer(START_SECONDS_MAX, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            sys.exit(f"the broker did not serve within {START_SECONDS_MAX} s; its log: {self.directory}/broker.log")

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)
        self.log.close()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


class Load:
    """One producer thread; remembers what was acknowledged and where."""

    def __init__(self, name, address, idempotent, start):
        self.name, self.next = name, start
        self.acked = []  # (partition, offset, value)
        self.stop = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": address, "acks": "all", "enable.idempotence": idempotent, "linger.ms": 2,
            "message.timeout.ms": 4000, "socket.timeout.ms": 3000, "log_level": 0,
            "compression.type": "lz4" if idempotent else "none",
        })
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            number = self.next
            self.next += 1
            value = f"{self.name} {number} ".encode() + b"x" * (number * 37 % 900)
            try:
                self.producer.produce(TOPIC, value, partition=number % PARTITIONS, on_delivery=self.delivered)
            except BufferError:
                self.producer.poll(0.05)
                self.next -= 1
            self.producer.poll(0)
        self.producer.flush(6)

    def delivered(self, error, message):
        if error is None:
            self.acked.append((message.partition(), message.offset(), message.value()))

    def finish(self):
        self.stop.set()
        self.thread.join()


def read_all(address):
    """Every record of every partition: {partition: [(offset, value), ...]}."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "crash-check", "enable.auto.commit": False, "check.crcs": True,
                         "enable.partition.eof": False, "log_level": 0})
    parts = [TopicPartition(TOPIC, p, OFFSET_BEGINNING) for p in range(PARTITIONS)]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=20)[1] for p in parts}
    consumer.assign(parts)
    found = collections.defaultdict(list)
    waiting = {p for p, end in ends.items() if end > 0}
    deadline = time.monotonic() + READ_SECONDS_MAX
    while waiting and time.monotonic() < deadline:
        for message in consumer.consume(10000, timeout=1):
            if message.error():
                raise KafkaException(message.error())
            found[message.partition()].append((message.offset(), message.value()))
            if message.offset() + 1 >= ends[message.partition()]:
                waiting.discard(message.partition())
    consumer.close()
    return found, waiting, ends


def faults_in(found, acked, unread):
    """What is wrong with the log, in words; nothing when all is well."""
    faults = [f"partition {p}: could not be read to its end" for p in sorted(unread)]
    for partition, records in found.items():
        for (before, _), (after, _) in zip(records, records[1:]):
            if after != before + 1:
                faults.append(f"partition {partition}: offset {after} follows {before}")
    at = {(p, offset): value for p, records in found.items() for offset, value in records}
    for partition, offset, value in acked:
        there = at.get((partition, offset))
        if there != value:
            said = "nothing" if there is None else repr(there[:40])
            faults.append(f"partition {partition} offset {offset}: acknowledged {value[:40]!r}, found {said}")
    for partition, records in found.items():
        last = {}
        for offset, value in records:
            name, number = value.split(b" ", 2)[:2]
            if name.startswith(b"idem") and int(number) <= last.get(name, -1):
                faults.append(f"partition {partition} offset {offset}: {name.decode()} {int(number)} after {last[name]}")
            last[name] = int(number)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="longest time under load before a kill")
    parser.add_argument("--topic-config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="broker option")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    chance = random.Random(args.seed)
    directory = tempfile.mkdtemp(prefix="ringlane-crash-", dir=os.environ.get("TMPDIR"))
    broker = Broker(args.broker, directory, args.options)
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
    config = dict(pair.split("=", 1) for pair in args.topic_config)
    for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config=config)]).values():
        made.result(20)

    acked, failed = [], False
    for round_number in range(1, args.rounds + 1):
        loads = [Load(f"{kind}-{round_number}", broker.address, kind == "idem", 0) for kind in ("idem", "plain")]
        time.sleep(chance.uniform(0.5, args.seconds))
        broker.kill()
        started = time.monotonic()
        broker.start()
        restart_ms = (time.monotonic() - started) * 1000
        for load in loads:
            load.finish()
            acked += load.acked
        found, unread, ends = read_all(broker.address)
        faults = faults_in(found, acked, unread)
        print(f"round {round_number}: {sum(len(load.acked) for load in loads)} acknowledged ({len(acked)} in all), "
              f"{sum(ends.values())} in the log, restart {restart_ms:.0f} ms, {len(faults)} faults", flush=True)
        if faults:
            print("\n".join(faults[:20]), flush=True)
            failed = True
            break
    broker.kill(signal.SIGTERM)
    if failed:
        print(f"kept for inspection: {directory}")
    else:
        shutil.rmtree(directory)
    print(f"{0 if failed else args.rounds} passed, {1 if failed else 0} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
