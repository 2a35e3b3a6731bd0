"""Audits of a log in a data folder: the walk, decisions and views, replay, export and import.

`python -m bench.audit 1000000` measures a log of another size; its facts are events, memories and their changes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core import record_of
from mnemolog.audit.derive import candidates
from mnemolog.audit.exports import Manifest, export
from mnemolog.audit.found import Found
from mnemolog.audit.imports import bring_in
from mnemolog.audit.moment import Moment, replayed
from mnemolog.audit.reading import About, Facts, pages
from mnemolog.audit.verify import Check, verified
from mnemolog.audit.walk import Walk
from mnemolog.domain.audits import silent
from mnemolog.domain.memory import AddMemory, MemoryChange, MemoryTarget, NewMemory, Owner, UpdateMemory
from mnemolog.domain.record import Position
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.session_commands import (
    AppendEvents,
    CreateSession,
    Emitter,
    InSpace,
    NewEvent,
    NewSession,
    SessionTarget,
)
from mnemolog.domain.space import ByUser, CreateSpace, NewSpace
from mnemolog.runtime import interpreter
from mnemolog.runtime.audit_verify import shared
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from projections.dump_sqlite import SqliteDump
from projections.projector import Projector, project
from projections.store_sqlite import SqliteStore
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State

FACTS = 120_000
_ROUND = 2_000
_USER = "u"
_TEXT = "The user prefers dark mode and metric units, and would rather not be called before nine."


def audit(path: Path, facts: int = FACTS) -> dict[str, float]:
    """Return figures per second."""
    return asyncio.run(_measured(path, facts))


async def _measured(path: Path, wanted: int) -> dict[str, float]:
    folder = Folder(path / "here")
    await _filled(folder, wanted)
    log, views = folder.log(), folder.connection()
    walk = Walk(0, 1, Found())

    async def walked() -> None:
        async for page in pages(log, 0):
            walk.take(page)
        walk.finish()

    reading = await _seconds(lambda: _read(log))
    walking = await _seconds(walked)
    facts = walk.facts
    rules = Rules()
    check = Check(1, lambda: _state(rules), project, candidates(rules), SqliteDump(views))

    async def whole() -> None:
        result, _ = await verified(log, 0, check)
        assert result.found.count == 0, result.found.said
        assert result.derived == facts

    verifying = await _seconds(whole)
    begun = time.perf_counter()
    with shared(Settings(data=path / "here"), 1, os.cpu_count() or 1, silent) as apart:
        check = replace(check, apart=apart)
        await whole()
    at_once = time.perf_counter() - begun
    middle = Moment(position=Position(0, walk.position.offset // 2))
    replaying = await _seconds(lambda: replayed(log, 1, About(tenant="bench"), middle, project))
    out, there = path / "out", Folder(path / "there")
    out.mkdir()
    exporting = await _seconds(lambda: export(log, 1, out, Manifest("now", {})))
    new = there.log()
    importing = await _seconds(lambda: bring_in(new, 1, out))
    for one in (new, log):
        await one.close()
    views.close()
    return {
        "facts": facts,
        "read from the log, and nothing else, per second": round(facts / reading),
        "walked (chains, versions, ordinals) per second": round(facts / walking),
        "walked, decided again, views compared per second": round(facts / verifying),
        "the same on all cores, per second": round(facts / at_once),
        "replayed to the middle of the log per second": round(facts / replaying),
        "exported per second": round(facts / exporting),
        "imported per second": round(facts / importing),
    }


def _state(rules: Rules) -> State:
    return State(SqliteSnapshot(sqlite3.connect(":memory:", isolation_level=None), rules))


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the seconds of this process on a core: other work on the machine does not count."""
    start = time.process_time()
    await work()
    return time.process_time() - start


async def _read(log: Facts) -> None:
    async for _ in pages(log, 0):
        pass


async def _filled(folder: Folder, wanted: int) -> None:
    """Fill a folder: a third events in batches, a third memories, a third changes of them."""
    log, connection = folder.log(), folder.connection()
    store, rules = SqliteStore(folder.connection), Rules()
    sequencing = Sequencing(log, lambda: SqliteSnapshot(connection, rules), rules)
    projector = Projector(log, store)
    await sequencing.start()
    facts = 0

    async def said(*commands: Command) -> list[str]:
        nonlocal facts
        subjects: list[str] = []
        await log.append(0, [record_of(command) for command in commands])
        while (transaction := await sequencing.step()) is not None:
            subjects += [fact.headers["ce_subject"] for fact in transaction.facts]
        while await projector.step():
            pass
        facts += len(subjects)
        return subjects

    (space,) = await said(CreateSpace(target=ByUser(user=_USER), parts=(NewSpace(),)))
    opened = CreateSession(target=InSpace(space=space, user=_USER), parts=(NewSession(participants=[_USER]),))
    (session,) = await said(opened)
    target = SessionTarget(space=space, user=_USER, session=session)
    event = NewEvent(body={"content": _TEXT}, emitter=Emitter(type="user", id=_USER))
    while facts < wanted:
        await said(*(AppendEvents(target=target, parts=(event,) * 10) for _ in range(_ROUND // 10)))
        owners = (Owner(agent="bot", invoker=f"i{n % 50}") for n in range(_ROUND))
        memories = await said(*(AddMemory(target=who, parts=(NewMemory(content=_TEXT),)) for who in owners))
        change = MemoryChange(content=_TEXT + " Really.")
        await said(*(UpdateMemory(target=MemoryTarget(memory=one), parts=(change,)) for one in memories))
    await store.close()
    connection.close()
    await log.close()


if __name__ == "__main__":
    interpreter.set_up()
    with tempfile.TemporaryDirectory(prefix="mnemolog-bench-") as here:
        figures = audit(Path(here), int(sys.argv[1]) if len(sys.argv) > 1 else FACTS)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
