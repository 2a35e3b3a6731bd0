"""A deployment in one coroutine: the real core over real adapters, one seeded dice, and every way to fail.

A world lives through a number of moments. In each, something happens that may happen at any time to a real one: clients
speak, a sequencer decides a batch or dies at a boundary of its transaction, another takes over while the old one goes
on, a snapshot or a store is lost or restored from before, projectors and indexers lag, the log is compacted. In the end
everything is left to finish, and `judge` says whether the guarantees held.
"""

from __future__ import annotations

import copy
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mnemolog.domain import erasure
from mnemolog.domain.codec import decode_fact, decode_outcome
from mnemolog.domain.errors import Corrupt, Fenced
from mnemolog.domain.ids import partition_of
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord, OutcomeRecord
from mnemolog.domain.rules import Rules
from projections import projector, vectors
from projections.embedding import HashingEmbedder
from projections.projector import Projector
from projections.store_memory import MemoryStore
from projections.store_sqlite import SqliteStore
from projections.vectors import Indexer
from projections.vectors_memory import MemoryVectors
from tests.simulation.clients import Clients
from tests.simulation.faults import Crash, FlakyStore, History, WatchedLog
from tests.simulation.keeper import Keeper
from workers import sequencing
from workers.eraser import proposals
from workers.log_memory import MemoryLog
from workers.log_sqlite import SqliteLog, connect
from workers.sequencer import Sequencer
from workers.sequencing import Sequencing
from workers.snapshot_memory import MemorySnapshot
from workers.snapshot_sqlite import SqliteSnapshot
from workers.state import Snapshot, State

NOON = 1_795_003_200_000_000
EMBEDDER = HashingEmbedder()


@dataclass
class Node:
    """Who sequences one partition: the snapshot is his own."""

    sequencing: Sequencing
    snapshot: Any
    started: bool = False


