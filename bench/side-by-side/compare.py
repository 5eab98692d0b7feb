#!/usr/bin/env python3
"""The same load on several brokers in turn, in one run: MB/s, latency, broker CPU seconds and page faults per GiB, and the ratios.

    compare.py --target kafka,127.0.0.1:9092,PID --target ringlane,127.0.0.1:9192,PID [--only produce,consume] [--repeat 3] [--out DIR]

PID may be a file that holds it. The first target is the reference: ratios are to it, and the load of `e2e-half` is half of its measured
produce peak. Each measurement alternates between the targets, run by run, so that a machine that drifts drifts for both. All threads of the
brokers are pinned to one core (--broker-core), the load client to another (--client-core). "other" is the CPU that everything else on the
machine used, in cores: a figure with much of it is not to be believed.

Measurements: produce (acks=all, 1 KiB records, 8 partitions, full speed), produce-durable (the same on a topic with flush.messages=1),
produce-written (flush.messages at Kafka's default: never), consume (8 partitions from the beginning, just written), e2e-20 (20 MB/s),
e2e-half, ack-latency (200 records/s, one partition, flush.messages=1), many-producers (50 clients, 100 B, keys).

Builds `load` from load.c beside this file; needs librdkafka's headers (Debian: librdkafka-dev, or --librdkafka SRC for a built tree).
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
RECORD_BYTES = 1024
FLUSH_NEVER = 2**63 - 1
COLUMNS = ("mb_s", "rec_s", "p50_ms", "p99_ms", "p999_ms", "cpu_s_per_gib", "faults_per_gib", "broker_cores", "client_cores", "other", "rss_mib")


def build_load(librdkafka):
    program = os.path.join(HERE, "..", "..", "target", "side-by-side-load")
    source = os.path.join(HERE, "load.c")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(program), exist_ok=True)
        flags = []
        if librdkafka:
            headers = os.path.join(os.path.dirname(program), "side-by-side-include")
            os.makedirs(headers, exist_ok=True)
            link = os.path.join(headers, "librdkafka")
            if not os.path.islink(link):
                os.symlink(os.path.abspath(librdkafka), link)
            flags = ["-I" + headers, "-L" + librdkafka, "-Wl,-rpath," + os.path.abspath(librdkafka)]
        subprocess.check_call(["cc", "-O2", source, "-o", program, *flags, "-lrdkafka", "-lpthread"])
    return program


class Usage:
    """CPU seconds and page faults of one process, and of the whole machine, at one instant."""

    def __init__(self, pid):
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        self.faults = int(fields[7])
        self.cpu = (int(fields[11]) + int(fields[12])) / TICKS
        with open("/proc/stat") as stat:
            busy = [int(x) for x in stat.readline().split()[1:]]
        self.machine = (sum(busy) - busy[3] - busy[4]) / TICKS
        self.at = time.time()


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) // 1024


def pin(pid, core):
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), {core})
        except ProcessLookupError:
            pass


class Target:
    def __init__(self, text):
        self.name, self.address, pid = text.split(",")
        self.pid = int(open(pid).read()) if os.path.exists(pid) else int(pid)
        self.filled = None


class Bench:
    def __init__(self, args):
        self.args, self.load = args, build_load(args.librdkafka)
        self.targets = [Target(text) for text in args.target]
        self.rows, self.topics = [], 0
        os.makedirs(args.out, exist_ok=True)

    def topic(self, target, partitions=8, **config):
        self.topics += 1
        name = f"compare-{os.getpid()}-{self.topics}"
        extra = [word for key, value in config.items() for word in ("-X", f"{key.replace('_', '.')}={value}")]
        subprocess.check_call([self.load, "create", "-b", target.address, "-t", name, "-p", str(partitions), *extra])
        return name

    def drop(self, target, name):
        subprocess.call([self.load, "delete", "-b", target.address, "-t", name])

    def run(self, measurement, target, *words):
        """One run of the load client, and what the broker paid for it."""
        pin(target.pid, self.args.broker_core)
        os.sync()
        time.sleep(1)
        before, children = Usage(target.pid), os.times()
        command = ["taskset", "-c", str(self.args.client_core), self.load, *map(str, words), "-b", target.address]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        after, children_after = Usage(target.pid), os.times()
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            sys.exit(f"{measurement} on {target.name}: the load client said: {done.stdout[-800:]}")
        figures = json.loads(lines[-1])
        gib, seconds = figures["all_bytes"] / 2**30, after.at - before.at
        client = children_after.children_user + children_after.children_system - children.children_user - children.children_system
        broker = after.cpu - before.cpu
        row = dict(figures, measurement=measurement, target=target.name, failed_run=done.returncode, cpu_s_per_gib=broker / gib if gib else None,
                   faults_per_gib=(after.faults - before.faults) / gib if gib else None, broker_cores=broker / seconds,
                   client_cores=client / seconds, other=(after.machine - before.machine - broker - client) / seconds,
                   rss_mib=resident_mib(target.pid))
        self.rows.append(row)
        with open(os.path.join(self.args.out, "runs.jsonl"), "a") as out:
            out.write(json.dumps(row) + "\n")
        shown = "  ".join(f"{column} {short(row[column])}" for column in COLUMNS)
        print(f"{measurement:16} {target.name:9} {shown}" + (f"  EXIT {done.returncode}" if done.returncode else ""), flush=True)
        return row

    def produce(self, measurement, target, *extra, **config):
        name = self.topic(target, **config)
        self.run(measurement, target, "produce", "-t", name, "-p", 8, "-s", RECORD_BYTES, "-d", self.args.seconds, "-w", 2, "-X", "acks=all", *extra)
        self.drop(target, name)

    def consume(self, measurement, target):
        if target.filled is None:
            target.filled = self.topic(target)
            subprocess.run([self.load, "produce", "-b", target.address, "-t", target.filled, "-p", "8", "-s", str(RECORD_BYTES),
                            "-n", str(self.args.fill)], check=True, stdout=subprocess.DEVNULL)
        self.run(measurement, target, "consume", "-t", target.filled, "-p", 8, "-n", self.args.fill)

    def end_to_end(self, measurement, target, mb_s):
        name = self.topic(target)
        self.run(measurement, target, "e2e", "-t", name, "-p", 8, "-s", RECORD_BYTES, "-d", self.args.seconds + 5, "-w", 4,
                 "-r", int(mb_s * 1e6 / RECORD_BYTES), "-X", "acks=all", "-X", "linger.ms=1")
        self.drop(target, name)

    def ack_latency(self, measurement, target):
        name = self.topic(target, 1, flush_messages=1)
        self.run(measurement, target, "produce", "-t", name, "-p", 1, "-s", RECORD_BYTES, "-d", self.args.seconds, "-w", 2, "-r", 200,
                 "-X", "acks=all", "-X", "linger.ms=0")
        self.drop(target, name)

    def many_producers(self, measurement, target):
        name = self.topic(target, 16)
        self.run(measurement, target, "produce", "-t", name, "-p", 16, "-s", 100, "-d", self.args.seconds, "-w", 2, "-j", 50, "-k",
                 "-X", "acks=all", "-X", "queue.buffering.max.messages=10000")
        self.drop(target, name)

    def half_of_peak(self):
        peaks = [row["mb_s"] for row in self.rows if row["measurement"] == "produce" and row["target"] == self.targets[0].name]
        return self.args.half or (statistics.median(peaks) / 2 if peaks else 100)

    def measure_all(self):
        plan = {
            "produce": self.produce,
            "produce-durable": lambda m, t: self.produce(m, t, flush_messages=1),
            "produce-written": lambda m, t: self.produce(m, t, flush_messages=FLUSH_NEVER),
            "consume": self.consume,
            "e2e-20": lambda m, t: self.end_to_end(m, t, 20),
            "e2e-half": lambda m, t: self.end_to_end(m, t, self.half_of_peak()),
            "ack-latency": self.ack_latency,
            "many-producers": self.many_producers,
        }
        for target in self.targets:
            self.produce("warm-up", target)
        self.rows.clear()
        for measurement in self.args.only.split(",") if self.args.only else plan:
            for _ in range(self.args.repeat):
                for target in self.targets:
                    plan[measurement](measurement, target)
        for target in self.targets:
            if target.filled:
                self.drop(target, target.filled)


def short(value):
    if value is None or value == -1:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(rows, names):
    lines = ["| measurement | target | " + " | ".join(COLUMNS) + " |", "|---" * (2 + len(COLUMNS)) + "|"]
    for measurement in dict.fromkeys(row["measurement"] for row in rows):
        reference = None
        for name in names:
            runs = [row for row in rows if (row["measurement"], row["target"]) == (measurement, name)]
            if not runs:
                continue
            median = {c: statistics.median([r[c] for r in runs]) if all(r[c] is not None for r in runs) else None for c in COLUMNS}
            lines.append(f"| {measurement} | {name} | " + " | ".join(short(median[c]) for c in COLUMNS) + " |")
            if reference is None:
                reference = median
            else:
                ratios = [f"x{median[c] / reference[c]:.2f}" if median[c] and reference[c] and c not in ("other", "client_cores") else "" for c in COLUMNS]
                lines.append(f"| | {name} / {names[0]} | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", required=True, metavar="NAME,HOST:PORT,PID")
    parser.add_argument("--only", help="measurements, comma separated")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--fill", type=int, default=3_000_000, help="records that `consume` reads")
    parser.add_argument("--half", type=float, help="MB/s of e2e-half instead of half the reference's peak")
    parser.add_argument("--broker-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--librdkafka", metavar="SRC", help="a built librdkafka source folder")
    parser.add_argument("--out", default="side-by-side-out")
    bench = Bench(parser.parse_args())
    bench.measure_all()
    text = table(bench.rows, [target.name for target in bench.targets])
    print(text)
    with open(os.path.join(bench.args.out, "table.md"), "w") as out:
        out.write(text + "\n")


if __name__ == "__main__":
    main()
