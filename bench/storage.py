#!/usr/bin/env python3
"""What the storage engine promises, each line against a floor or against itself, in one run on one disk; medians of alternating runs.

    storage.py --broker target/release/ringlane --data DIR [--only ack,sequential,producers,partitions,deletes] [--repeat 3] [--seconds 8]

ack          a durable ack of 1 KiB and of 16 KiB, one producer, one at a time, paced: p99 against a bare O_DSYNC write of the block that the
             journal writes for it (goal at most 1.3). The client is a plain socket in this process: polling clients add up to a millisecond.
sequential   produce of large batches, durable, against bare O_DIRECT writes of 1 MiB (goal at least 0.8), and the same produce into memory
             (tmpfs): the limit of the wire and of the client, beyond which a disk cannot show anything.
producers    50 keyed producers on 100 partitions against 4 (goal at least 0.9), records of 100 bytes.
partitions   4 keyed producers on 10,000 partitions against 10 (goal at least 0.8), and the memory of an idle broker with 10,000.
deletes      produce at --rate MB/s while retention deletes segments, against the same without: p99 (goal at most 1.5).

The broker runs on --broker-core, clients on --client-core. A line says what it measured, both values, and the ratio; --out FILE gets it all as
JSON. Needs librdkafka's headers for `side-by-side/load.c` (Debian: librdkafka-dev, or --librdkafka SRC).
"""
import argparse
import json
import mmap
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "side-by-side"))
from compare import build_load, resident_mib  # noqa: E402

BLOCK_BYTES = 4096
JOURNAL_BYTES = 64 << 20
# Heads of a journal's write and entry, and of a record batch, are less than this together.
HEADS_BYTES = 256
PACE_SECONDS = 0.002
IDLE_SECONDS = 5
# In all producers together, so that fewer producers are not given less to batch.
QUEUED_RECORDS = 500_000


class Broker:
    """A broker on an empty directory. `with` starts and stops it."""

    def __init__(self, args, where, *options):
        self.args, self.options = args, options
        self.directory = tempfile.mkdtemp(prefix="storage-bench-", dir=where)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"

    def __enter__(self):
        core = str(self.args.broker_core)
        command = ["taskset", "-c", core, self.args.broker, "server", "--cores", core, "--data", self.directory, "--listen", self.address]
        for option in self.options:
            command += ["-o", option]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if not self.process.stdout.readline():
            sys.exit("the broker does not start")
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        shutil.rmtree(self.directory, ignore_errors=True)

    def create(self, topic, partitions, **config):
        extra = [word for key, value in config.items() for word in ("-X", f"{key.replace('_', '.')}={value}")]
        subprocess.check_call([self.args.load, "create", "-b", self.address, "-t", topic, "-p", str(partitions), *extra])

    def load(self, topic, partitions, *words):
        command = ["taskset", "-c", str(self.args.client_core), self.args.load, "produce", "-b", self.address, "-t", topic, "-p", str(partitions),
                   "-d", str(self.args.seconds), "-w", "2", "-X", "acks=all", *map(str, words)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            sys.exit(f"the load client said: {done.stdout[-800:]}")
        return json.loads(lines[-1])


# ── bare writes ──

def aligned(size):
    block = mmap.mmap(-1, size)
    block.write(os.urandom(size))
    return block


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def bare_durable_writes(directory, block_bytes, count):
    """Paced O_DSYNC writes of one block each into written space, as a journal's: seconds of each."""
    path = os.path.join(directory, "bare")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC)
    zeros = mmap.mmap(-1, 1 << 20)
    for position in range(0, JOURNAL_BYTES, 1 << 20):
        os.pwrite(file, zeros, position)
    block, position, seen = aligned(block_bytes), 0, []
    for _ in range(count):
        began = time.perf_counter()
        os.pwrite(file, block, position)
        seen.append(time.perf_counter() - began)
        position = (position + block_bytes) % (JOURNAL_BYTES - block_bytes)
        position -= position % BLOCK_BYTES
        time.sleep(PACE_SECONDS)
    os.close(file)
    os.unlink(path)
    return seen


