#!/usr/bin/env python3
"""A Kafka Streams word count under fire: the broker and the application are killed with SIGKILL, and every count must come out exact.

    word_count.py --jars target/clients/streams --broker target/release/ringlane [--protocol classic|streams] [--guarantee exactly_once_v2]
                  [--rounds 4] [--lines 2000] [--standbys 0] [-o KEY=VALUE]... [--seed N]
    word_count.py --jars ... --address HOST:PORT     the same against a broker that runs (any; Kafka too): only the application is killed

Two instances of the application (two threads each, a repartition topic, a state store) count words while lines are written. Each round kills
something at a random time: an instance with its state directory left as it is, the broker, or both. In the end the counts of every word,
read as committed, must be 1, 2, 3 and so on up to the number of times that it was written: with exactly_once_v2 whatever is killed, with
at_least_once as long as instances are ended in order (--kill term).

Needs a JDK and Kafka Streams: scripts/clients streams. Exit code 0 when all counts are exact, 1 when not, 2 when it could not be driven.
"""
import argparse
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

START_SECONDS_MAX = 60
RUNNING_SECONDS_MAX = 120
CHECK_SECONDS_MAX = 240
HERE = os.path.dirname(os.path.abspath(__file__))


class Broker:
    """A broker process on one directory and one port."""

    def __init__(self, binary, directory, options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.command = [binary, "server", "--data", f"{directory}/data", "--listen", self.address]
        for option in options:
            self.command += ["-o", option]
        self.log = open(f"{directory}/broker.log", "a")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        subprocesses.append(self.process)
        watchdog = threading.Timer(START_SECONDS_MAX, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        if not line:
            give_up(f"the broker did not serve within {START_SECONDS_MAX} s; its log: {self.log.name}")

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)


class Java:
    """The program, compiled once."""

    def __init__(self, jars, directory):
        self.directory, self.classes = directory, f"{directory}/classes"
        self.path = f"{jars}/*:{self.classes}:{HERE}"
        compiled = subprocess.run(["javac", "-cp", f"{jars}/*", "-d", self.classes, f"{HERE}/WordCount.java"])
        if compiled.returncode:
            give_up("WordCount.java does not compile: are the jars there (scripts/clients streams)?")

    def command(self, *arguments):
        log = "-Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", *log.split(), "-cp", self.path, "WordCount", *map(str, arguments)]

    def run(self, *arguments, log="tools"):
        with open(f"{self.directory}/{log}.log", "a") as errors:
            return subprocess.run(self.command(*arguments), stderr=errors, stdout=subprocess.PIPE, text=True)

    def start(self, *arguments, log):
        with open(f"{self.directory}/{log}.log", "a") as output:
            process = subprocess.Popen(self.command(*arguments), stdout=output, stderr=output)
        subprocesses.append(process)
        return process


class Instance:
    """One instance of the application; its state directory outlives it."""

    def __init__(self, java, name, arguments):
        self.java, self.name, self.process = java, name, None
        protocol, guarantee, standbys = arguments
        self.arguments = [protocol, guarantee, f"{java.directory}/state-{name}", standbys]

    @property
    def log(self):
        return f"{self.java.directory}/app-{self.name}.log"

    def start(self, address):
        self.seen = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.process = self.java.start("app", address, *self.arguments, log=f"app-{self.name}")

    def wait_until_running(self):
        end = time.monotonic() + RUNNING_SECONDS_MAX
        while time.monotonic() < end:
            with open(self.log) as log:
                log.seek(self.seen)
                if any(line.strip() == "running" for line in log):
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        give_up(f"instance {self.name} did not run within {RUNNING_SECONDS_MAX} s; its log: {self.log}")

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)


def give_up(why):
    print(why, flush=True)
    for process in subprocesses:
        if process.poll() is None:
            process.kill()
    os._exit(2)


subprocesses = []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jars", required=True)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--broker")
    where.add_argument("--address")
    parser.add_argument("--protocol", default="classic", choices=["classic", "streams"])
    parser.add_argument("--guarantee", default="exactly_once_v2", choices=["exactly_once_v2", "at_least_once"])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--lines", type=int, default=2000, help="lines of each round")
    parser.add_argument("--per-second", type=int, default=400)
    parser.add_argument("--standbys", type=int, default=0)
    parser.add_argument("--kill", default="kill", choices=["kill", "term"], help="how instances end")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="broker option")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    chance = random.Random(args.seed)
    directory = tempfile.mkdtemp(prefix="ringlane-streams-", dir=os.environ.get("TMPDIR"))
    how = signal.SIGKILL if args.kill == "kill" else signal.SIGTERM

    broker = None
    if args.broker:
        broker = Broker(args.broker, directory, args.options)
        broker.start()
    address = broker.address if broker else args.address
    java = Java(args.jars, directory)
    made = java.run("topics", address)
    if made.returncode:
        give_up(f"the topics could not be made: see {directory}/tools.log")

    instances = [Instance(java, name, (args.protocol, args.guarantee, args.standbys)) for name in ("one", "two")]
    for instance in instances:
        instance.start(address)
    for instance in instances:
        instance.wait_until_running()
    print("both instances run", flush=True)

    lines = 0
    for number in range(1, args.rounds + 1):
        feeder = java.start("feed", address, lines, args.lines, args.per_second, log="tools")
        time.sleep(chance.uniform(1.0, max(1.5, args.lines / args.per_second)))
        victims = ["app", "broker", "both"][(number - 1) % 3] if broker else "app"
        instance = chance.choice(instances)
        if victims in ("app", "both"):
            instance.kill(how)
        if victims in ("broker", "both"):
            broker.kill()
            time.sleep(chance.uniform(0, 2))
            broker.start()
        if victims in ("app", "both"):
            time.sleep(chance.uniform(0, 3))
            instance.start(address)
        if feeder.wait(300):
            give_up(f"the lines could not be written: see {directory}/tools.log")
        lines += args.lines
        if victims in ("app", "both"):
            instance.wait_until_running()
        print(f"round {number}: killed {victims}, {lines} lines written", flush=True)

    began = time.monotonic()
    exact = "exact" if args.guarantee == "exactly_once_v2" else "last"
    checked = java.run("check", address, lines, CHECK_SECONDS_MAX, exact)
    print(f"{checked.stdout.strip()} ({time.monotonic() - began:.0f} s after the last line)", flush=True)
    for instance in instances:
        instance.kill(signal.SIGTERM)
    if broker:
        broker.kill(signal.SIGTERM)
    if checked.returncode:
        print(f"kept for inspection: {directory}")
    else:
        shutil.rmtree(directory)
    print(f"{0 if checked.returncode else 1} passed, {1 if checked.returncode else 0} failed")
    return 1 if checked.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