@dataclass
class World:
    """One seeded run. `folder` makes it one on SQLite, all in one file as the embedded runtime has it."""

    seed: int
    folder: Path | None = None
    dice: random.Random = field(init=False)
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set the stage."""
        dice = self.dice = random.Random(self.seed)
        self.now = NOON
        self.partitions = 1 if self.folder else dice.choice([1, 1, 1, 2, 4])
        self.rules = dice.choice([Rules(), Rules(), Rules(window_time=40_000, window_size=4)])
        self.lasting = self.rules == Rules()
        self.rules = replace(self.rules, grace=dice.choice([0, self.rules.grace]))
        self.clients = Clients(dice)
        self.histories = [History() for _ in range(self.partitions)]
        self.fault, self.store_fault = "", ""
        self.erase_limit = dice.choice([1, 2, 3, 5, 500])
        holes = dice.random() < 0.5
        self.markers: Callable[[], int] = lambda: dice.choice([0, 1, 1, 2]) if holes else 0
        self.logs: list[Any] = []
        self.memory_log = MemoryLog(self.clock, partitions=self.partitions, marker=self.markers)
        self.publisher = self._hold()
        self.reader = self._hold()
        self.store: Any = MemoryStore()
        if self.folder:
            file = self.folder / "m.db"
            self.store = SqliteStore(lambda: connect(file, durable=False))
        self.vectors = MemoryVectors(EMBEDDER.dimension)
        self.nodes = [self._node(p) for p in range(self.partitions)]
        self.zombies: list[tuple[int, Node]] = []
        self.projectors = [self._projector(p) for p in range(self.partitions)]
        self.old_projectors: list[Projector] = []
        self.indexers = [self._indexer(p) for p in range(self.partitions)]
        self.old_stores: list[MemoryStore] = []
        self.keeper = Keeper(self)

    def clock(self) -> int:
        """Return the time in µs."""
        return self.now

    # ---- the cast ----------------------------------------------------------------------------------------------------

    def _hold(self) -> Any:
        """Return another process's hold on the log, watched."""
        log: Any = SqliteLog(self.folder / "m.db", self.clock) if self.folder else self.memory_log.again()
        self.logs.append(log)
        return WatchedLog(log, self.histories, self._take_fault)

    def _take_fault(self) -> str:
        fault, self.fault = self.fault, ""
        return fault

    def _take_store_fault(self) -> str:
        fault, self.store_fault = self.store_fault, ""
        return fault

    def _snapshot(self) -> Snapshot:
        if self.folder is None and self.dice.random() < 0.7:
            return MemorySnapshot(self.dice.randbytes(32))
        return SqliteSnapshot(sqlite3.connect(":memory:", isolation_level=None), self.rules)

    def _node(self, partition: int, snapshot: Any = None) -> Node:
        kept = snapshot or self._snapshot()
        made = Sequencing(self._hold(), lambda: kept, self.rules, partition, self.partitions)
        return Node(made, kept)

    def _projector(self, partition: int) -> Projector:
        store: Any = FlakyStore(self.store, self._take_store_fault)
        return Projector(self.reader, store, partition)

    def _indexer(self, partition: int) -> Indexer:
        return Indexer(self.reader, self.store, self.vectors, EMBEDDER, partition)

    # ---- what may happen ---------------------------------------------------------------------------------------------

    async def live(self, moments: int) -> None:
        """Live through so many moments, then let everything finish."""
        actions: list[tuple[int, Callable[[int], Any]]] = [
            (40, self.speak),
            (40, self.decide),
            (12, self.decide_and_crash),
            (6, self.crash),
            (6, self.take_over),
            (8, self.go_on_as_zombie),
            (6, self.save),
            (20, self.propose),
            (6, self.retain),
            (22, self.project),
            (6, self.project_and_crash),
            (3, self.project_late),
            (3, self.lose_store),
            (14, self.index),
            (3, self.lose_vectors),
            (10, self.compact),
            (4, self.expire),
        ]
        weights = [weight for weight, _ in actions]
        with self.small():
            while self.clients.opening:
                await self.speak(0)
                for partition in range(self.partitions):
                    await self.decide(partition)
            for _ in range(moments):
                self.now += self.dice.choice([0, 0, 1, 300, 1_500, 9_000, -4_000])
                (action,) = self.dice.choices([act for _, act in actions], weights)
                partition = self.dice.randrange(self.partitions)
                self.happened.append(f"{action.__name__} {partition}")
                await action(partition)
            await self.finish()

    def small(self) -> ExitStack:
        """Make the limits small, so that ranges, batches and cuts happen within a few commands."""
        limits = ExitStack()
        limits.enter_context(patch.multiple(erasure, ERASE_LIMIT=self.erase_limit))
        limits.enter_context(patch.multiple(projector, BATCH=self.dice.choice([12, 16, 30, 2_000])))
        limits.enter_context(patch.multiple(vectors, BATCH=self.dice.choice([1, 3, 256])))
        return limits

    async def speak(self, _: int) -> None:
        """Clients say something."""
        for said in self.clients.speak():
            await self.publish(said.record, said.slot)

    async def publish(self, record: CommandRecord, slot: int) -> None:
        """Send a command where it belongs; once in a while somewhere else."""
        partition = partition_of(slot, self.partitions)
        if self.dice.random() < 0.01:
            partition = self.dice.randrange(self.partitions)
        await self.publisher.append(partition, [record])

    async def decide(self, partition: int) -> None:
        """The sequencer decides a batch."""
        node = self.nodes[partition]
        with patch.multiple(sequencing, BATCH=self.dice.choice([1, 2, 5, 500]), _SAVE_AT=self.dice.choice([5, 4_000])):
            try:
                if not node.started:
                    await node.sequencing.start()
                    node.started = True
                await node.sequencing.step()
            except Crash:
                node.started = False
        self.learn(partition)

    def learn(self, partition: int) -> None:
        """Clients learn from answers."""
        known: dict[int, int] = self.__dict__.setdefault("_known", {})
        records = self.histories[partition].records
        for record in records[known.get(partition, 0) :]:
            if record.value is not None and record.key != CONTROL_KEY:
                self.clients.learn(decode_fact(record))
        known[partition] = len(records)

    async def decide_and_crash(self, partition: int) -> None:
        """The transaction is lost, or made but never acknowledged; the process may start again with what it saved."""
        self.fault = self.dice.choice(["lost", "unacknowledged"])
        await self.decide(partition)
        self.fault = ""
        if self.dice.random() < 0.5:
            await self.crash(partition)

    async def crash(self, partition: int) -> None:
        """The process ends; its snapshot is as it was last saved, or gone with its disk."""
        node = self.nodes[partition]
        lost = self.dice.random() < 0.3
        self.nodes[partition] = self._node(partition, None if lost else node.snapshot)

    async def take_over(self, partition: int) -> None:
        """Another process takes the partition, with an older copy of the snapshot or none; the old one lives on."""
        node = self.nodes[partition]
        kept = copy.deepcopy(node.snapshot) if isinstance(node.snapshot, MemorySnapshot) else None
        self.nodes[partition] = self._node(partition, kept)
        await self.decide(partition)
        if node.started:
            self.zombies.append((partition, node))

    async def go_on_as_zombie(self, _: int) -> None:
        """One that was fenced tries to go on: it is told, and changes nothing."""
        if not self.zombies:
            return
        partition, node = self.zombies.pop(self.dice.randrange(len(self.zombies)))
        before = await self.reader.end(partition)
        try:
            done = await node.sequencing.step()
            assert done is None, "a zombie has committed"
        except Fenced:
            pass
        except Corrupt as error:  # it has slept so long that what it would read next has expired
            assert "unread commands have been deleted" in str(error)  # noqa: PT017 -- either error will do
        assert await self.reader.end(partition) == before

    async def save(self, partition: int) -> None:
        """The sequencer is idle and saves its state."""
        self.nodes[partition].sequencing.save()

    async def propose(self, partition: int) -> None:
        """The eraser proposes what the sequencer knows to be waiting."""
        node = self.nodes[partition]
        if node.started:
            proposed = proposals(node.sequencing.state, self.dice.randbytes)
            await self.publisher.append(partition, proposed)

    async def retain(self, _: int) -> None:
        """A retention worker looks what is due; sometimes timers are, as time has passed, or a policy was just set."""
        if self.dice.random() < 0.3:
            said = self.clients.demand()
            await self.publish(said.record, said.slot)
        self.now += self.dice.choice([0, 0, 1_200_000])
        self.fault = self.dice.choice(["", "", "lost", "unacknowledged"])
        self.store_fault = self.dice.choice(["", "", "", "lost", "unacknowledged"])
        with suppress(Crash):
            await self.keeper.run()
        self.fault = self.store_fault = ""

    async def project(self, partition: int) -> None:
        """The projector applies some batches."""
        for _ in range(self.dice.randint(1, 3)):
            await self.projectors[partition].step()

    async def project_and_crash(self, partition: int) -> None:
        """The projector dies before or after its batch was applied."""
        self.store_fault = self.dice.choice(["lost", "unacknowledged"])
        with suppress(Crash):
            await self.projectors[partition].step()
        self.store_fault = ""
        self.old_projectors.append(self.projectors[partition])
        self.projectors[partition] = self._projector(partition)

    async def project_late(self, _: int) -> None:
        """A projector that was thought dead applies another batch."""
        if self.old_projectors:
            await self.dice.choice(self.old_projectors).step()

    async def lose_store(self, _: int) -> None:
        """The store is flushed, or restored from before."""
        if isinstance(self.store, MemoryStore):
            self.old_stores.append(copy.deepcopy(self.store))
            old = self.dice.choice([MemoryStore(), *self.old_stores])
            self.store.__dict__.update(copy.deepcopy(old).__dict__)
        else:
            self.store.clear()

    async def index(self, partition: int) -> None:
        """The indexer embeds some batches."""
        for _ in range(self.dice.randint(1, 3)):
            await self.indexers[partition].step()

    async def lose_vectors(self, _: int) -> None:
        """The collection is gone; whoever indexes starts again and finds it empty, or finds it so as he goes on."""
        self.vectors._forget()
        if self.dice.random() < 0.5:
            self.indexers = [self._indexer(p) for p in range(self.partitions)]

    async def compact(self, partition: int) -> None:
        """The log's cleaner runs over some of the log, and may remove null records too."""
        if not self.folder:
            end = await self.reader.end(partition)
            below = self.dice.choice([end, self.dice.randint(0, end)])
            self.memory_log.compact(partition, below=below, nulls=self.dice.random() < 0.5)

    async def expire(self, partition: int) -> None:
        """Retention removes decided commands; the newest stays, as a topic's open segment does."""
        if not self.folder and self.histories[partition].decided:
            self.memory_log.expire(partition, self.dice.randint(0, self.histories[partition].decided - 1))

    # ---- the end -----------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Everything undecided is decided, everything decided projected and indexed; then the log is compacted."""
        self.fault = self.store_fault = ""
        for partition in range(self.partitions):
            await self.settle(partition)
        await self.keeper.finish()
        if self.dice.random() < 0.3:
            await self.lose_vectors(0)
        for partition in range(self.partitions):
            while await self.indexers[partition].step():
                pass
            if not self.folder:
                self.memory_log.compact(partition, nulls=self.dice.random() < 0.5)

    async def settle(self, partition: int) -> None:
        """Have everything decided and projected that is in a partition."""
        await self._finish_deciding(partition)
        while await self.projectors[partition].step():
            pass

    async def _finish_deciding(self, partition: int) -> None:
        node = self.nodes[partition]
        for _ in range(2_000):
            if not node.started:
                await node.sequencing.start()
                node.started = True
            if await node.sequencing.step() is None:
                proposed = proposals(node.sequencing.state, self.dice.randbytes)
                if not proposed:
                    return
                await self.publisher.append(partition, proposed)
        message = "the eraser goes on for ever"
        raise AssertionError(message)

    async def close(self) -> None:
        """Close the files."""
        for log in self.logs:
            if isinstance(log, SqliteLog):
                await log.close()
        await self.store.close()

    # ---- what is asked afterwards ------------------------------------------------------------------------------------

    def outcomes(self, partition: int) -> list[tuple[CommandRecord, Accepted | Rejected]]:
        """Return every command with its outcome, in the order of the log."""
        answered = self.histories[partition].outcomes
        return [(c, decode_outcome(OutcomeRecord(c.headers["ce_id"], value)).result) for c, value in answered]

    def outcomes_of(self, commands: Sequence[str]) -> list[Outcome]:
        """Return the newest outcomes of commands, of those that have any."""
        newest = {c.headers["ce_id"]: value for history in self.histories for c, value in history.outcomes}
        return [decode_outcome(OutcomeRecord(name, newest[name])) for name in commands if name in newest]

    def decided_again(self, partition: int) -> list[FactRecord]:
        """Sequence the recorded commands once more, from nothing, in other batches; return the facts."""
        state = State(MemorySnapshot(b"\x07" * 32))
        core = Sequencer(state, self.rules, partition=partition, partitions=self.partitions)
        commands: Sequence[CommandRecord] = self.histories[partition].commands
        facts: list[FactRecord] = []
        at = 0
        with patch.multiple(erasure, ERASE_LIMIT=self.erase_limit):
            while at < len(commands):
                size = self.dice.choice([1, 3, 50])
                facts += core.sequence(commands[at : at + size]).facts
                at += size
        return facts
