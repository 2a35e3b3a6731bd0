"""The gateway's commands on Kafka: publish, wait for the outcome, wait until reads show it (design §10).

1. Listen for outcomes.
2. Append the command; if it is not known whether Kafka has taken it, append it again: a repeat changes nothing.
3. Wait for the outcome of the command at that very offset.
4. Wait until the store's checkpoint has come to the outcome's position.

All of it within the write wait. Nothing waits for ever, whichever server is restarted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import ExitStack

from mnemolog.domain.codec import Encode, Envelope, encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.ports import Store
from mnemolog.domain.reads import Published
from mnemolog.domain.record import CommandRecord
from mnemolog.runtime.kafka_outcomes import Awaited, Outcomes
from mnemolog.runtime.visible import Visible
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog

_log = logging.getLogger(__name__)
_AGAIN = 0.2


class KafkaCommands:
    """The port `Commands`; everything here belongs to the loop that called `start`."""

    def __init__(
        self, cluster: Cluster, log: KafkaLog, store: Store, *, write_wait: float, encode: Encode = encode_command
    ) -> None:
        """Take where commands go, what shows their facts, how long both may take, in seconds, and who writes them."""
        self._partitions = cluster.partitions
        self._log = log
        self._outcomes = Outcomes(cluster)
        self._visible = Visible(store)
        self._write_wait = write_wait
        self._encode = encode

    def start(self) -> None:
        """Start to listen for outcomes."""
        self._outcomes.start()

    async def stop(self) -> None:
        """Stop to listen; whoever waits still will not be answered."""
        await self._outcomes.stop()
        await self._visible.stop()

    def trouble(self) -> str | None:
        """Say what is wrong with Kafka now, if anything is."""
        return self._outcomes.trouble()

    async def submit(self, envelope: Envelope) -> Outcome:
        """Publish a command and return its outcome once reads show it. Raises Unavailable."""
        partition = partition_of(envelope.slot, self._partitions)
        try:
            async with asyncio.timeout(self._write_wait):
                outcome = await self._decided(partition, self._encode(envelope))
                await self._visible.wait(partition, outcome.position)
        except TimeoutError:
            message = (
                f"the command {envelope.id} was not answered in time; it may still be accepted, and sending it again"
                " with this id is safe"
            )
            raise Unavailable(message) from None
        return outcome

    async def publish(self, envelopes: Sequence[Envelope], wait: float) -> Sequence[Published]:
        """Append commands, and return where they stand with the outcomes that reads show within `wait` seconds."""
        placed = [partition_of(envelope.slot, self._partitions) for envelope in envelopes]
        with ExitStack() as listening:
            try:
                async with asyncio.timeout(self._write_wait):
                    if wait:
                        await self._outcomes.listening()
                    awaited = [listening.enter_context(self._outcomes.awaiting(one.id)) for one in envelopes]
                    offsets = await self._all_appended(placed, [self._encode(one) for one in envelopes])
            except TimeoutError:
                message = "the commands were not taken in time; sending them again with the same ids is safe"
                raise Unavailable(message) from None
            for one, offset in zip(awaited, offsets, strict=True):
                one.sent(offset)
            outcomes = await self._shown(placed, awaited, wait)
        return [Published(*one) for one in zip(placed, offsets, outcomes, strict=True)]

    async def _all_appended(self, placed: Sequence[int], records: Sequence[CommandRecord]) -> Sequence[int]:
        """Append records to their partitions, those of one partition in their order; return the offset of each."""
        offsets: dict[int, int] = {}

        async def append(partition: int) -> None:
            chosen = [index for index, one in enumerate(placed) if one == partition]
            offsets.update(
                zip(chosen, await self._appended(partition, [records[index] for index in chosen]), strict=True)
            )

        await asyncio.gather(*map(append, dict.fromkeys(placed)))
        return [offsets[index] for index in range(len(records))]

    async def _shown(self, placed: Sequence[int], awaited: Sequence[Awaited], wait: float) -> Sequence[Outcome | None]:
        """Return the outcomes that have come, and that reads show, within `wait` seconds."""
        if not wait:
            return [None] * len(awaited)

        async def shown(partition: int, one: Awaited) -> Outcome:
            outcome = await one.outcome()
            await self._visible.wait(partition, outcome.position)
            return outcome

        tasks = [asyncio.create_task(shown(*both)) for both in zip(placed, awaited, strict=True)]
        try:
            await asyncio.wait(tasks, timeout=wait)
            return [task.result() if task.done() else None for task in tasks]
        finally:
            for task in tasks:
                task.cancel()

    async def _decided(self, partition: int, record: CommandRecord) -> Outcome:
        await self._outcomes.listening()
        with self._outcomes.awaiting(record.headers["ce_id"]) as awaited:
            (offset,) = await self._appended(partition, [record])
            awaited.sent(offset)
            return await awaited.outcome()

    async def _appended(self, partition: int, records: Sequence[CommandRecord]) -> Sequence[int]:
        while True:
            try:
                return await self._log.append(partition, records)
            except Unavailable as error:
                _log.warning("appending %d commands again: %s", len(records), error)
                await asyncio.sleep(_AGAIN)