def bare_sequential_write(directory, seconds):
    """MB/s of O_DIRECT writes of 1 MiB, four in turn by as many processes, into space set aside, made durable at the end."""
    total, children, block_bytes = 4, [], 1 << 20
    began = time.perf_counter()
    for number in range(total):
        reader, writer = os.pipe()
        if os.fork() == 0:
            path = os.path.join(directory, f"bare-{number}")
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            block, position = aligned(block_bytes), 0
            while time.perf_counter() - began < seconds and position < 2 << 30:
                if position % (64 << 20) == 0:
                    os.posix_fallocate(file, position, 64 << 20)
                position += os.pwrite(file, block, position)
            os.fdatasync(file)
            os.write(writer, struct.pack("<Qd", position, time.perf_counter()))
            os.unlink(path)
            os._exit(0)
        children.append(reader)
    ends = [struct.unpack("<Qd", os.read(reader, 16)) for reader in children]
    for _ in children:
        os.wait()
    return sum(end[0] for end in ends) / (max(end[1] for end in ends) - began) / 1e6


# ── a client that does not poll ──

def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def crc32c(data, table=crc32c_table()):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def varint(value):
    value, out = value << 1, b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def produce_request(topic, value_bytes):
    """Produce v7 with one record, acks=all."""
    body = b"\0" + varint(0) + varint(0) + b"\x01" + varint(value_bytes) + os.urandom(value_bytes) + varint(0)
    record = varint(len(body)) + body
    now = int(time.time() * 1000)
    checked = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + record
    batch = struct.pack(">qiibI", 0, 9 + len(checked), -1, 2, crc32c(checked)) + checked
    name = struct.pack(">h", len(topic)) + topic.encode()
    head = struct.pack(">hhih", 0, 7, 1, 5) + b"bench"
    request = head + struct.pack(">hhii", -1, -1, 10000, 1) + name + struct.pack(">iii", 1, 0, len(batch)) + batch
    return struct.pack(">i", len(request)) + request


