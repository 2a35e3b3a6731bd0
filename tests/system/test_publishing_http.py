"""Publishing over HTTP to a server that is killed: the publisher goes on, and nothing is lost or doubled."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from deploy.stack.kafka import free_port
from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.runtime.process import ServerProcess
from producers import Publisher

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
WAIT = 240.0


def made(outcome: Outcome) -> str:
    """Return the id of what a command has made."""
    assert isinstance(outcome.result, Accepted), outcome
    return outcome.result.facts[0].subject


def test_guarantee_9_a_killed_server_loses_and_doubles_nothing_of_a_publisher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` under load and up again on its folder and port: each command has its memory exactly once."""
    monkeypatch.setenv("MNEMOLOG_MODEL", "hashing")
    port = free_port()
    server = ServerProcess(tmp_path / "data", "--no-auth", port=port)
    again: list[ServerProcess] = []

    def restart() -> None:
        server.kill()
        again.append(ServerProcess(tmp_path / "data", "--no-auth", port=port))

    killing = threading.Thread(target=restart)
    try:
        with Publisher(server.url) as agent:
            receipts = []
            for number in range(3_000):
                receipts.append(agent.add_memory(agent="a", invoker="i", content=f"number {number}"))
                if number == 1_000:
                    assert made(agent.outcome(receipts[500], WAIT))
                    killing.start()
            outcomes = agent.outcomes(receipts, WAIT)
            killing.join()
            ids = [made(outcome) for outcome in outcomes]
            repeated = agent.outcome(agent.add_memory(agent="a", invoker="i", content="number 7", key=receipts[7].id))
        assert len(set(ids)) == 3_000
        assert made(repeated) == ids[7]
    finally:
        killing.join()
        for process in again:
            assert process.stop() == 0
