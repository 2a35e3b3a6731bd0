"""Random histories on a log of several partitions: what random clients said, as the real sequencers decided it."""

from __future__ import annotations

import random
from itertools import count

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.ids import partition_of
from mnemolog.domain.record import CONTROL_KEY
from mnemolog.domain.rules import Rules
from tests.given import KEY, NOON
from tests.simulation.clients import Clients
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot


class Told:
    """A log that goes on for as long as it is asked to."""

    def __init__(self, seed: int, partitions: int = 4) -> None:
        """Start with an empty log, whose offsets have holes behind transactions."""
        self.dice = random.Random(seed)
        clock = count(NOON, 1_000)
        self.log = MemoryLog(lambda: next(clock), partitions=partitions, marker=lambda: self.dice.choice((0, 1, 3)))
        self.partitions = partitions
        self.clients = Clients(self.dice)
        self._nodes: list[Sequencing] = []

    async def more(self, rounds: int) -> Told:
        """Let the clients speak so many times, each time decided at once."""
        if not self._nodes:
            for partition in range(self.partitions):
                node = Sequencing(self.log, lambda: MemorySnapshot(KEY), Rules(), partition, self.partitions)
                await node.start()
                self._nodes.append(node)
        for _ in range(rounds):
            for said in self.clients.speak():
                partition = partition_of(said.slot, self.partitions)
                before = await self.log.end(partition)
                await self.log.append(partition, [said.record])
                while await self._nodes[partition].step() is not None:
                    pass
                for record in await self.log.facts(partition, before, 10_000):
                    if record.key != CONTROL_KEY and record.value is not None:
                        self.clients.learn(decode_fact(record))
        return self
