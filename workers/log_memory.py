"""A log in memory: a full adapter of the port `Log`, for tests and simulations, with what a topic of Kafka has.

1. Any number of partitions; `marker` says how many offsets each transaction takes beyond its records, as Kafka's
   transaction markers do, so that offsets have holes.
2. A null record takes the fact's value away when `compact` runs, not before, as Kafka's cleaner does.
3. `again` is another process's hold on the same topics: who takes a partition fences every other hold.
4. Times are strictly increasing, also when the clock is set back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mnemolog.domain.errors import Fenced
from mnemolog.domain.record import (
    CONTROL_KEY,
    CommandRecord,
    DeadLetter,
    FactRecord,
    OutcomeRecord,
    Transaction,
)


@dataclass(slots=True)
class _Partition:
    """The topics of one partition; `first_command` is what retention has left, `following` are the next offsets."""

    commands: list[CommandRecord] = field(default_factory=list)
    facts: list[FactRecord] = field(default_factory=list)
    outcomes: dict[str, OutcomeRecord] = field(default_factory=dict)
    dead_letters: dict[str, DeadLetter] = field(default_factory=dict)
    first_command: int = 0
    following_command: int = 0
    following_fact: int = 0
    last_time: int = 0
    generation: int = 0


class MemoryLog:
    """Topics in lists, shared by all that `again` returns."""

    def __init__(self, clock: Callable[[], int], *, partitions: int = 1, marker: Callable[[], int] = lambda: 0) -> None:
        """Start empty; `clock` returns µs since 1970."""
        self._clock = clock
        self._marker = marker
        self._partitions = [_Partition() for _ in range(partitions)]
        self._taken: dict[int, int] = {}

    def again(self) -> MemoryLog:
        """Return another hold on the same topics, as another process would have it."""
        other = MemoryLog(self._clock, marker=self._marker)
        other._partitions = self._partitions
        return other

    async def append(self, partition: int, commands: Sequence[CommandRecord]) -> Sequence[int]:
        """Append commands and return their offsets, in order."""
        here = self._partitions[partition]
        offsets = []
        for command in commands:
            here.last_time = max(self._clock(), here.last_time + 1)
            here.commands.append(replace(command, offset=here.following_command, time=here.last_time))
            offsets.append(here.following_command)
            here.following_command += 1
        here.following_command += self._marker() if commands else 0
        return offsets

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return at most `limit` commands from offset `start` on."""
        commands = self._partitions[partition].commands
        first = bisect_left(commands, start, key=lambda record: record.offset)
        return commands[first : first + limit]

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is still kept, and the one that comes next."""
        here = self._partitions[partition]
        return here.first_command, here.following_command

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records from offset `start` on."""
        facts = self._partitions[partition].facts
        first = bisect_left(facts, start, key=lambda record: record.offset)
        return facts[first : first + limit]

    async def end(self, partition: int) -> int:
        """Return the offset below which every fact record lies."""
        return self._partitions[partition].following_fact

    async def outcome(self, partition: int, command: str) -> OutcomeRecord | None:
        """Return the newest outcome of a command."""
        return self._partitions[partition].outcomes.get(command)

    async def take(self, partition: int) -> None:
        """Fence whoever sequenced before."""
        here = self._partitions[partition]
        here.generation += 1
        self._taken[partition] = here.generation

    async def commit(self, partition: int, transaction: Transaction) -> int:
        """Append all that a batch leaves behind: what is new is made first, and then put in place at once."""
        here = self._partitions[partition]
        if self._taken.get(partition) != here.generation:
            message = "another process sequences this partition now"
            raise Fenced(message)
        records = [*transaction.facts, *(FactRecord(key, {}, None) for key in transaction.tombstones)]
        if transaction.control:
            headers = {"position": str(transaction.position), "command": transaction.last}
            records.append(FactRecord(CONTROL_KEY, headers, b"{}"))
        facts = [replace(record, offset=here.following_fact + n, meant=None) for n, record in enumerate(records)]
        outcomes = {outcome.key: replace(outcome, meant=None) for outcome in transaction.outcomes}
        dead_letters = {letter.key: letter for letter in transaction.dead_letters}
        forgotten = _forgotten(here.commands, transaction) if transaction.forget else here.commands
        following = here.following_fact + len(facts) + self._marker()
        here.facts.extend(facts)
        here.following_fact = following
        here.outcomes |= outcomes
        here.dead_letters |= dead_letters
        here.commands = forgotten
        return following

    # ---- what the operator of a topic does ---------------------------------------------------------------------------

    def compact(self, partition: int, *, below: int | None = None, nulls: bool = False) -> None:
        """Keep the newest record of each key among those below an offset; with `nulls`, remove null records too."""
        here = self._partitions[partition]
        dirty = here.following_fact if below is None else below
        newest = {record.key: record.offset for record in here.facts if record.offset < dirty}
        here.facts = [
            record
            for record in here.facts
            if record.offset >= dirty or (newest[record.key] == record.offset and not (nulls and record.value is None))
        ]

    def expire(self, partition: int, below: int) -> None:
        """Remove the commands below an offset, decided or not, as retention by time does."""
        here = self._partitions[partition]
        here.first_command = max(here.first_command, below)
        here.commands = [record for record in here.commands if record.offset >= below]


def _forgotten(commands: Sequence[CommandRecord], transaction: Transaction) -> list[CommandRecord]:
    """Return the commands, those without value that brought what is erased; one not yet decided is still needed."""
    forget, decided = set(transaction.forget), transaction.position.offset
    return [
        replace(record, value=None) if record.offset < decided and record.headers.get("ce_id") in forget else record
        for record in commands
    ]
