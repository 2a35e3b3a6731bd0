"""What is asked of a world when all is done: each guarantee by its own question, over all that has ever happened."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

from mnemolog.audit.derive import candidates
from mnemolog.audit.verify import Check, verified
from mnemolog.domain import erasure
from mnemolog.domain.codec import decode_command
from mnemolog.domain.erasure import Erased
from mnemolog.domain.errors import Malformed
from mnemolog.domain.fact import Fact
from mnemolog.domain.outcomes import Accepted, Landed, Reason, Rejected
from mnemolog.domain.ports import Scope
from mnemolog.domain.record import CONTROL_KEY
from mnemolog.domain.session import EventAppended, EventDeleted, EventUpdated, SessionCreated, SessionUpdated
from mnemolog.domain.session_commands import UpdateEvents, UpdateSession
from mnemolog.domain.streams import stream
from mnemolog.domain.times import from_text
from mnemolog.domain.window import WORKERS
from projections.projector import project
from projections.search import ScopedSearch
from tests.simulation import invariants
from tests.simulation.clients import request_of
from tests.simulation.faults import frozen
from tests.simulation.world import EMBEDDER, World
from workers.snapshot_memory import MemorySnapshot
from workers.state import State


async def numbers(world: World) -> None:
    """1: versions, ordinals, sequence ids and message numbers, on all that ever was and on what is left."""
    for partition, history in enumerate(world.histories):
        for records in (history.records, await invariants.read(world.reader, partition)):
            invariants.numbered(records)
            invariants.timed(records)


async def facts_once(world: World) -> None:
    """2: an acceptance's facts are there once, all of them, as its outcome says; a refusal or a repeat left none."""
    for partition, history in enumerate(world.histories):
        invariants.whole_commands(history.records)
        left = by_source(history.records)
        for command, result in world.outcomes(partition):
            landed = tuple(Landed(f.stream, f.version, f.subject, f.time) for f in left.pop(command.offset, []))
            new = isinstance(result, Accepted) and not result.repeated
            assert landed == (result.facts if isinstance(result, Accepted) and new else ())
        assert not left, f"facts of commands that had no outcome: {left}"


async def repeats(world: World) -> None:
    """3: within the window, a command id is accepted once a slot; each repeat of that request gets this acceptance."""
    if not world.lasting:
        return
    for partition in range(world.partitions):
        first: dict[tuple[str, str], tuple[str, Accepted]] = {}
        for command, result in world.outcomes(partition):
            if command.headers["actor"].startswith(WORKERS):
                continue
            known = first.get((command.key, command.headers["ce_id"]))
            if known is None:
                if isinstance(result, Accepted):
                    assert not result.repeated
                    first[command.key, command.headers["ce_id"]] = (request_of(command), result)
                continue
            request, acceptance = known
            if request_of(command) == request:
                assert isinstance(result, Accepted), f"a repeat of {command.headers['ce_id']} got {result}"
            if isinstance(result, Accepted):
                assert result.repeated
                assert result.facts == acceptance.facts


async def conflicts(world: World) -> None:
    """4: with the current token a write is not refused as stale, with another one never accepted."""
    for partition, history in enumerate(world.histories):
        left = by_source(history.records)
        tokens: dict[tuple[str, int], int] = {}
        versions: dict[str, int] = {}
        for record, result in world.outcomes(partition):
            try:
                envelope = decode_command(record)
            except Malformed:
                continue
            command = envelope.command
            new = isinstance(result, Accepted) and not result.repeated
            refused = result.reason if isinstance(result, Rejected) else None
            match command:
                case UpdateSession(target=target) if target.version is not None:
                    current = versions.get(stream(envelope.tenant, "session", target.session))
                    assert not new or target.version == current
                    assert refused is not Reason.VERSION_MISMATCH or target.version != current
                case UpdateEvents(target=target, parts=parts):
                    name = stream(envelope.tenant, "session", target.session)
                    seen = [(p.sequence_id, from_text(p.created_at)) for p in parts if p.created_at is not None]
                    stale = [number for number, token in seen if tokens.get((name, number)) != token]
                    assert not (new and stale), f"events {stale} of {name} were changed by a stale token"
                    assert refused is not Reason.STALE_EVENT or stale
                case _:
                    pass
            for fact in left.get(record.offset, []):
                _note(fact, tokens, versions)


def _note(fact: Fact, tokens: dict[tuple[str, int], int], versions: dict[str, int]) -> None:
    match fact.payload:
        case SessionCreated():
            versions[fact.stream] = 1
        case SessionUpdated(version=version):
            assert version == versions[fact.stream] + 1
            versions[fact.stream] = version
        case EventAppended() | EventUpdated():
            tokens[fact.stream, int(fact.subject.removeprefix("event/"))] = fact.time
        case EventDeleted():
            del tokens[fact.stream, int(fact.subject.removeprefix("event/"))]
        case Erased(took=took):
            for gone in took:
                if gone.subject.startswith("event/"):
                    tokens.pop((fact.stream, int(gone.subject.removeprefix("event/"))), None)
        case _:
            pass


