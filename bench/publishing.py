"""One agent publishes single-event commands and reads every outcome: beside bare kafka-python, in the same run.

`python -m bench.publishing [--commands 100000] [--kafka SERVERS]`; without servers, a local broker is started for it.
The sequencer is `mnemolog worker sequencer`, a process of its own. The bare reference produces records of the same size
and headers with the same settings, keeps their futures, and looks at each offset: what one must do to know that none is
lost. Nothing lost and gapless sequence ids are asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from deploy.stack.kafka import Broker
from mnemolog.domain.codec import command_headers
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.runtime.process import run
from producers import Publisher, Receipt

_PARTITIONS = 4
_ROUNDS = 3
_COMMANDS = 100_000
_WAIT = 900.0


def measure(servers: str, folder: Path, commands: int) -> dict[str, float]:
    """Return figures by name."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    settings = {"RUNTIME": "kafka", "KAFKA": servers, "PARTITIONS": str(_PARTITIONS), "TOPIC_PREFIX": prefix}
    os.environ |= {f"MNEMOLOG_{name}": value for name, value in settings.items()}
    run("topics", "create")
    os.environ["MNEMOLOG_TOPIC_PREFIX"] = f"bare-{prefix}"
    run("topics", "create")
    os.environ["MNEMOLOG_TOPIC_PREFIX"] = prefix
    bare, ours = [], []
    receipts: list[Receipt] = []
    with Publisher(servers, tenant="acme", actor="agent/bench", topic_prefix=prefix) as agent:
        with _sequencer(folder):
            where = _session(agent)
        for _ in range(_ROUNDS):
            bare.append(_bare(servers, f"bare-{prefix}memory.commands", commands // _ROUNDS))
            seconds, sent = _ours(agent, where, len(receipts), commands // _ROUNDS)
            ours.append(seconds)
            receipts += sent
        with _sequencer(folder):
            begun = time.perf_counter()
            _check(agent.outcomes(receipts, _WAIT), receipts, 0)
            heard = time.perf_counter() - begun
            begun = time.perf_counter()
            more = _ours(agent, where, len(receipts), commands // 10)[1]
            _check(agent.outcomes(more, _WAIT), more, len(receipts))
            both = time.perf_counter() - begun
    count = commands // _ROUNDS
    return {
        "commands": len(receipts),
        "bare kafka-python, records/s": _median([count / seconds for seconds in bare]),
        "published and acknowledged, commands/s": _median([count / seconds for seconds in ours]),
        "ratio, each round beside its own bare one": _median([b / o for b, o in zip(bare, ours, strict=True)]),
        "outcomes of a backlog decided and read, per second": len(receipts) / heard,
        "published, decided and heard at the same time, per second": len(more) / both,
    }


def _session(agent: Publisher) -> Mapping[str, str]:
    space = _made(agent.outcome(agent.create_space(user="u"), _WAIT))
    session = agent.create_session(user="u", space_id=space, participant="u")
    return {"user": "u", "space_id": space, "session_id": _made(agent.outcome(session, _WAIT))}


def _made(outcome: Outcome) -> str:
    assert isinstance(outcome.result, Accepted), outcome
    return outcome.result.facts[0].subject


def _ours(agent: Publisher, where: Mapping[str, str], start: int, count: int) -> tuple[float, list[Receipt]]:
    begun = time.perf_counter()
    receipts = [agent.append_events(**where, events=_event(start + number)) for number in range(count)]
    agent.flush()
    assert len({receipt.offset for receipt in receipts}) == count
    return time.perf_counter() - begun, receipts


def _event(number: int) -> list[dict[str, Any]]:
    return [{"body": {"content": f"This is number {number}."}, "emitter": {"type": "user", "id": "u"}}]


def _bare(servers: str, topic: str, count: int) -> float:
    """Produce records as large as ours; return the seconds."""
    producer = KafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=5, batch_size=64 << 10
    )
    headers = command_headers(str(uuid.uuid4()), "session.append-events.v1", "acme", "agent/bench")
    target = {"user": "u", "space": str(uuid.uuid4()), "session": str(uuid.uuid4())}
    value = json.dumps({"secret": "0" * 64, "target": target, "parts": _event(12_345)}, separators=(",", ":")).encode()
    encoded = [(name, text.encode()) for name, text in headers.items()]
    producer.send(topic, value, b"758", list(encoded), 758 % _PARTITIONS).get()  # connected, numbered
    begun = time.perf_counter()
    futures = [producer.send(topic, value, b"758", list(encoded), 758 % _PARTITIONS) for _ in range(count)]
    producer.flush()
    assert len({future.get().offset for future in futures}) == count
    seconds = time.perf_counter() - begun
    producer.close()
    return seconds


def _check(outcomes: list[Outcome], receipts: list[Receipt], start: int) -> None:
    """Assert that each command has its event, numbered in the order of publishing."""
    assert [outcome.command for outcome in outcomes] == [receipt.id for receipt in receipts]
    assert [_made(outcome) for outcome in outcomes] == [f"event/{start + n}" for n in range(len(receipts))]


@contextlib.contextmanager
def _sequencer(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "mnemolog.runtime.cli", "worker", "sequencer", "--data", str(folder / "worker")]
    with (folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 -- our own command
    try:
        yield
    finally:
        worker.terminate()
        assert worker.wait() == 0, (folder / "worker.log").read_text("utf-8")[-2_000:]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def publishing(folder: Path, commands: int = _COMMANDS, servers: str | None = None) -> dict[str, float]:
    """Return figures of a broker that is started for it, or of the one that is named."""
    folder.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not servers:
            broker = Broker(folder / "kafka")
            broker.start()
            stack.callback(broker.stop)
            servers = broker.servers
        figures = measure(servers, folder, commands)
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description="Measure the publisher.")
    parser.add_argument("--commands", type=int, default=_COMMANDS)
    parser.add_argument("--kafka", help="bootstrap servers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mnemolog-bench-") as folder:
        print(json.dumps(publishing(Path(folder), options.commands, options.kafka), indent=2))


if __name__ == "__main__":
    main()
