#!/usr/bin/env python3
"""A full disk and a failing one under a running broker: produce is refused and says why, reads go on, and what was acknowledged is there.

    disk_faults.py --broker target/release/ringlane

full: ext4 on a small loop device is filled up beside the broker. Produce is refused with KAFKA_STORAGE_ERROR within seconds, every record
acknowledged before can be read, and when the space is back, produce goes on, without a restart.
failing: a disk that answers writes and flushes with EIO from a moment on (`recording_disk.py`). Produce is refused with KAFKA_STORAGE_ERROR,
reads go on. When the disk is in order again, a restart brings everything acknowledged back: a failed write is never tried again before.

Needs root, e2fsprogs, /dev/fuse, a loop device, and the PyPI package confluent-kafka; without the machine's part it says so and skips.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time

from confluent_kafka import Producer

from kit import TOPIC, Broker, Load, create_topic, faults_in, need_root, read_all, run, unmount
from power_cut import RecordedDisk

DISK_MIB = 640
# What a client's retries may hide: each try is refused, and the last one's reason is what it reports.
REFUSED = "KAFKA_STORAGE_ERROR"
WAIT_SECONDS_MAX = 30


def ask(address):
    """The answer to one record: None when it was acknowledged."""
    answers = []
    producer = Producer({"bootstrap.servers": address, "acks": "all", "retries": 0, "message.timeout.ms": 10000, "log_level": 0})
    producer.produce(TOPIC, b"plain-ask 0 ", partition=0, on_delivery=lambda error, _: answers.append(error and error.name()))
    producer.flush(15)
    return answers[0] if answers else "no answer"


def until(address, wanted):
    """Asks until the answer is `wanted`; the last answer and the seconds it took."""
    began = time.monotonic()
    while True:
        answer = ask(address)
        if answer == wanted or time.monotonic() - began > WAIT_SECONDS_MAX:
            return answer, time.monotonic() - began
        time.sleep(0.2)


def some_load(address, seconds, name):
    loads = [Load(f"{kind}-{name}", address, kind == "idem", 500) for kind in ("idem", "plain")]
    time.sleep(seconds)
    for load in loads:
        load.finish()
    return [record for load in loads for record in load.acked]


def asked_out(found):
    """Without the records of `ask`, which are all alike."""
    return {p: [(offset, value) for offset, value in records if not value.startswith(b"plain-ask")] for p, records in found.items()}


def lost_in(address, acked):
    found, unread, _ = read_all(address)
    return [fault for fault in faults_in(asked_out(found), acked, unread) if " follows " not in fault]


def expect(problems, what, is_so):
    print(f"  {'ok  ' if is_so else 'NOT '} {what}", flush=True)
    if not is_so:
        problems.append(what)


def full(args, directory):
    problems = []
    image, mounted = os.path.join(directory, "disk.img"), os.path.join(directory, "mounted")
    os.makedirs(mounted)
    run("truncate", "-s", f"{DISK_MIB}M", image)
    run("mkfs.ext4", "-q", image)
    run("mount", "-o", "loop", image, mounted)
    broker = Broker(args.broker, mounted + "/data", directory + "/broker.log")
    try:
        broker.start()
        create_topic(broker.address, **{"flush.messages": "1"})
        acked = some_load(broker.address, 2, "before")
        ballast = os.path.join(mounted, "ballast")
        free_bytes = os.statvfs(mounted).f_bavail * os.statvfs(mounted).f_frsize
        run("fallocate", "-l", str(free_bytes - (4 << 20)), ballast)
        answer, seconds = until(broker.address, REFUSED)
        expect(problems, f"a full disk: produce is answered {answer} after {seconds:.1f} s", answer == REFUSED)
        lost = lost_in(broker.address, acked)
        expect(problems, f"all {len(acked)} acknowledged records can be read meanwhile {lost[:3] or ''}", not lost)
        os.unlink(ballast)
        answer, seconds = until(broker.address, None)
        expect(problems, f"space again: produce is answered {answer or 'with an offset'} after {seconds:.1f} s, without a restart", answer is None)
        acked += some_load(broker.address, 1, "after")
        broker.kill()
        broker.start()
        lost = lost_in(broker.address, acked)
        expect(problems, f"all {len(acked)} acknowledged records are there after kill -9 and a start {lost[:3] or ''}", not lost)
    finally:
        if broker.process and broker.is_running:
            broker.kill()
        unmount(mounted)
    return problems


def failing(args, directory):
    problems = []
    fail = os.path.join(directory, "fail")
    with RecordedDisk(directory, fail) as disk:
        broker = Broker(args.broker, disk.path + "/data", directory + "/broker.log")
        try:
            broker.start()
            create_topic(broker.address, **{"flush.messages": "1"})
            acked = some_load(broker.address, 2, "before")
            # The first consumer with a group makes the topic of offsets, and a broker whose metadata cannot be written stops, as Kafka's does.
            expect(problems, "all of it can be read before", not lost_in(broker.address, acked))
            open(fail, "w").close()
            answer, seconds = until(broker.address, REFUSED)
            expect(problems, f"a failing disk: produce is answered {answer} after {seconds:.1f} s", answer == REFUSED)
            lost = lost_in(broker.address, acked)
            expect(problems, f"all {len(acked)} acknowledged records can be read meanwhile {lost[:3] or ''}", not lost)
            expect(problems, "the broker runs", broker.is_running)
        finally:
            os.path.exists(fail) and os.unlink(fail)
            if broker.process and broker.is_running:
                broker.kill()
        # As a machine that was started again: the file system has given up on a disk that failed, and comes back with its own journal.
        unmount(disk.path)
        run("mount", "-o", "loop", os.path.join(disk.fuse, "disk"), disk.path)
        try:
            broker.start()
            answer, _ = until(broker.address, None)
            expect(problems, f"in order again and started: produce is answered {answer or 'with an offset'}", answer is None)
            lost = lost_in(broker.address, acked)
            expect(problems, f"all {len(acked)} acknowledged records are there {lost[:3] or ''}", not lost)
        finally:
            if broker.process and broker.is_running:
                broker.kill()
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--only", choices=("full", "failing"))
    args = parser.parse_args()
    need_root()
    failed = 0
    tests = [test for test in (full, failing) if args.only in (None, test.__name__)]
    for test in tests:
        directory = tempfile.mkdtemp(prefix="ringlane-fault-", dir=os.environ.get("TMPDIR"))
        print(test.__name__, flush=True)
        if test(args, directory):
            failed += 1
            print(f"kept for inspection: {directory}")
        else:
            shutil.rmtree(directory)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
