"""What must hold of any log of facts, whole or compacted, and of the views made from it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mnemolog.domain import chain
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased
from mnemolog.domain.fact import Fact
from mnemolog.domain.message import MessageAdded
from mnemolog.domain.ports import Log
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.session import EventAppended
from projections.projector import Projector
from projections.store_memory import MemoryStore
from projections.store_sqlite import SqliteStore

Dump = tuple[dict[str, Any], dict[tuple[str, str], tuple[str, int]]]


async def read(log: Log, partition: int = 0) -> list[FactRecord]:
    """Return every record of a partition's facts."""
    records: list[FactRecord] = []
    at = 0
    while page := await log.facts(partition, at, 5_000):
        records.extend(page)
        at = page[-1].offset + 1
    return records


def facts_of(records: Sequence[FactRecord]) -> list[Fact]:
    """Return the facts among the records that are still there."""
    last = {r.key: r.value for r in records}
    present = [r for r in records if r.key != CONTROL_KEY and r.value is not None]
    assert all(last[r.key] in {None, r.value} for r in present), "a key was used twice"
    return [decode_fact(r) for r in present]


def numbered(records: Sequence[FactRecord]) -> None:
    """Guarantee 1: versions, ordinals, sequence ids and message numbers: gapless, and never used twice."""
    versions: dict[str, dict[int, str]] = defaultdict(dict)
    ordinals: dict[int, set[int]] = defaultdict(set)
    appended: dict[str, list[int]] = defaultdict(list)
    entries: dict[str, set[str]] = defaultdict(set)
    for fact in facts_of(records):
        assert fact.version not in versions[fact.stream], f"{fact.stream}@{fact.version} twice"
        versions[fact.stream][fact.version] = fact.subject
        assert fact.ordinal not in ordinals[fact.slot], f"ordinal {fact.slot}:{fact.ordinal} twice"
        ordinals[fact.slot].add(fact.ordinal)
        entries[fact.stream].add(fact.subject)
        if isinstance(fact.payload, EventAppended):
            appended[fact.stream].append(int(fact.subject.removeprefix("event/")))
        if isinstance(fact.payload, MessageAdded):
            appended[fact.stream].append(fact.payload.number)
    for fact in facts_of(records):
        if isinstance(fact.payload, Erased):
            for gone in fact.payload.took:
                assert versions[fact.stream].setdefault(gone.version, gone.subject) == gone.subject
                ordinals[fact.slot].add(gone.ordinal)
                entries[fact.stream].add(gone.subject)
    for stream, used in versions.items():
        assert sorted(used) == list(range(len(used))), f"{stream} has the versions {sorted(used)}"
    for slot, known in ordinals.items():
        assert sorted(known) == list(range(len(known))), f"slot {slot} has the ordinals {sorted(known)}"
    for stream, numbers in appended.items():
        assert numbers == sorted(set(numbers)), f"{stream} was numbered {numbers}"
        if "/session/" in stream:
            events = sorted(int(e.removeprefix("event/")) for e in entries[stream] if e.startswith("event/"))
            assert events == list(range(len(events))), f"{stream} has the events {events}"


def whole_commands(records: Sequence[FactRecord]) -> None:
    """Guarantee 2: on the whole log, each accepted command has all its facts, once, side by side."""
    facts = facts_of(records)
    at = 0
    sources = set()
    while at < len(facts):
        first = facts[at]
        mine = facts[at : at + first.of]
        assert [f.nth for f in mine] == list(range(first.of)), f"{first.command} is incomplete"
        assert {(f.command, f.source, f.of) for f in mine} == {(first.command, first.source, first.of)}
        assert first.source not in sources, f"the command at {first.source} was accepted twice"
        sources.add(first.source)
        at += first.of
    assert [f.source for f in facts] == sorted(f.source for f in facts), "facts are not in the order of the commands"


def chained(records: Sequence[FactRecord]) -> None:
    """Every stream's chain verifies from its start, across the holes by what `Erased` has kept of them."""
    links: dict[str, dict[int, bytes]] = defaultdict(dict)
    said: dict[tuple[str, int], bytes] = {}
    for fact in facts_of(records):
        links[fact.stream][fact.version] = fact.link
        said[fact.stream, fact.version] = fact.chain
        if isinstance(fact.payload, Erased):
            for gone in fact.payload.took:
                known = links[fact.stream].setdefault(gone.version, bytes.fromhex(gone.link))
                assert known == bytes.fromhex(gone.link), f"{fact.stream}@{gone.version} had another link"
    for stream, linked in links.items():
        value = chain.start(stream)
        for version in range(len(linked)):
            value = chain.extend(value, linked[version])
            assert said.get((stream, version), value) == value, f"the chain of {stream} breaks at {version}"


def timed(records: Sequence[FactRecord]) -> None:
    """Times rise strictly within a stream."""
    last: dict[str, int] = {}
    for fact in facts_of(records):
        assert fact.time > last.get(fact.stream, -1), f"{fact.stream}@{fact.version} is not later than the one before"
        last[fact.stream] = fact.time


def sound(records: Sequence[FactRecord], *, whole: bool) -> None:
    """Check all of this; that commands are complete only where nothing has been taken away yet."""
    numbered(records)
    chained(records)
    timed(records)
    if whole:
        whole_commands(records)


async def rebuilt(log: Log, partition: int = 0) -> MemoryStore:
    """Return the views made anew from what the log holds now."""
    store = MemoryStore()
    projector = Projector(log, store, partition)
    while await projector.step():
        pass
    return store


def dump(store: MemoryStore | SqliteStore, partition: int = 0) -> Dump:
    """Return all rows and places of a partition."""
    if isinstance(store, MemoryStore):
        return store.all_rows.get(partition, {}), store.all_places.get(partition, {})
    return sqlite_dump(store)


def sqlite_dump(store: SqliteStore) -> Dump:
    """Return all rows and places; the sizes of the indexes must be what they say."""
    database = store._db
    rows = {key: json.loads(fields) for key, fields in database.execute("SELECT key, fields FROM view_rows")}
    sql = (
        'SELECT r.key, p.family, i.name, p.score FROM view_places p JOIN view_rows r ON r.id = p."row"'
        ' JOIN view_indexes i ON i.id = p."index"'
    )
    places = {(key, family): (name, score) for key, family, name, score in database.execute(sql)}
    sizes: dict[str, int] = defaultdict(int)
    for name, _ in places.values():
        sizes[name] += 1
    assert dict(database.execute("SELECT name, size FROM view_indexes")) == sizes
    return rows, places
