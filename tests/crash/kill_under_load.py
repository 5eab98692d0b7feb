#!/usr/bin/env python3
"""Kills the broker with SIGKILL under load, again and again, and checks that nothing it acknowledged is lost.

    kill_under_load.py --broker target/release/ringlane [--rounds 10] [--seconds 3] [--per-second N] [--topic-config flush.messages=1] [--seed N]

Each round: two librdkafka producers (one idempotent, one plain, both acks=all) write numbered records to 8 partitions; after a random time
the broker is killed and started again on the same directory; then every partition is read from the start. Checked after each round:
every acknowledged record stands at the offset that the acknowledgement named, with the very same bytes; no offset stands twice; offsets rise
without a gap; the records of the idempotent producer are neither doubled nor out of order.

Needs the PyPI package confluent-kafka. Exit code 0 when nothing was lost, 1 when something was, 2 when the broker could not be driven.
"""
import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from kit import Broker, Load, create_topic, faults_in, read_all


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="longest time under load before a kill")
    parser.add_argument("--per-second", type=int, help="records of each producer: many rounds at full speed are more than can be read back")
    parser.add_argument("--topic-config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="KEY=VALUE", help="broker option")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    chance = random.Random(args.seed)
    directory = tempfile.mkdtemp(prefix="ringlane-crash-", dir=os.environ.get("TMPDIR"))
    broker = Broker(args.broker, directory + "/data", directory + "/broker.log", args.options)
    broker.start()
    create_topic(broker.address, **dict(pair.split("=", 1) for pair in args.topic_config))

    acked, failed = [], False
    for round_number in range(1, args.rounds + 1):
        loads = [Load(f"{kind}-{round_number}", broker.address, kind == "idem", args.per_second) for kind in ("idem", "plain")]
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
