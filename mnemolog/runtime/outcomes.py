"""`mnemolog outcomes tail`: what became of the newest commands, whoever sent them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from mnemolog.domain.codec import decode_outcome, encode_outcome
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.times import to_text
from mnemolog.runtime.config import Settings

_POLL = 0.2
_PAGE = 1_000


class Heard(NamedTuple):
    """An outcome and where it was read."""

    partition: int
    outcome: Outcome


class _Source(Protocol):
    def newest(self, last: int) -> AsyncIterator[Sequence[Heard]]:
        """Yield the newest outcomes, then for ever what comes."""
        ...


async def tail(settings: Settings, *, last: int, follow: bool, as_json: bool) -> int:
    """Print the newest outcomes, oldest first; with `follow`, go on until interrupted."""
    source: _Source = _Kafka(settings) if settings.runtime == "kafka" else _Folder(settings)
    async for heard in source.newest(last):
        for one in heard:
            sys.stdout.write((json.dumps(_plain(one), ensure_ascii=False) if as_json else line(one)) + "\n")
        sys.stdout.flush()
        if not follow:
            break
    return 0


def line(heard: Heard) -> str:
    """Return an outcome as one line: where the command stood, its id, what became of it."""
    outcome = heard.outcome
    at = f"{heard.partition}@{outcome.source or outcome.position}"
    match outcome.result:
        case Accepted(facts=facts, repeated=repeated):
            what = ", ".join(f"{fact.stream}@{fact.version}" for fact in facts[:3])
            more = f" and {len(facts) - 3} more" if len(facts) > 3 else ""  # noqa: PLR2004 -- a line is short
            when = to_text(facts[0].time) if facts else ""
            return f"{at:>12}  {outcome.command}  {'repeated' if repeated else 'accepted'}  {when}  {what}{more}"
        case Rejected(reason=reason, detail=detail):
            return f"{at:>12}  {outcome.command}  rejected  {reason}: {detail}"


def _plain(heard: Heard) -> dict[str, Any]:
    value = json.loads(encode_outcome(heard.outcome).value)
    return {"command": heard.outcome.command, "partition": heard.partition, **value}


class _Folder:
    """The outcomes in a data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def newest(self, last: int) -> AsyncIterator[Sequence[Heard]]:
        """Yield the newest outcomes, then for ever what comes."""
        from mnemolog.runtime.folder import Folder

        log = Folder(self._settings.data).log()
        try:
            at, limit = max(0, await log.outcomes_end(0) - last), last
            while True:
                found = await log.outcomes(0, at, limit)
                yield [Heard(0, decode_outcome(record)) for _, record in found]
                at, limit = (found[-1][0] + 1 if found else at), _PAGE
                if not found:
                    await asyncio.sleep(_POLL)
        finally:
            await log.close()


class _Kafka:
    """The outcomes on their topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def newest(self, last: int) -> AsyncIterator[Sequence[Heard]]:
        """Yield the newest outcomes by time, then for ever what comes. Raises Unavailable."""
        from aiokafka import TopicPartition
        from aiokafka.errors import KafkaError

        from mnemolog.domain.topics import OUTCOMES
        from mnemolog.runtime.kafka import cluster
        from workers.kafka_cluster import let_go

        where = cluster(self._settings)
        consumer = where.consumer()
        try:
            await consumer.start()
            partitions = [TopicPartition(where.topic(OUTCOMES), number) for number in range(where.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            stored: list[Any] = []
            reach = 2 * last  # every second offset may be a transaction's marker
            while True:
                for at, end in ends.items():
                    consumer.seek(at, max(begins[at], end - reach))
                stored = []
                while [at for at, end in ends.items() if await consumer.position(at) < end]:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        stored += records
                if len(stored) >= last or all(end - reach <= begins[at] for at, end in ends.items()):
                    break
                reach *= 2
            yield _heard(sorted(stored, key=lambda record: record.timestamp)[-last:])
            while True:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    yield _heard(records)
        except KafkaError as error:
            message = f"the outcomes at {where.servers} cannot be read: {error!r}"
            raise Unavailable(message) from error
        finally:
            await let_go(consumer.stop)


def _heard(records: Sequence[Any]) -> Sequence[Heard]:
    from workers.kafka_records import outcome_of

    return [Heard(record.partition, decode_outcome(outcome_of(record)[1])) for record in records]
