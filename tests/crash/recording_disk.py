#!/usr/bin/env python3
"""A disk that remembers every write and flush, so that what a power cut would have left can be made afterwards, for any moment.

    recording_disk.py MOUNT IMAGE RECORD [--fail FILE]

Serves the file IMAGE as MOUNT/disk, for a loop device; speaks the kernel's FUSE protocol on /dev/fuse itself and needs root, nothing else.
The loop device hands it every block and every flush, whoever writes them and how: io_uring, direct or not. RECORD gets one `EVENT` for each,
RECORD.bytes what was written. While FILE exists, writes and flushes fail with EIO. Ends when MOUNT is unmounted.

What is acknowledged to a flush is what `Cuts` keeps; of the rest each sector of 512 bytes may be there or not, whatever its neighbours are.
"""
import argparse
import collections
import ctypes
import errno
import os
import random
import stat
import struct
import subprocess
import time

SECTOR_BYTES = 512
WRITE_BYTES_MAX = 256 << 10
ROOT, DISK = 1, 2
EVENT = struct.Struct("<cQIQd")  # W or F, position on the disk, bytes, position in RECORD.bytes, monotonic seconds
Event = collections.namedtuple("Event", "kind position bytes at_byte at")

REQUEST = struct.Struct("<IIQQIIIHH")  # length, operation, unique, node, uid, gid, pid, extensions, padding
ANSWER = struct.Struct("<IiQ")
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 27, 28, 29, 36, 38, 42
WITHOUT_ANSWER = (FORGET, INTERRUPT, BATCH_FORGET)
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
FOREVER = 1 << 30


class Disk:
    def __init__(self, args):
        self.image = os.open(args.image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        new = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        self.record, self.bytes = os.open(args.record, new), os.open(args.record + ".bytes", new)
        self.recorded_bytes, self.fail = 0, args.fail

    def serve(self, device):
        while True:
            try:
                request = os.read(device, WRITE_BYTES_MAX + (1 << 16))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # unmounted
            _, operation, unique, node, *_ = REQUEST.unpack_from(request)
            if operation in WITHOUT_ANSWER:
                continue
            try:
                code, body = 0, self.answer(operation, node, memoryview(request)[REQUEST.size:])
            except OSError as error:
                code, body = -(error.errno or errno.EIO), b""
            os.writev(device, [ANSWER.pack(ANSWER.size + len(body), code, unique), body])

    def answer(self, operation, node, body):
        if operation == INIT:
            major, minor, read_ahead, _ = struct.unpack_from("<IIII", body)
            limits = struct.pack("<HHIIHHI", 16, 12, WRITE_BYTES_MAX, 1, WRITE_BYTES_MAX // 4096, 0, 0)
            return struct.pack("<IIII", 7, min(minor, 31), read_ahead, BIG_WRITES | MAX_PAGES) + limits + bytes(28)
        if operation == LOOKUP:
            if node != ROOT or bytes(body).rstrip(b"\0") != b"disk":
                raise OSError(errno.ENOENT, "there is one file")
            return struct.pack("<QQQQII", DISK, 0, FOREVER, FOREVER, 0, 0) + self.attributes(DISK)
        if operation in (GETATTR, SETATTR):
            return struct.pack("<QII", FOREVER, 0, 0) + self.attributes(node)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if operation == READ:
            _, position, count = struct.unpack_from("<QQI", body)
            return os.pread(self.image, count, position)
        if operation == WRITE:
            return self.write(body)
        if operation == FSYNC:
            self.may_fail()
            self.remember(b"F", 0, 0)
            return b""
        if operation == STATFS:
            return bytes(80)
        if operation in (FLUSH, RELEASE, RELEASEDIR, READDIR, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not needed")

    def attributes(self, node):
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o600
        size = 0 if node == ROOT else self.size
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def write(self, body):
        self.may_fail()
        _, position, count = struct.unpack_from("<QQI", body)
        data = body[40:40 + count]
        os.pwrite(self.image, data, position)
        os.write(self.bytes, data)
        self.remember(b"W", position, count)
        return struct.pack("<II", count, 0)

    def remember(self, kind, position, count):
        os.write(self.record, EVENT.pack(kind, position, count, self.recorded_bytes, time.monotonic()))
        self.recorded_bytes += count

    def may_fail(self):
        if self.fail and os.path.exists(self.fail):
            raise OSError(errno.EIO, "the disk was told to fail")


def mount(path):
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={WRITE_BYTES_MAX}".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"recording-disk", path.encode(), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), f"mounting at {path}")
    return device


class Cuts:
    """Makes the disk as it may be after a power cut, from the image before the first write and the record. Moments only go forward."""

    def __init__(self, base, record, work):
        with open(record, "rb") as file:
            content = file.read()
        self.events = [Event(*EVENT.unpack_from(content, at)) for at in range(0, len(content) - EVENT.size + 1, EVENT.size)]
        self.written = open(record + ".bytes", "rb")
        # The disk with all that was flushed before event `applied`.
        self.work, self.applied = work, 0
        subprocess.check_call(["cp", "--sparse=always", base, work])

    def make(self, path, count, seed, keep):
        """The disk after the first `count` events: what was flushed, and of each sector after that the share `keep`, by chance."""
        flushed = max((n for n, event in enumerate(self.events[:count]) if event.kind == b"F"), default=0)
        with open(self.work, "r+b") as disk:
            for event in self.events[self.applied:flushed]:
                if event.kind == b"W":
                    disk.seek(event.position)
                    disk.write(self.bytes_of(event))
        self.applied = max(self.applied, flushed)
        subprocess.check_call(["cp", "--sparse=always", self.work, path])
        chance, kept, lost = random.Random(seed), 0, 0
        with open(path, "r+b") as disk:
            for event in self.events[flushed:count]:
                data = self.bytes_of(event) if event.kind == b"W" else b""
                for at in range(0, len(data), SECTOR_BYTES):
                    if chance.random() < keep:
                        disk.seek(event.position + at)
                        disk.write(data[at:at + SECTOR_BYTES])
                        kept += 1
                    else:
                        lost += 1
        return kept, lost

    def bytes_of(self, event):
        self.written.seek(event.at_byte)
        return self.written.read(event.bytes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mount")
    parser.add_argument("image")
    parser.add_argument("record")
    parser.add_argument("--fail", metavar="FILE")
    args = parser.parse_args()
    disk = Disk(args)
    device = mount(args.mount)
    print("mounted", flush=True)
    disk.serve(device)


if __name__ == "__main__":
    main()
