"""A large folder: 100,000 memories of one owner and a million facts; lists, counts, filters, a restart, and memory.

The folder is filled by the same log, sequencer and views as a server's, without HTTP; then a real server starts on it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from bench.core import bare_commits, record_of
from bench.line import Line, latencies, middle
from mnemolog.domain.memory import AddMemory, NewMemory, Owner
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
from mnemolog.runtime.folder import Folder, now
from mnemolog.runtime.process import ServerProcess, run_json
from projections.projector import Projector
from projections.store_sqlite import SqliteStore
from workers.sequencer import Sequencer
from workers.sequencing import Sequencing
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import State

MEMORIES, FEWER = 100_000, 10_000
FACTS = 1_000_000
_IN_A_SESSION = 20_000
_TENANT, _USER = "bench", "u"
_AT_ONCE = 500
_ROUNDS = 60


def large(path: Path, facts: int = FACTS) -> dict[str, float]:
    """Return figures in milliseconds, seconds and bytes."""
    os.environ["MNEMOLOG_MODEL"] = "hashing"
    folder = Folder(path)
    start = time.perf_counter()
    asyncio.run(_fill(folder, facts))
    filled = time.perf_counter() - start
    state = _state(folder)
    empty = _started(path.with_name("empty"))
    empty[0].stop()
    server, taking = _started(path)
    try:
        made = run_json("clients", "create", "--tenant", _TENANT, "--data", str(path))
        server.wait_ready(600)
        line = Line(server.url, "")
        form = f"grant_type=client_credentials&client_id={made['id']}&client_secret={made['secret']}"
        line.authorization = f"Bearer {line.json('POST', '/oauth/token', form)['access_token']}"
        return {
            "facts in the log": facts,
            "facts filled in per second": round(facts / filled),
            "restart until writes and reads are taken, s": taking,
            "reference: start on an empty folder, s": empty[1],
            **_reads(line),
            **state,
            "server's resident memory, MiB": _resident(server.pid),
            "log, views and state on disk, bytes a fact": round(folder.database.stat().st_size / facts),
            "reference: bare durable SQLite commit, p50 ms": middle(bare_commits(path / "bare.db")),
        }
    finally:
        server.stop()


def _started(path: Path) -> tuple[ServerProcess, float]:
    """Start a server, and return how many seconds passed until it took requests."""
    start = time.perf_counter()
    server = ServerProcess(path)
    return server, round(time.perf_counter() - start, 2)


def _reads(line: Line) -> dict[str, float]:
    def asked(query: str) -> float:
        return middle(latencies(line, line.request("GET", f"/v1/memories{query}"), _ROUNDS))

    owned = {n: f"agentID eq 'a' and invokerID eq 'owner of {n}'" for n in (MEMORIES, FEWER)}
    some = quote(f"{owned[FEWER]} and contains(content,'number 77')")
    return {
        f"list page of 50 out of {MEMORIES:,}, p50 ms": asked(f"?$top=50&$filter={quote(owned[MEMORIES])}"),
        f"list page of 50 after 50,000 of {MEMORIES:,}, p50 ms": asked(
            f"?$top=50&$skip=50000&$filter={quote(owned[MEMORIES])}"
        ),
        f"count of {MEMORIES:,}, p50 ms": asked(f"?$top=0&$count=true&$filter={quote(owned[MEMORIES])}"),
        f"`contains` over {FEWER:,}, p50 ms": asked(f"?$top=50&$filter={some}"),
        "reference: HTTP request that does nothing, p50 ms": middle(
            latencies(line, line.request("GET", "/health/live"), _ROUNDS)
        ),
    }


async def _fill(folder: Folder, facts: int) -> None:
    log, connection = folder.log(), folder.connection()
    log._durable.execute("PRAGMA synchronous=OFF")  # noqa: SLF001 -- filling is not what is measured
    store, rules = SqliteStore(folder.connection), Rules()
    sequencing = Sequencing(log, lambda: SqliteSnapshot(connection, rules), rules)
    projector = Projector(log, store)
    await sequencing.start()

    async def decided(*commands: Command) -> str:
        await log.append(0, [record_of(command) for command in commands])
        subject = ""
        while (transaction := await sequencing.step()) is not None:
            subject = transaction.facts[-1].headers["ce_subject"]
            while projector.checkpoint.offset < sequencing.state.offset:
                await projector.step()
        return subject

    for count in (MEMORIES, FEWER):
        owner = Owner(agent="a", invoker=f"owner of {count}")
        for at in range(0, count, _AT_ONCE):
            numbers = range(at, at + _AT_ONCE)
            await decided(
                *(AddMemory(target=owner, parts=(NewMemory(content=f"a memory, number {n}"),)) for n in numbers)
            )
    space = await decided(CreateSpace(target=ByUser(user=_USER), parts=(NewSpace(),)))
    event = NewEvent(body={"content": "hello, this is an event"}, emitter=Emitter(type="user", id=_USER))
    left = facts - MEMORIES - FEWER
    while left > 0:
        opened = CreateSession(target=InSpace(space=space, user=_USER), parts=(NewSession(participants=[_USER]),))
        session = await decided(opened)
        target = SessionTarget(space=space, user=_USER, session=session)
        for _ in range(0, min(left, _IN_A_SESSION), 200):
            await decided(AppendEvents(target=target, parts=(event,) * 200))
        left -= _IN_A_SESSION
    sequencing.save()
    await store.close()
    connection.close()
    await log.scrub()
    await log.close()


def _state(folder: Folder) -> dict[str, float]:
    """Return what the sequencer's state holds, by the bytes of its rows; of events nothing else stays."""
    database = folder.connection()
    (stream,) = database.execute("SELECT avg(length(name) + length(row)) FROM state_streams").fetchone()
    database.close()
    return {"sequencer's state, bytes a stream": round(stream), "sequencer's state in memory, bytes an event": _held()}


def _held() -> float:
    """Return what a state keeps in memory of each of 20,000 events, once it has handed them to its snapshot."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    state = State(SqliteSnapshot(database, Rules()))
    sequencer = Sequencer(state, Rules())
    offset = 0

    def decided(command: Command) -> str:
        nonlocal offset
        record = replace(record_of(command), offset=offset, time=now() + offset)
        offset += 1
        subject = sequencer.sequence([record]).facts[-1].headers["ce_subject"]
        state.save()
        return subject

    space = decided(CreateSpace(target=ByUser(user=_USER), parts=(NewSpace(),)))
    opened = CreateSession(target=InSpace(space=space, user=_USER), parts=(NewSession(participants=[_USER]),))
    target = SessionTarget(space=space, user=_USER, session=decided(opened))
    event = NewEvent(body={"content": "hello, this is an event"}, emitter=Emitter(type="user", id=_USER))
    append = AppendEvents(target=target, parts=(event,) * 200)
    for _ in range(10):  # caches of a fixed size fill
        decided(append)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(100):
        decided(append)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    database.close()
    return round((after - before) / 20_000, 2)


def _resident(pid: int) -> float:
    """Return the resident memory of a process in MiB (Linux; 0 elsewhere)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    return round(int(line.split()[1]) / 1024)