async def views(world: World) -> None:
    """6: the live views, those rebuilt from the compacted log, and those rebuilt from all that ever was are equal."""
    for partition, history in enumerate(world.histories):
        live = invariants.dump(world.store, partition if not world.folder else 0)
        for name, log in (("compacted", world.reader), ("whole", None)):
            anew = await invariants.rebuilt(log or frozen(history.records), partition)
            rows, places = invariants.dump(anew, partition)
            assert live[0] == rows, f"rows differ from those of the {name} log"
            assert live[1] == places, f"places differ from those of the {name} log"


async def found(world: World) -> None:
    """Every readable memory has the vector of its text, no other has one, and a search of a scope finds just them."""
    wanted: dict[str, tuple[int, Scope]] = {}
    for partition in range(world.partitions):
        rows, _ = invariants.dump(world.store, partition)
        for key, row in rows.items():
            if "text_version" in row:
                tenant = key.rpartition("/memory/")[0]
                wanted[row["id"]] = (row["text_version"], Scope(tenant, row["agent"], row["invoker"]))
    assert {i: (p.version, p.scope) for i, p in world.vectors._points.items()} == wanted
    if not world.folder:
        search = ScopedSearch(
            world.store, world.vectors, EMBEDDER, _indexed(world), wait=1, partitions=world.partitions
        )
        for scope in sorted({scope for _, scope in wanted.values()})[:2]:
            hits = await search.search(scope, "text 3", 0.0, 1_000)
            assert {hit.memory["id"] for hit in hits} == {i for i, (_, s) in wanted.items() if s == scope}


def _indexed(world: World) -> Callable[[int, int, float], Awaitable[bool]]:
    async def indexed(partition: int, offset: int, _: float) -> bool:
        return world.indexers[partition].offset >= offset

    return indexed


async def chains(world: World) -> None:
    """8: chains verify on all that ever was, and across the holes of what is left."""
    for partition, history in enumerate(world.histories):
        invariants.chained(history.records)
        invariants.chained(await invariants.read(world.reader, partition))


async def determinism(world: World) -> None:
    """The recorded commands, sequenced once more from nothing, give the same facts to the byte."""
    for partition, history in enumerate(world.histories):
        first = [r for r in history.records if r.value is not None and r.key != CONTROL_KEY]
        again = world.decided_again(partition)
        assert [(r.key, dict(r.headers), r.value) for r in first] == [(r.key, dict(r.headers), r.value) for r in again]


async def survival(world: World) -> None:
    """9: all that was ever committed is in the log, but for what a null record names, which is not."""
    for partition, history in enumerate(world.histories):
        gone = {r.key for r in history.records if r.value is None}
        ever = [r for r in history.records if r.value is not None and r.key not in gone and r.key != CONTROL_KEY]
        left = await invariants.read(world.reader, partition)
        assert [r for r in left if r.value is not None and r.key != CONTROL_KEY] == ever


async def audited(world: World) -> None:
    """Verification finds nothing wrong, whatever was erased, compacted, expired, or decided by whomever."""
    for partition in range(world.partitions):
        with patch.multiple(erasure, ERASE_LIMIT=world.erase_limit):
            rules = candidates(world.rules)
            check = Check(world.partitions, lambda: State(MemorySnapshot(bytes(32))), project, rules)
            result, folded = await verified(world.reader, partition, check)
        assert not result.found.count, result.found.said
        rows, places = invariants.dump(world.store, partition if not world.folder else 0)
        assert rows == json.loads(json.dumps(folded.rows))
        assert places == {(key, family): at for key, them in folded.places.items() for family, at in them.items()}


async def retained(world: World) -> None:
    """7: nothing that a policy, a strategy or a grace has ended is there, whoever died in the middle."""
    assert not await world.keeper.left()


def by_source(records: Any) -> dict[int, list[Fact]]:
    """Return the facts by the offset of their command."""
    left: dict[int, list[Fact]] = defaultdict(list)
    for fact in invariants.facts_of(records):
        left[fact.source.offset].append(fact)
    return left


QUESTIONS: dict[str, Callable[[World], Awaitable[None]]] = {
    "numbers": numbers,
    "facts once": facts_once,
    "repeats": repeats,
    "conflicts": conflicts,
    "views": views,
    "vectors": found,
    "chains": chains,
    "determinism": determinism,
    "survival": survival,
    "audit": audited,
    "retention": retained,
}
