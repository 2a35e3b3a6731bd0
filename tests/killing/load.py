"""Load on a deployment: agents that publish to the topics, and clients of both gateways.

Each remembers what was acknowledged, and repeats under the same id whatever was not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from typing import Self

import httpx

from mnemolog.domain.codec import Envelope, decode_outcome, encode_command
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import partition_of, slot_in
from mnemolog.domain.outcomes import Accepted
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.streams import own_id
from tests import wishes
from workers.kafka_cluster import Cluster
from workers.log_kafka import KafkaLog

TENANT = "agents"
_PATIENCE = 120.0
_CLIENTS = 3
_TICK = 0.05


class Load:
    """Runs in threads of its own; `acknowledged` maps a command's id to the streams and subjects of its facts."""

    def __init__(self, cluster: Cluster, gateways: Callable[[], list[str]], rate: int) -> None:
        """Name the topics, what tells the gateways' addresses, and the commands a second that the agents publish."""
        self._cluster, self._gateways, self._rate = cluster, gateways, rate
        self.acknowledged: dict[str, tuple[tuple[str, str], ...]] = {}
        self.refused: dict[str, str] = {}
        self.said: dict[str, str] = {}
        self.memories: dict[str, str] = {}
        self.lately = [0.0] * cluster.partitions
        self.failures: list[str] = []
        self.published = 0
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._threads = [threading.Thread(target=lambda: self._guard(lambda: asyncio.run(self._agents())))]
        self._threads += [
            threading.Thread(target=self._guard, args=[lambda n=n: self._client(n)]) for n in range(_CLIENTS)
        ]

    def __enter__(self) -> Self:
        """Begin."""
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        self._ready.wait(_PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to speak, and wait until everything said has been acknowledged."""
        self._stopping.set()
        self.seconds = time.monotonic() - self.began
        for thread in self._threads:
            thread.join()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- told to the one who waits
            self.failures.append(repr(error))
            self._ready.set()

    # ---- agents on the topics ----------------------------------------------------------------------------------------

    async def _agents(self) -> None:
        """Open a session in each partition, then append events and add memories at the rate."""
        log, listening = KafkaLog(self._cluster), KafkaLog(self._cluster)
        await log.start()
        await listening.start()
        ends = [0] * self._cluster.partitions
        hearing = [asyncio.create_task(self._hear(listening, p, ends[p])) for p in range(self._cluster.partitions)]
        try:
            sessions = await self._sessions(log)
            self._ready.set()
            sending = set[asyncio.Task[str]]()
            numbers = itertools.count()
            due = time.monotonic()
            while not self._stopping.is_set():
                for _ in range(max(1, int(self._rate * _TICK))):
                    number = next(numbers)
                    user, space, session = sessions[number % len(sessions)]
                    command: Command = (
                        wishes.append_events(space, session, wishes.event(str(number)), user=user)
                        if number % 2
                        else wishes.add_memory(str(number), agent=f"a{number % 97}")
                    )
                    task = asyncio.create_task(self._publish(log, command, str(number)))
                    sending.add(task)
                    task.add_done_callback(sending.discard)
                due += _TICK
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*sending)
            await self._until(
                lambda: len(self.acknowledged) + len(self.refused) >= len(self.said), "outcomes are missing"
            )
        finally:
            for listener in hearing:
                listener.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            await listening.close()
            await log.close()

    async def _sessions(self, log: KafkaLog) -> list[tuple[str, str, str]]:
        """Open sessions until every partition has one; return user, space and session of each."""
        found, partitions = list[tuple[str, str, str]](), set[int]()
        while len(partitions) < self._cluster.partitions:
            user = f"user {len(found)}"
            space = await self._answered(log, wishes.create_space(user))
            partitions.add(partition_of(slot_in(space), self._cluster.partitions))
            found.append((user, space, await self._answered(log, wishes.create_session(space, user))))
        return found

    async def _answered(self, log: KafkaLog, command: Command) -> str:
        identifier = await self._publish(log, command, "")
        await self._until(lambda: identifier in self.acknowledged, f"{identifier} is not answered")
        return own_id(self.acknowledged[identifier][0][0])

    async def _until(self, there: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not there():
            assert time.monotonic() < deadline, f"{what}: {len(self.acknowledged)} of {len(self.said)}"
            await asyncio.sleep(0.02)

    async def _publish(self, log: KafkaLog, command: Command, text: str) -> str:
        identifier = str(uuid.uuid4())
        slot = slot_of_command(TENANT, identifier, command) or 0
        self.said[identifier] = text
        record = encode_command(Envelope(identifier, TENANT, "agent", slot, secrets.token_bytes(32), command))
        while True:
            try:
                await log.append(partition_of(slot, self._cluster.partitions), [record])
            except Unavailable:
                await asyncio.sleep(0.2)
            else:
                self.published += 1
                return identifier

    async def _hear(self, log: KafkaLog, partition: int, at: int) -> None:
        while True:
            try:
                heard = await log.outcomes(partition, at, 1_000)
            except Unavailable:
                await asyncio.sleep(0.2)
                continue
            for offset, record in heard:
                at = offset + 1
                outcome = decode_outcome(record)
                if record.key not in self.said:
                    continue
                if isinstance(outcome.result, Accepted):
                    self.acknowledged[record.key] = tuple((f.stream, f.subject) for f in outcome.result.facts)
                else:
                    self.refused[record.key] = outcome.result.detail
            if heard:
                self.lately[partition] = time.monotonic()

    # ---- clients of the gateways -------------------------------------------------------------------------------------

    def _client(self, number: int) -> None:
        """Add memories through either gateway; what is acknowledged by one is read through the other at once."""
        turns = itertools.count(number)
        with httpx.Client(trust_env=False, timeout=20) as http:
            for n in itertools.count():
                if self._stopping.is_set():
                    return
                text, key = f"client {number} says {n}", str(uuid.uuid4())
                body = {"agentID": f"c{n % 31}", "invokerID": "i", "content": text}
                made = self._insist(http, turns, "POST", "/v1/memories", json=body, headers={"Idempotency-Key": key})
                self.memories[made["id"]] = text
                shown = self._insist(http, turns, "GET", f"/v1/memories({made['id']})")
                assert shown["content"] == text

    def _insist(
        self, http: httpx.Client, turns: itertools.count[int], method: str, path: str, **more: object
    ) -> dict[str, str]:
        """Ask one gateway after the other until one answers; what is refused is never a silent hole."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                urls = self._gateways()
                answer = http.request(method, urls[next(turns) % len(urls)] + path, **more)  # type: ignore[arg-type]
                if answer.is_success:
                    found: dict[str, str] = answer.json()
                    return found
                assert answer.status_code in {503, 504}, f"{answer.status_code} {answer.text[:300]}"
            time.sleep(0.1)
        message = f"{method} {path} was not answered in {_PATIENCE:.0f} s"
        raise AssertionError(message)
