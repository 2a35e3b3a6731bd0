"""Agents: each holds a conversation, remembers, looks up and forgets, one request after the other, with pauses.

What they do and how often is one table, `MIX`. They work on what is theirs, so a failure is always the server's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from bench.load.wire import Answered, Connection

MIX: dict[str, int] = {
    "append event": 30,
    "append 10 events": 4,
    "last 20 events": 10,
    "list sessions": 3,
    "open session": 2,
    "update session": 2,
    "add memory": 14,
    "search memories": 16,
    "list memories": 4,
    "update memory": 1,
    "delete memory": 3,
    "add message": 7,
    "list messages": 4,
}
"""Of a hundred requests, how many are of a kind."""
_WORDS = [
    *("tea", "coffee", "train", "museum", "invoice", "garden", "deadline", "metric", "violin", "dentist", "passport"),
    *("winter", "budget", "lamp", "river", "recipe", "meeting", "bicycle", "allergy", "piano", "project", "holiday"),
    *("blue", "quiet", "early", "always", "never", "prefers", "needs", "likes", "remembers", "asks"),
]
_SESSION_EVENTS = 200
_MEMORIES = 300

Told = Callable[[str, float, str], None]
"""(kind, seconds, what was wrong or nothing): hears of every request."""


class Agent:
    """One agent with one user: two connections, as it speaks both faces."""

    def __init__(self, name: str, sap: Connection, robot: Connection, dice: random.Random) -> None:
        """Take a name, a connection as a SAP client, and one as a DataRobot client."""
        self._name, self._sap, self._robot, self._dice = name, sap, robot, dice
        self._owner = {"agentID": f"agent-{name}", "invokerID": f"user-{name}"}
        self._space = self._session = ""
        self._version = self._events = 0
        self._memories: list[str] = []

    async def live(self, pause: float, stopping: asyncio.Event, told: Told) -> None:
        """Do one thing after the other until told to stop; pauses last `pause` seconds in the mean."""
        kinds, weights = list(MIX), list(MIX.values())
        await self._begin()
        while not stopping.is_set():
            kind = self._dice.choices(kinds, weights)[0]
            begun = time.perf_counter()
            try:
                await self._acts[kind](self)
                wrong = ""
            except (Answered, OSError, EOFError, ValueError, KeyError) as error:
                wrong = f"{type(error).__name__} {error}"
            told(kind, time.perf_counter() - begun, wrong)
            rest = self._dice.expovariate(1 / pause) - (time.perf_counter() - begun)
            try:
                async with asyncio.timeout(max(0.0, rest)):
                    await stopping.wait()
            except TimeoutError:
                continue

    def _text(self, least: int, most: int) -> str:
        return " ".join(self._dice.choices(_WORDS, k=self._dice.randint(least, most)))

    def _event(self) -> dict[str, object]:
        emitter = self._dice.choice([{"type": "user", "id": self._name}, {"type": "agent"}])
        return {"body": {"content": self._text(5, 60)}, "emitter": emitter}

    @property
    def _sessions(self) -> str:
        return f"/api/v2/memory/{self._space}/sessions/"

    @property
    def _filter(self) -> str:
        return quote(f"agentID eq '{self._owner['agentID']}' and invokerID eq '{self._owner['invokerID']}'")

    async def _begin(self) -> None:
        made = await self._robot.ask("POST", "/api/v2/memory/new/", {"description": f"space of {self._name}"})
        self._space = made["memorySpaceId"]
        await self._open_session()

    async def _open_session(self) -> None:
        body = {"participants": [self._name], "lifecycleStrategies": [], "metadata": {"topic": self._text(1, 3)}}
        made = await self._robot.ask("POST", self._sessions, body)
        self._session, self._version, self._events = made["id"], made["version"], 0

    async def _append(self) -> None:
        if self._events >= _SESSION_EVENTS:
            await self._open_session()
        await self._robot.ask("POST", f"{self._sessions}{self._session}/events/", self._event())
        self._events += 1

    async def _append_some(self) -> None:
        events = [self._event() for _ in range(10)]
        await self._robot.ask("POST", f"{self._sessions}{self._session}/events/batch/", {"events": events})
        self._events += 10

    async def _last_events(self) -> None:
        await self._robot.ask("GET", f"{self._sessions}{self._session}/events/?lastN=20")

    async def _list_sessions(self) -> None:
        await self._robot.ask("GET", f"{self._sessions}?offset=0&limit=20")

    async def _update_session(self) -> None:
        body = {"metadata": {"topic": self._text(1, 3)}}
        path = f"{self._sessions}{self._session}/"
        made = await self._robot.ask("PATCH", path, body, If_Match=f'"{self._version}"')
        self._version = made["version"]

    async def _add_memory(self) -> None:
        if len(self._memories) >= _MEMORIES:
            await self._delete_memory()
        made = await self._sap.ask("POST", "/v1/memories", {**self._owner, "content": self._text(5, 30)})
        self._memories.append(made["id"])

    async def _search(self) -> None:
        query = {**self._owner, "query": self._text(3, 8), "threshold": 0.2, "top": 10}
        await self._sap.ask("POST", "/v1/memories/search", query)

    async def _list_memories(self) -> None:
        await self._sap.ask("GET", f"/v1/memories?$filter={self._filter}&$top=20&$count=true")

    async def _update_memory(self) -> None:
        if self._memories:
            path = f"/v1/memories({self._dice.choice(self._memories)})"
            await self._sap.ask("PATCH", path, {"content": self._text(5, 30)})

    async def _delete_memory(self) -> None:
        if self._memories:
            await self._sap.ask("DELETE", f"/v1/memories({self._memories.pop(0)})")

    async def _add_message(self) -> None:
        body = {**self._owner, "messageGroup": "chat", "role": "USER", "content": self._text(5, 40)}
        await self._sap.ask("POST", "/v1/messages", body)

    async def _list_messages(self) -> None:
        await self._sap.ask("GET", f"/v1/messages?$filter={self._filter}&$top=20")

    _acts: dict[str, Callable[[Agent], Awaitable[None]]] = {
        "append event": _append,
        "append 10 events": _append_some,
        "last 20 events": _last_events,
        "list sessions": _list_sessions,
        "open session": _open_session,
        "update session": _update_session,
        "add memory": _add_memory,
        "search memories": _search,
        "list memories": _list_memories,
        "update memory": _update_memory,
        "delete memory": _delete_memory,
        "add message": _add_message,
        "list messages": _list_messages,
    }
