"""What the crash tests share: a broker that is started and killed, load that knows what was acknowledged, and the comparison of the two.

Values follow from their producer's name and number (`value_of`), so that neither side keeps them: whatever a log gives is checked whole.
"""
import collections
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 8
TOPIC = "crash"
START_SECONDS_MAX = 60
READ_SECONDS_MAX = 120
FLUSH_NEVER = 2**63 - 1

Acked = collections.namedtuple("Acked", "partition offset name number at")


class Broker:
    """One broker process on one directory and one port, started and killed as often as asked."""

    def __init__(self, binary, data, log_path, options=()):
        self.command = [binary, "server", "--data", data]
        for option in options:
            self.command += ["-o", option]
        self.log_path, self.process = log_path, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self):
        self.log = open(self.log_path, "a")
        command = [*self.command, "--listen", self.address]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        watchdog = threading.Timer(START_SECONDS_MAX, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            sys.exit(f"the broker did not serve within {START_SECONDS_MAX} s; its log: {self.log_path}")

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)
        self.log.close()

    @property
    def is_running(self):
        return self.process.poll() is None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


def create_topic(address, **config):
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for made in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config=config)]).values():
        made.result(20)


def value_of(name, number):
    """Small ones, and of a producer named `large` so many bytes that its batches go past the journal."""
    bytes_max = 40_000 if name.startswith("large") else 900
    return f"{name} {number} ".encode() + b"%08x" % (number * 2654435761 % 2**32) * (number * 37 % bytes_max // 8)


class Load:
    """One producer thread; remembers what was acknowledged, where and when."""

    def __init__(self, name, address, idempotent=False, per_second=None, **extra):
        self.name, self.per_second = name, per_second
        self.acked, self.errors = [], collections.Counter()
        self.stop = threading.Event()
        self.producer = Producer({
            "bootstrap.servers": address, "acks": "all", "enable.idempotence": idempotent, "linger.ms": 2,
            "message.timeout.ms": 4000, "socket.timeout.ms": 3000, "log_level": 0,
            "compression.type": "lz4" if idempotent else "none", **extra,
        })
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        number, began = 0, time.monotonic()
        while not self.stop.is_set():
            if self.per_second and number > (time.monotonic() - began) * self.per_second:
                self.producer.poll(0.002)
                continue
            try:
                told = lambda error, message, number=number: self.delivered(number, error, message)
                self.producer.produce(TOPIC, value_of(self.name, number), partition=number % PARTITIONS, on_delivery=told)
                number += 1
            except BufferError:
                self.producer.poll(0.05)
            self.producer.poll(0)
        self.producer.flush(6)

    def delivered(self, number, error, message):
        if error is None:
            self.acked.append(Acked(message.partition(), message.offset(), self.name, number, time.monotonic()))
        else:
            self.errors[error.name()] += 1

    def finish(self):
        self.stop.set()
        self.thread.join()


def read_all(address):
    """Every record of every partition: {partition: [(offset, value), ...]}, the partitions that did not end, and where they end."""
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
    at = {}
    for partition, records in sorted(found.items()):
        for (before, _), (after, _) in zip(records, records[1:]):
            if after != before + 1:
                faults.append(f"partition {partition}: offset {after} follows {before}")
        last = {}
        for offset, value in records:
            name, number = value.split(b" ", 2)[:2]
            name, number = name.decode(), int(number)
            if value != value_of(name, number):
                faults.append(f"partition {partition} offset {offset}: wrong bytes {value[:40]!r}")
            if name.startswith("idem") and number <= last.get(name, -1):
                faults.append(f"partition {partition} offset {offset}: {name} {number} after {last[name]}")
            last[name] = number
            at[partition, offset] = name, number
    for record in acked:
        there = at.get((record.partition, record.offset))
        if there != (record.name, record.number):
            said = "nothing" if there is None else f"{there[0]} {there[1]}"
            faults.append(f"partition {record.partition} offset {record.offset}: acknowledged {record.name} {record.number}, found {said}")
    return faults


def skip_without(reason):
    """What the machine cannot do is said, and is not a failure."""
    print(f"skipped: {reason}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def run(*command):
    """A command of the system; its own words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def unmount(path):
    """The kernel closes the files of a killed process by and by when io_uring has them."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return run("umount", path)
        except RuntimeError as error:
            if "busy" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def need_root():
    if os.geteuid() != 0:
        skip_without("mounting a disk of its own needs root")
    for needed in ("/dev/loop-control", "/dev/fuse"):
        if not os.path.exists(needed):
            skip_without(f"this machine has no {needed}")
    if not shutil.which("mkfs.ext4"):
        skip_without("there is no mkfs.ext4 (Debian: e2fsprogs)")
