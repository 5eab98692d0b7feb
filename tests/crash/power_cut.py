#!/usr/bin/env python3
"""Power cuts on a real file system: what a broker acknowledged is there after any of them, and nothing else has changed.

    power_cut.py --broker target/release/ringlane [--cuts 200] [--per-load 50] [--seconds 6] [--flush-messages 1] [--seed N]

A broker writes to ext4 on a disk that records each write and flush (`recording_disk.py`), with small segments, so that it rolls and makes
checkpoints all the time. After `--seconds` of load it is killed, and the disk is made as a power cut at random moments may have left it: all
that was flushed, and each sector after that present or not, by chance. On each of these disks a broker is started, as after a reboot, and
every partition is read: each record acknowledged before the moment stands at its offset with its bytes, and every other record is whole and
in its place. Each load is another mixture of small and large batches, on a fresh disk.

Needs root, e2fsprogs, /dev/fuse, a loop device, and the PyPI package confluent-kafka; without the machine's part it says so and skips.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from kit import Broker, Load, create_topic, faults_in, need_root, read_all, run, skip_without, unmount
from recording_disk import Cuts

DISK_MIB = 1024
# What is not flushed may be gone, be there whole, or anything between.
KEEP_CHOICES = (0.0, 0.1, 0.5, 0.5, 0.9, 1.0)
OPTIONS = ["log.segment.bytes=4194304"]


class RecordedDisk:
    """An ext4 file system on a recording disk. `with` mounts it and takes it down."""

    def __init__(self, directory, fail=None):
        self.base, self.image, self.record = (os.path.join(directory, name) for name in ("base.img", "disk.img", "record"))
        self.fuse, self.path, self.fail = os.path.join(directory, "fuse"), os.path.join(directory, "mounted"), fail

    def __enter__(self):
        os.makedirs(self.fuse)
        os.makedirs(self.path)
        run("truncate", "-s", f"{DISK_MIB}M", self.base)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.base)
        run("cp", "--sparse=always", self.base, self.image)
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recording_disk.py")
        command = [sys.executable, server, self.fuse, self.image, self.record]
        command += ["--fail", self.fail] if self.fail else []
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not self.server.stdout.readline():
            skip_without("a FUSE file system cannot be mounted here")
        try:
            run("mount", "-o", "loop", os.path.join(self.fuse, "disk"), self.path)
        except RuntimeError as error:
            self.__exit__()
            skip_without(str(error))
        return self

    def __exit__(self, *_):
        if os.path.ismount(self.path):
            unmount(self.path)
        unmount(self.fuse)
        self.server.wait(60)


def load_once(args, directory, chance):
    """Runs a broker under load on a fresh recorded disk and kills it; what it acknowledged."""
    with RecordedDisk(directory) as disk:
        broker = Broker(args.broker, disk.path + "/data", directory + "/broker.log", OPTIONS)
        broker.start()
        create_topic(broker.address, **{"flush.messages": str(args.flush_messages)})
        kinds = chance.choice((["idem", "plain"], ["idem", "large"], ["plain", "large", "idem"], ["large"]))
        loads = [Load(kind, broker.address, kind == "idem", 150 if kind == "large" else chance.choice((300, 1500))) for kind in kinds]
        time.sleep(args.seconds)
        broker.kill()
        for load in loads:
            load.stop.set()
        for load in loads:
            load.thread.join()
        acked = [record for load in loads for record in load.acked]
    return disk, acked, kinds


def check(args, directory, image, acked, number):
    """Starts a broker on the disk `image`, reads all; faults and how many records it has."""
    mounted = os.path.join(directory, "cut")
    os.makedirs(mounted, exist_ok=True)
    run("mount", "-o", "loop", image, mounted)
    log_path = os.path.join(directory, f"cut-{number}.log")
    broker = Broker(args.broker, mounted + "/data", log_path, OPTIONS)
    try:
        broker.start()
        found, unread, ends = read_all(broker.address)
        return faults_in(found, acked, unread), sum(ends.values())
    except Exception as error:
        return [f"{type(error).__name__}: {error}; the broker's log: {log_path}"], 0
    finally:
        if broker.process and broker.is_running:
            broker.kill()
        unmount(mounted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--per-load", type=int, default=50, help="cuts of one load")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--flush-messages", type=int, default=1, help="more than 1 promises less: a run that must find losses shows that it can")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    need_root()
    print(f"seed {args.seed}", flush=True)
    chance = random.Random(args.seed)
    top = tempfile.mkdtemp(prefix="ringlane-power-", dir=os.environ.get("TMPDIR"))
    done, failed, promised, lost_sectors = 0, 0, 0, 0
    while done < args.cuts:
        directory = os.path.join(top, f"load-{done}")
        os.makedirs(directory)
        disk, acked, kinds = load_once(args, directory, chance)
        cuts = Cuts(disk.base, disk.record, os.path.join(directory, "flushed.img"))
        first = next((n for n, event in enumerate(cuts.events) if acked and event.at >= acked[0].at), 0)
        moments = sorted(chance.randrange(first, len(cuts.events)) + 1 for _ in range(min(args.per_load, args.cuts - done)))
        print(f"load of {', '.join(kinds)}: {len(acked)} acknowledged, {len(cuts.events)} writes and flushes", flush=True)
        for moment in moments:
            done += 1
            image, keep = os.path.join(directory, "cut.img"), chance.choice(KEEP_CHOICES)
            kept, lost = cuts.make(image, moment, args.seed + done, keep)
            before = [record for record in acked if record.at <= cuts.events[moment - 1].at]
            faults, found = check(args, directory, image, before, done)
            promised, lost_sectors = promised + len(before), lost_sectors + lost
            print(f"cut {done}: {len(before)} acknowledged before, {found} in the log, {kept} unflushed sectors kept and {lost} lost, "
                  f"{len(faults)} faults", flush=True)
            if faults:
                failed += 1
                print("\n".join(faults[:10]), flush=True)
                os.rename(image, os.path.join(directory, f"cut-{done}.img"))
        if not failed:
            shutil.rmtree(directory)
    print(f"{promised} acknowledged records looked for, {lost_sectors} sectors lost")
    if failed:
        print(f"kept for inspection: {top}")
    else:
        shutil.rmtree(top, ignore_errors=True)
    print(f"{done - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
