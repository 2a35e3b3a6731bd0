"""A log in memory with the real sequencers and projectors on it: what is said becomes facts, and facts become views."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from mnemolog.domain.codec import Envelope, decode_outcome, encode_command
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Accepted, Rejected
from mnemolog.domain.record import CommandRecord, FactRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from projections.projector import Projector
from projections.store_memory import MemoryStore
from tests.given import KEY, NOON, TICK
from workers.log_memory import MemoryLog
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

_MORE = 1_000_000


class Pipeline:
    """One log, one store, and on each partition a sequencer and a projector; the same each time."""

    def __init__(self, partitions: int = 1, *, marker: Callable[[], int] = lambda: 0, tick: int = TICK) -> None:
        """Begin empty; the clock goes `tick` µs with each command."""
        self.partitions = partitions
        self.now = NOON
        self.log = MemoryLog(lambda: self.now, partitions=partitions, marker=marker)
        self.store = MemoryStore()
        self.snapshots = [MemorySnapshot(KEY) for _ in range(partitions)]
        self.sequencings = [self._sequencing(partition) for partition in range(partitions)]
        self.projectors = [Projector(self.log, self.store, partition) for partition in range(partitions)]
        self._tick = tick
        self._said = 0
        for sequencing in self.sequencings:
            asyncio.run(sequencing.start())

    def _sequencing(self, partition: int) -> Sequencing:
        return Sequencing(self.log, lambda: self.snapshots[partition], Rules(), partition, self.partitions)

    def say(self, *commands: Command, tenant: str = "acme") -> str:
        """Have commands decided, which must all be accepted; return the id that is new with the last."""
        result = [self._decided(command, tenant) for command in commands][-1]
        assert isinstance(result, Accepted), result
        return result.facts[0].subject.rpartition("/")[2]

    def ask(self, command: Command, tenant: str = "acme") -> Rejected:
        """Have a command decided, which must be refused."""
        result = self._decided(command, tenant)
        assert isinstance(result, Rejected), result
        return result

    def record(self, command: Command, tenant: str = "acme") -> CommandRecord:
        """Return the record of a command, the next one."""
        self._said, self.now = self._said + 1, self.now + self._tick
        identifier = f"command-{self._said}"
        slot = slot_of_command(tenant, identifier, command) or 0
        secret = hashlib.sha256(identifier.encode()).digest()
        return encode_command(Envelope(identifier, tenant, "client/sb", slot, secret, command))

    def _decided(self, command: Command, tenant: str) -> Accepted | Rejected:
        record = self.record(command, tenant)
        partition = partition_of(int(record.key), self.partitions)
        asyncio.run(self.log.append(partition, [record]))
        transaction = asyncio.run(self.sequencings[partition].step())
        assert transaction is not None
        return decode_outcome(transaction.outcomes[-1]).result

    def project(self) -> None:
        """Bring every view up to date."""
        for projector in self.projectors:
            while asyncio.run(projector.step()):
                pass

    def facts(self, partition: int = 0) -> Sequence[FactRecord]:
        """Return all records of a fact topic."""
        return asyncio.run(self.log.facts(partition, 0, _MORE))

    def fresh_state(self) -> State:
        """Return a state that knows nothing yet."""
        return State(MemorySnapshot(KEY))
