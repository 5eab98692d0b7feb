#!/usr/bin/env python3
"""What durable writes wait while files of 1 GiB are removed beside them: all at once, or cut down in steps first.

usage: removal.py DIR     (a directory on the file system in question; takes 4 GiB there for a minute and a half)
"""
import mmap
import os
import sys
import threading
import time

FILES = 3
FILE_BYTES = 1 << 30
# As src/log/deleted.rs has them.
STEP_BYTES = 64 << 20
STEP_PAUSE_S = 0.02
JOURNAL_BYTES = 64 << 20
WRITE_BYTES = 16 << 10
# Freed space is trimmed for some seconds after the last unlink.
AFTER_S = 5.5


def aligned(size):
    block = mmap.mmap(-1, size)
    block.write(os.urandom(size))
    return block


def filled(path, size):
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    block = aligned(1 << 20)
    for position in range(0, size, 1 << 20):
        os.pwrite(file, block, position)
    os.fsync(file)
    os.close(file)


def write_durably(journal, stop, seen):
    """A journal: durable writes into space that was written before."""
    file = os.open(journal, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    block, position = aligned(WRITE_BYTES), 0
    while not stop.is_set():
        began = time.perf_counter()
        os.pwrite(file, block, position)
        seen.append((began, time.perf_counter() - began))
        position = (position + WRITE_BYTES) % JOURNAL_BYTES
        time.sleep(0.001)
    os.close(file)


def grow_durably(path, stop, seen):
    """A file that grows: each sync needs the file system's own journal."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    block = os.urandom(4096)
    while not stop.is_set():
        began = time.perf_counter()
        os.write(file, block)
        os.fdatasync(file)
        seen.append((began, time.perf_counter() - began))
        time.sleep(0.002)
    os.close(file)
    os.unlink(path)


def timed(calls, call, *arguments):
    began = time.perf_counter()
    call(*arguments)
    calls.append(time.perf_counter() - began)


def remove(how, paths):
    calls = []
    if how == "none":
        time.sleep(1)
    for path in paths if how != "none" else []:
        if how == "steps":
            for left in range(FILE_BYTES - STEP_BYTES, 0, -STEP_BYTES):
                timed(calls, os.truncate, path, left)
                time.sleep(STEP_PAUSE_S)
        timed(calls, os.unlink, path)
    return calls


def summary(seen, since):
    waits = sorted(wait * 1e3 for began, wait in seen if began >= since)
    at = lambda part: waits[min(len(waits) - 1, int(len(waits) * part))]
    return f"p50 {at(0.5):.2f} p99 {at(0.99):.2f} p99.9 {at(0.999):.2f} max {waits[-1]:.1f} ms of {len(waits)}"


def run(directory, how):
    journal = os.path.join(directory, "journal")
    paths = [os.path.join(directory, f"segment-{number}") for number in range(FILES)]
    filled(journal, JOURNAL_BYTES)
    for path in paths:
        filled(path, FILE_BYTES)
    stop, durable, growing = threading.Event(), [], []
    writers = [
        threading.Thread(target=write_durably, args=(journal, stop, durable)),
        threading.Thread(target=grow_durably, args=(os.path.join(directory, "growing"), stop, growing)),
    ]
    for writer in writers:
        writer.start()
    time.sleep(1)
    since = time.perf_counter()
    calls = remove(how, paths)
    time.sleep(AFTER_S)
    stop.set()
    for writer in writers:
        writer.join()
    for path in [journal, *paths]:
        if os.path.exists(path):
            os.unlink(path)
    print(f"{how:6} longest call {max(calls, default=0) * 1e3:.1f} ms", flush=True)
    print(f"       durable {summary(durable, since)}\n       growing {summary(growing, since)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    for _ in range(2):
        for how in ("none", "unlink", "steps"):
            run(sys.argv[1], how)
