"""`mnemolog projections status|rebuild` on either runtime: what it prints, what it leaves, when it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnemolog.runtime import parallel
from mnemolog.runtime.cli import main
from mnemolog.runtime.folder import Folder, SequencingLock
from projections.redis_wire import Wire, connect
from tests.brokers import Kafka
from tests.killing.processes import PATIENCE, Deployment
from tests.servers_redis import RedisServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


def run(*arguments: str) -> tuple[int, str]:
    """Run `mnemolog …`; return its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(arguments)
    return code, printed.getvalue()


def told(*arguments: str) -> Any:
    """Return the JSON that a command prints."""
    code, printed = run(*arguments, "--json")
    assert code == 0, printed
    return json.loads(printed)


@pytest.fixture
def deployment(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Return a sequencer and a projector, and the variables that name their servers set."""
    redis = RedisServer()
    found = Deployment(kafka, redis, tmp_path, ("sequencer", "projector"))
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    nodes = [found.nodes[0], found.nodes[2]]
    for node in nodes:
        node.start()
    yield found
    for node in nodes:
        node.stop()
    redis.remove()


def test_views_in_redis_are_rebuilt_beside_the_live_ones(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild takes over; one that differs from what a hand has changed takes over only when it is told to.

    Whether one process fills the partitions, one after the other, or several do.
    """
    names = {told("clients", "create", "--tenant", f"tenant {n}")["id"] for n in range(8)}
    status = told("projections", "status")
    assert status["live"] == "1"
    assert [one["partition"] for one in status["partitions"]] == [0, 1, 2, 3]
    deadline = time.monotonic() + PATIENCE
    while any(one["behind"] for one in told("projections", "status")["partitions"]):
        assert time.monotonic() < deadline
    code, printed = run("projections", "rebuild")
    assert code == 0, printed
    assert "version 2 is live" in printed
    assert told("projections", "status")["live"] == "2"
    assert {one["id"] for one in told("clients", "list")} == names
    monkeypatch.setattr(parallel, "SHARED_FROM", 1)
    asyncio.run(_change_rows(deployment))
    code, printed = run("projections", "rebuild", "--jobs", "2")
    assert code == 1
    filled = {one["partition"] for one in told("projections", "status")["partitions"] if one["end"]}
    assert len(filled) > 1
    assert {number for number in range(4) if f"fill partition {number}: " in printed} == filled
    assert "version 3 differs from the live one: row " in printed
    assert told("projections", "status")["live"] == "2"
    assert run("projections", "rebuild", "--accept", "--jobs", "2")[0] == 0
    assert {one["id"] for one in told("clients", "list")} == names


async def _change_rows(deployment: Deployment) -> None:
    """Change every row of the live version by hand, past all our code."""
    client = connect(deployment.redis.url)
    keys = [key async for key in client.scan_iter(match=f"{deployment.app}:2:*}}:r:*")]
    assert keys
    for key in keys:
        await client.hset(key, "changed", "1")
    await Wire(client).close()


def test_views_of_a_folder_are_filled_again_in_place(tmp_path: Path) -> None:
    """Without a server; beside one, the rebuild is refused and nothing is touched."""
    where = ("--data", str(tmp_path / "data"))
    name = told("clients", "create", "--tenant", "t", *where)["id"]
    code, printed = run("projections", "rebuild", *where)
    assert code == 0, printed
    assert [one["id"] for one in told("clients", "list", *where)] == [name]
    (standing,) = told("projections", "status", *where)["partitions"]
    assert standing["checkpoint"] == standing["end"] > 0
    with SequencingLock(Folder(tmp_path / "data")):
        code, printed = run("projections", "rebuild", *where)
    assert code == 1
    assert "another mnemolog server runs" in printed