def acks(address, topic, value_bytes, count):
    """Seconds from sending a record until its ack is here, one at a time, paced."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request, seen = produce_request(topic, value_bytes), []
    for _ in range(count):
        began = time.perf_counter()
        connection.sendall(request)
        answer = connection.recv(4096)
        seen.append(time.perf_counter() - began)
        # Size, correlation, topics, name, partitions, partition: then the error.
        (error,) = struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(topic) + 4 + 4)
        if error:
            sys.exit(f"produce was refused with error {error}")
        time.sleep(PACE_SECONDS)
    return seen


# ── the lines ──

class Bench:
    def __init__(self, args):
        self.args, self.rows = args, []

    def alternate(self, what, unit, goal, first, second):
        """Runs the two in turn; the ratio of their medians, second to first."""
        values = {first[0]: [], second[0]: []}
        for _ in range(self.args.repeat):
            for name, measure in (first, second):
                values[name].append(measure())
        medians = [statistics.median(values[name]) for name, _ in (first, second)]
        ratio = medians[1] / medians[0]
        row = dict(what=what, unit=unit, goal=goal, ratio=round(ratio, 3), median={first[0]: medians[0], second[0]: medians[1]}, runs=values)
        self.rows.append(row)
        print(f"{what}: {first[0]} {medians[0]:.4g} {unit}, {second[0]} {medians[1]:.4g} {unit}, ratio {ratio:.2f} (goal {goal})", flush=True)
        print("    " + "; ".join(f"{name} " + ", ".join(f"{value:.4g}" for value in runs) for name, runs in values.items()), flush=True)
        return row

    def ack(self):
        count = int(self.args.seconds / PACE_SECONDS / 2)
        for value_bytes in (1 << 10, 16 << 10):
            block_bytes = -(-(value_bytes + HEADS_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
            with Broker(self.args, self.args.data) as broker:
                broker.create("acks", 1, flush_messages=1)
                for part in (0.5, 0.99):
                    self.alternate(
                        f"ack of {value_bytes >> 10} KiB, p{part * 100:.0f}", "us", "<= 1.3 at p99",
                        (f"O_DSYNC write of {block_bytes >> 10} KiB",
                         lambda: percentile(bare_durable_writes(self.args.data, block_bytes, count), part) * 1e6),
                        ("ack", lambda: percentile(acks(broker.address, "acks", value_bytes, count), part) * 1e6))

    def sequential(self):
        def produce(where, **config):
            with Broker(self.args, where) as broker:
                broker.create("large", 8, **config)
                return broker.load("large", 8, "-s", 1024, "-X", "batch.size=1000000", "-X", "linger.ms=20")["mb_s"]
        durable = ("produce, durable", lambda: produce(self.args.data, flush_messages=1))
        self.alternate("large batches against the disk", "MB/s", ">= 0.8, or the wire's limit",
                       ("bare O_DIRECT writes", lambda: bare_sequential_write(self.args.data, self.args.seconds)), durable)
        self.alternate("large batches against the wire", "MB/s", ">= 0.8", ("produce into memory", lambda: produce("/dev/shm")), durable)

    def keyed(self, producers, partitions):
        with Broker(self.args, self.args.data) as broker:
            broker.create("keyed", partitions, flush_messages=1)
            return broker.load("keyed", partitions, "-s", 100, "-j", producers, "-k",
                               "-X", f"queue.buffering.max.messages={QUEUED_RECORDS // producers}")["rec_s"]

    def producers(self):
        self.alternate("keyed records of 100 bytes, 100 partitions", "records/s", ">= 0.9",
                       ("4 producers", lambda: self.keyed(4, 100)), ("50 producers", lambda: self.keyed(50, 100)))

    def partitions(self):
        self.alternate("keyed records of 100 bytes, 4 producers", "records/s", ">= 0.8",
                       ("10 partitions", lambda: self.keyed(4, 10)), ("10,000 partitions", lambda: self.keyed(4, 10000)))
        with Broker(self.args, self.args.data) as broker:
            broker.create("idle", 10000)
            time.sleep(IDLE_SECONDS)
            mib = resident_mib(broker.process.pid)
            self.rows.append(dict(what="idle with 10,000 partitions", unit="MiB", value=mib))
            print(f"idle with 10,000 partitions: {mib} MiB resident", flush=True)

    def deletes(self):
        rate = int(self.args.rate * 1e6 / 1024)

        def p99(**config):
            with Broker(self.args, self.args.data, "log.retention.check.interval.ms=500") as broker:
                broker.create("rolling", 8, flush_messages=1, segment_bytes=32 << 20, file_delete_delay_ms=0, **config)
                run = broker.load("rolling", 8, "-s", 1024, "-r", rate, "-X", "linger.ms=5")
                if run["mb_s"] < 0.95 * self.args.rate:
                    print(f"    only {run['mb_s']:.0f} MB/s came through: take a lower --rate", flush=True)
                return run["p99_ms"]
        self.alternate(f"p99 at {self.args.rate:g} MB/s", "ms", "<= 1.5", ("without deletes", p99),
                       ("while segments go", lambda: p99(retention_bytes=64 << 20)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--data", required=True, help="a directory on the disk in question, made when missing")
    parser.add_argument("--only", default="ack,sequential,producers,partitions,deletes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rate", type=float, default=200, help="MB/s of `deletes`")
    parser.add_argument("--broker-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--librdkafka", metavar="SRC")
    parser.add_argument("--out", metavar="FILE")
    args = parser.parse_args()
    os.makedirs(args.data, exist_ok=True)
    os.sched_setaffinity(0, {args.client_core})
    args.load = build_load(args.librdkafka)
    bench = Bench(args)
    for name in args.only.split(","):
        getattr(bench, name)()
    if args.out:
        with open(args.out, "w") as out:
            json.dump(bench.rows, out, indent=1)


if __name__ == "__main__":
    main()
