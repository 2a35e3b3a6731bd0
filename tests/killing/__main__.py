"""`make kill`: every process killed under load, again and again (`python -m tests.killing --runs 10`).

Each run kills one process, waits until the others have taken over, and then judges the whole log and all views.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from deploy.stack.kafka import Broker
from mnemolog.runtime.kafka import prepare_client
from tests import qdrants
from tests.brokers import Kafka
from tests.killing.matrix import ACTS, NEEDS_QDRANT, strike
from tests.killing.processes import Deployment
from tests.servers_redis import RedisServer

_ROLES = ("sequencer", "projector")


def main() -> int:
    """Run the matrix; return the exit code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says of a broker that we kill is known
    parser = argparse.ArgumentParser(prog="make kill", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how often each process is killed")
    parser.add_argument("--rate", type=int, default=220, help="commands a second that are published meanwhile")
    parser.add_argument("--only", choices=ACTS, action="append", help="one kind of kill; may be repeated")
    options = parser.parse_args()
    prepare_client()
    with tempfile.TemporaryDirectory(prefix="mnemolog-kill-") as base:
        folder = Path(base)
        (folder / "broker").mkdir()
        broker, redis, qdrant = Broker(folder / "broker"), RedisServer(), qdrants.killable()
        broker.start()
        try:
            return _matrix(Kafka(broker.servers, broker), redis, qdrant, folder, options)
        finally:
            if qdrant is not None:
                qdrant.remove()
            redis.remove()
            broker.stop()


def _matrix(
    kafka: Kafka, redis: RedisServer, qdrant: qdrants.QdrantServer | None, folder: Path, options: argparse.Namespace
) -> int:
    wrong = 0
    if qdrant is None:
        _say(f"without Qdrant, whose workers are not killed: {qdrants.BINARY} names no program to start")
    for name in options.only or [name for name in ACTS if qdrant or name not in NEEDS_QDRANT]:
        (folder / name).mkdir()
        with Deployment(kafka, redis, folder / name, _ROLES, qdrant) as deployment:
            for run in range(1, options.runs + 1):
                began = time.monotonic()
                try:
                    still, rate, facts = strike(deployment, ACTS[name], options.rate)
                except AssertionError as error:
                    wrong += 1
                    _say(f"{name} {run}/{options.runs}: WRONG: {error}")
                    break
                _say(
                    f"{name} {run}/{options.runs}: all moves again after {still:.1f} s, {rate:.0f} commands/s,"
                    f" {facts} facts right, {time.monotonic() - began:.0f} s in all"
                )
    _say("something is wrong" if wrong else "nothing lost, nothing doubled, no gap, views equal to the log")
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
