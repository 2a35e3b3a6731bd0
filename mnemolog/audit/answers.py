"""The port `Audits`: histories, states and searches of one tenant, each answered from the log by a fold of its own.

1. Whatever is asked, only facts of the asking tenant are looked at (guarantee 8).
2. A search embeds the scope as it was: there is no second index. Vectors are kept in memory under the commitment of the
   fact that set the text, `_KEPT` at the most and `_FOR` seconds long, so that what is erased is soon gone there as
   well; equal texts are embedded once. A scope of more than `_MOST` memories is refused.
3. Each question reads the log on a thread of its own, two at a time: an audit holds nobody up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from mnemolog.audit.history import history, owned
from mnemolog.audit.moment import Moment, Row, Then, replayed
from mnemolog.audit.reading import About, Facts, collected
from mnemolog.audit.views import Project
from mnemolog.domain.audits import NotAsked, Question, Told, silent
from mnemolog.domain.ports import Embedder, Scope
from mnemolog.domain.record import FactRecord
from mnemolog.domain.schema import Json

_AT_ONCE = 2
_MOST = 5_000
_KEPT = 20_000
_FOR = 600
_BATCH = 64
_T = TypeVar("_T")

Opened = Callable[[], AbstractAsyncContextManager[Facts]]
"""Opens the log for one question, on the loop of its thread."""


class LogAudits:
    """Audits over a log."""

    def __init__(self, opened: Opened, partitions: int, project: Project, embedder: Embedder) -> None:
        """Take the log, the views' functions, and the model that searches name."""
        self._opened = opened
        self._partitions = partitions
        self._project = project
        self._embedder = embedder
        self._vectors: dict[bytes, tuple[float, Sequence[float]]] = {}
        self._going = asyncio.Semaphore(_AT_ONCE)

    async def history(self, question: Question, told: Told = silent) -> Json:
        """Return entries, oldest first."""
        if question.stream is None and question.agent is None and question.command is None:
            message = "name a stream, an id, a command, or an agent and an invoker"
            raise NotAsked(message)
        return await self._ask(lambda log: self._history(log, question, told))

    async def state(self, question: Question, as_of: str, told: Told = silent) -> Json:
        """Return rows as they were, and what was erased since."""
        moment = _moment(as_of)
        then = await self._ask(lambda log: self._replayed(log, question, moment, told))
        return {"rows": [row.plain() for row in then.rows], "erased": _erased(then)}

    async def search(
        self, scope: Scope, query: str, threshold: float, top: int, as_of: str, told: Told = silent
    ) -> Json:
        """Rank a scope as it was, exactly."""
        moment = _moment(as_of)
        question = Question(scope.tenant, agent=scope.agent, invoker=scope.invoker)

        async def ranked(log: Facts) -> tuple[Then, list[tuple[float, Row]]]:
            then = await self._replayed(log, question, moment, told)
            memories = [row for row in then.rows if row.kind == "memory"]
            if len(memories) > _MOST:
                message = (
                    f"this scope had {len(memories)} memories then; a search of the past takes {_MOST} at the most"
                )
                raise NotAsked(message)
            return then, self._ranked(query, memories, then.texts, told)

        then, hits = await self._ask(ranked)
        asyncio.get_running_loop().call_later(_FOR, self._let_go)
        value = [row.plain() | {"similarity": similarity} for similarity, row in hits if similarity >= threshold][:top]
        return {"model": self._embedder.model, "value": value, "erased": _erased(then)}

    # ---- inside ------------------------------------------------------------------------------------------------------

    async def _ask(self, work: Callable[[Facts], Awaitable[_T]]) -> _T:
        async def asked() -> _T:
            async with self._opened() as log:
                return await work(log)

        async with self._going:
            return await asyncio.to_thread(lambda: asyncio.run(asked()))

    def _about(self, question: Question) -> About:
        if (question.agent is None) != (question.invoker is None):
            message = "an owner is an agent and an invoker"
            raise NotAsked(message)
        if sum(part is not None for part in (question.stream, question.agent, question.command)) > 1:
            message = "name one thing: a stream or an id, a command, or an agent and an invoker"
            raise NotAsked(message)
        if question.agent is not None and question.invoker is not None:
            return About(owner=(question.tenant, question.agent, question.invoker))
        return About(stream=question.stream) if question.stream is not None else About(tenant=question.tenant)

    async def _history(self, log: Facts, question: Question, told: Told) -> Json:
        about = self._about(question)

        def wanted(record: FactRecord) -> bool:
            return about.wants(record) and record.headers["tenant"] == question.tenant

        records = await collected(log, about.partitions(self._partitions), wanted, told)
        unknown = 0
        if about.owner is not None:
            records, unknown = owned(records, *about.owner[1:])
        entries = [entry for entry in history(records) if entry.took or about.names(entry.stream, entry.subject)]
        if question.command is not None:
            entries = [entry for entry in entries if entry.command == question.command]
        return {"entries": [entry.plain() for entry in entries], "unknownStreams": unknown}

    async def _replayed(self, log: Facts, question: Question, moment: Moment, told: Told) -> Then:
        if question.command is not None:
            message = "a state is of a stream, an owner or the tenant, not of a command"
            raise NotAsked(message)
        only = _OfTenant(log, question.tenant)
        return await replayed(only, self._partitions, self._about(question), moment, self._project, told)

    def _ranked(
        self, query: str, memories: Sequence[Row], texts: Mapping[str, bytes], told: Told
    ) -> list[tuple[float, Row]]:
        """Return memories by similarity, best first, equal ones by id."""
        (wanted,) = self._embedder.embed([query])
        vectors: dict[bytes, Sequence[float]] = {}
        missing: dict[str, list[bytes]] = {}
        for row in memories:
            if (kept := self._vectors.get(texts[row.key])) is not None:
                vectors[texts[row.key]] = kept[1]
            else:
                missing.setdefault(row.fields["content"], []).append(texts[row.key])
        ordered = sorted(missing, key=len)
        for at in range(0, len(ordered), _BATCH):
            some = ordered[at : at + _BATCH]
            for text, vector in zip(some, self._embedder.embed(some), strict=True):
                vectors |= dict.fromkeys(missing[text], vector)
            told("embedding", min(at + _BATCH, len(ordered)), len(ordered))
        now = time.monotonic()
        self._vectors.update({commitment: (now, vector) for commitment, vector in vectors.items()})
        self._let_go()
        hits = [(_similarity(wanted, vectors[texts[row.key]]), row) for row in memories]
        return sorted(hits, key=lambda hit: (-hit[0], str(hit[1].fields["id"])))

    def _let_go(self) -> None:
        """Forget vectors that have been kept for long enough, and the oldest of too many."""
        old = time.monotonic() - _FOR
        kept = [(name, one) for name, one in list(self._vectors.items()) if one[0] > old]
        self._vectors = dict(kept[-_KEPT:])


class _OfTenant:
    """A log of which nothing but one tenant's facts is seen."""

    def __init__(self, log: Facts, tenant: str) -> None:
        self._log = log
        self._tenant = tenant
        self.end, self.commands, self.bounds = log.end, log.commands, log.bounds

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return records, those of other tenants without a value: offsets go on, and nothing is told."""
        records = await self._log.facts(partition, start, limit)
        return [r if r.headers.get("tenant") == self._tenant else FactRecord("", {}, None, r.offset) for r in records]


def _moment(text: str) -> Moment:
    try:
        return Moment.parse(text)
    except ValueError:
        message = "asOf must be an ISO-8601 time or a position like 0:17"
        raise NotAsked(message) from None


def _erased(then: Then) -> list[Json]:
    return [lost.plain() for lost in then.lost]


def _similarity(one: Sequence[float], other: Sequence[float]) -> float:
    return min(1.0, max(0.0, sum(float(a) * float(b) for a, b in zip(one, other, strict=True))))
