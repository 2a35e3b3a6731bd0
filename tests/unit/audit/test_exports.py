"""Export and import: the same bytes, heads and decisions, with any number of partitions, epoch after epoch."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mnemolog.audit.derive import candidates
from mnemolog.audit.exports import Manifest, export, opened, read
from mnemolog.audit.imports import NotEmpty, bring_in
from mnemolog.audit.verify import Check, Verified, verified
from mnemolog.domain.errors import Corrupt, Fenced, Malformed
from mnemolog.domain.ports import Log
from mnemolog.domain.rules import Rules
from projections.projector import project
from tests.given import KEY, NOON
from tests.histories import Told
from workers.log_memory import MemoryLog
from workers.log_sqlite import SqliteLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit


@asynccontextmanager
async def empty(partitions: int, folder: Path) -> AsyncIterator[Any]:
    """Open an empty log: the embedded one for one partition, one in memory for several."""
    clock = count(NOON + 1_000_000_000, 1_000)
    if partitions > 1:
        yield MemoryLog(lambda: next(clock), partitions=partitions, marker=lambda: 1)
        return
    log = SqliteLog(folder / "new.db", lambda: next(clock))
    yield log
    await log.close()


async def exported(log: Log, partitions: int, folder: Path) -> Manifest:
    """Export all of a log."""
    folder.mkdir()  # noqa: ASYNC240 -- a test has no other to hold up
    return await export(log, partitions, folder, Manifest("now", {}))


async def sound(log: Log, partitions: int) -> list[Verified]:
    """Verify every partition, and expect nothing wrong."""
    check = Check(partitions, lambda: State(MemorySnapshot(KEY)), project, candidates(Rules()))
    results = [(await verified(log, partition, check))[0] for partition in range(partitions)]
    assert [text for one in results for text in one.found.said] == []
    return results


@pytest.mark.parametrize(("here", "there"), [(1, 4), (4, 1), (4, 2), (2, 8)])
def test_an_import_is_the_same_log(tmp_path: Path, here: int, there: int) -> None:
    """Bytes, heads; the new log is sound, takes new commands in a new epoch, and goes round once more."""

    async def told() -> None:
        told = await Told(here, here).more(150)
        first = await exported(told.log, here, tmp_path / "a")
        async with empty(there, tmp_path) as log:
            assert await bring_in(log, there, tmp_path / "a") == first.facts > 20
            await sound(log, there)
            again = await exported(log, there, tmp_path / "b")
            assert (again.sha256, again.heads) == (first.sha256, first.heads)
            assert again.epoch == first.epoch + 1
            fresh = await more(told, log, there)
            results = await sound(log, there)
            assert 0 < sum(one.derived for one in results) <= fresh
            last = await exported(log, there, tmp_path / "c")
            back = MemoryLog(lambda: NOON, partitions=here)
            await bring_in(back, here, tmp_path / "c")
            assert (await exported(back, here, tmp_path / "d")).heads == last.heads

    asyncio.run(told())


async def more(told: Told, log: Any, partitions: int) -> int:
    """Let the same clients go on, on the new log; return how many facts came of that."""
    nodes = [Sequencing(log, lambda: MemorySnapshot(KEY), Rules(), p, partitions) for p in range(partitions)]
    for node in nodes:
        await node.start()
    for said in [said for _ in range(40) for said in told.clients.speak()]:
        await log.append(said.slot % partitions, [said.record])
        while await nodes[said.slot % partitions].step() is not None:
            pass
    found = 0
    for partition in range(partitions):
        for record in await log.facts(partition, 0, 100_000):
            found += record.value is not None and record.headers.get("source", "").startswith("1:")
    return found


class Dying:
    """A log whose process dies after some commits."""

    def __init__(self, log: Any, commits: int) -> None:
        self._log, self._left = log, commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def commit(self, partition: int, transaction: Any) -> int:
        """Commit, as long as it lives."""
        self._left -= 1
        if self._left < 0:
            raise Fenced
        return int(await self._log.commit(partition, transaction))


def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it died; until it is complete no sequencer starts on it, afterwards it is complete."""
    monkeypatch.setattr("mnemolog.audit.imports._BATCH", 7)

    async def told() -> None:
        told = await Told(5, 2).more(80)
        manifest = await exported(told.log, 2, tmp_path / "a")
        log = MemoryLog(lambda: NOON, partitions=2)
        for commits in (2, 1, len(list(read(tmp_path / "a"))) // 9):
            with pytest.raises(Fenced):
                await bring_in(Dying(log, commits), 2, tmp_path / "a")
        with pytest.raises(Corrupt, match="not the log that these facts came from"):
            await Sequencing(log, lambda: MemorySnapshot(KEY), Rules(), 1, 2).start()
        await bring_in(log, 2, tmp_path / "a")
        assert await bring_in(log, 2, tmp_path / "a") == manifest.facts, "done twice changes nothing"
        assert (await exported(log, 2, tmp_path / "b")).sha256 == manifest.sha256

    asyncio.run(told())


def test_an_instance_that_holds_something_is_refused(tmp_path: Path) -> None:
    """Facts or commands of its own, or another export's."""

    async def told() -> None:
        await exported((await Told(6, 1).more(40)).log, 1, tmp_path / "a")
        other = (await Told(7, 1).more(40)).log
        await exported(other, 1, tmp_path / "b")
        with pytest.raises(NotEmpty):
            await bring_in(other, 1, tmp_path / "a")
        log = MemoryLog(lambda: NOON)
        await bring_in(log, 1, tmp_path / "b")
        with pytest.raises(NotEmpty):
            await bring_in(log, 1, tmp_path / "a")

    asyncio.run(told())


def test_what_does_not_hold_together_is_not_taken(tmp_path: Path) -> None:
    """A changed line is refused by the manifest, and with a manifest that fits by the chains; a part is no instance."""

    async def told() -> None:
        dice = random.Random(1)
        log = (await Told(8, 1).more(60)).log
        manifest = await exported(log, 1, tmp_path / "a")
        lines = (tmp_path / "a" / "facts.jsonl").read_bytes().splitlines(keepends=True)
        for number in range(8):
            at = dice.randrange(len(lines))
            said = json.loads(lines[at])
            said["value"] = said["value"].replace('"salt":"', '"salt":"0')
            changed = [*lines[:at], json.dumps(said).encode() + b"\n", *lines[at + 1 :]]
            if number % 2:
                changed = [*lines[:at], *lines[at + 1 :]]
            (tmp_path / "a" / "facts.jsonl").write_bytes(b"".join(changed))
            (tmp_path / "a" / "manifest.json").write_bytes(manifest.text())
            with pytest.raises(Malformed):
                await bring_in(MemoryLog(lambda: NOON), 1, tmp_path / "a")
            forged = Manifest.parse(manifest.text())
            forged.sha256 = _digest(tmp_path / "a" / "facts.jsonl")
            (tmp_path / "a" / "manifest.json").write_bytes(forged.text())
            with pytest.raises(Corrupt):
                await bring_in(MemoryLog(lambda: NOON), 1, tmp_path / "a")
        (tmp_path / "p").mkdir()
        part = Manifest("now", {"tenant": "acme"})
        await export(log, 1, tmp_path / "p", part, lambda record: record.headers["tenant"] == "acme")
        assert opened(tmp_path / "p").facts == part.facts < manifest.facts
        with pytest.raises(Malformed, match="part"):
            await bring_in(MemoryLog(lambda: NOON), 1, tmp_path / "p")

    asyncio.run(told())


def _digest(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()
