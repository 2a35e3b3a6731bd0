"""Clients of a simulation: random commands about what there is, was, or never was, some of them repeated."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.erasure import EraseRange
from mnemolog.domain.expiry import ExpireRecord
from mnemolog.domain.fact import Fact
from mnemolog.domain.hiding import Hide
from mnemolog.domain.lifecycle import ExecuteStrategy
from mnemolog.domain.memory import MemoryAdded
from mnemolog.domain.message import MessageAdded, message_of
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.session import SessionCreated
from mnemolog.domain.session_commands import EventChange
from mnemolog.domain.space import SpaceCreated
from mnemolog.domain.streams import kind_of, own_id
from mnemolog.domain.times import to_text
from tests import wishes
from workers.eraser import ACTOR

TENANTS = ("acme", "acme/client", "bolt")
NOBODY = "01990000-0000-8000-8000-000000000000"
NOON = 1_795_003_200_000_000
STRATEGIES: list[list[dict[str, Any]]] = [
    [],
    [{"type": "soft_delete", "trigger": {"eventCount": 6}}],
    [{"type": "soft_delete", "trigger": {"idle": 1}}],
    [{"type": "extract_memories", "trigger": {"tokenCount": 8}, "opts": {"softDelete": False}}],
    [
        {"type": "extract_memories", "trigger": {"eventCount": 2}},
        {"type": "soft_delete", "trigger": {"ttl": 1}},
    ],
]
KINDS = (
    *("add_memory", "update_memory", "update_memory", "delete_memory") * 2,
    *("add_message", "add_message", "delete_message"),
    *("create_space", "update_space", "delete_space"),
    *("create_session", "create_session", "update_session", "update_session", "delete_session"),
    *("append", "append", "append", "batch", "change", "change", "delete_event"),
    *("policy", "client", "revoke"),
    *("erase_event", "erase_session", "erase_space"),
    *("erase_owner", "gone", "expire", "timer", "timer", "extracted", "hide"),
    "poison",
)


@dataclass
class Said:
    """A command as it was sent, and what it was about."""

    slot: int
    record: CommandRecord
    command: Command | None


@dataclass
class Clients:
    """All clients of one world. They learn ids and tokens from facts, as people do from answers."""

    dice: random.Random
    opening: list[str] = field(default_factory=lambda: ["create_space", "create_session", "batch", "add_memory"])
    said: list[Said] = field(default_factory=list)
    ids: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    spaces: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    tokens: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))

    def learn(self, fact: Fact) -> None:
        """Remember what there is."""
        match fact.payload:
            case MemoryAdded():
                self.ids["memory"].append((fact.tenant, own_id(fact.stream)))
            case MessageAdded():
                self.ids["message"].append((fact.tenant, message_of(fact.subject)))
            case SpaceCreated(user=user):
                self.ids["space"].append((fact.tenant, own_id(fact.stream)))
                self.users[own_id(fact.stream)] = user
            case SessionCreated(space=space):
                self.ids["session"].append((fact.tenant, own_id(fact.stream)))
                self.spaces[own_id(fact.stream)] = space
            case _ if kind_of(fact.stream) == "session" and fact.subject.startswith("event/"):
                self.tokens[own_id(fact.stream), int(fact.subject.removeprefix("event/"))].append(fact.time)
            case _:
                pass

    def speak(self) -> list[Said]:
        """Say something: something new, a repeat of old, one thing twice, or several rivals at once."""
        roll = self.dice.random()
        if self.said and roll < 0.12:
            return [self._again(self.dice.choice(self.said[-30:]))]
        new = self._new()
        if roll < 0.18:
            return [new, new]
        if roll < 0.24 and new.command is not None:
            return [new, *(self._rival(new) for _ in range(self.dice.randint(1, 3)))]
        return [new]

    def demand(self) -> Said:
        """Set a policy that keeps nothing of a category."""
        days = {self.dice.choice(["memory_days", "message_days"]): 0}
        return self._sent(self._envelope(wishes.set_retention(**days), self.dice.choice(TENANTS), self._id()))

    def _again(self, old: Said) -> Said:
        """Repeat a command under its id: the same bytes, a retry with a new secret, or another request altogether."""
        roll = self.dice.random()
        if roll < 0.4 or old.command is None:
            return self._sent(old)
        if roll < 0.8:
            return self._sent(self._envelope(old.command, old.record.headers["tenant"], old.record.headers["ce_id"]))
        tenant, command = self._command()
        return self._sent(self._envelope(command, tenant, old.record.headers["ce_id"])) if command else self._sent(old)

    def _rival(self, first: Said) -> Said:
        """Say the same under another id, as somebody would who saw the same state."""
        assert first.command is not None
        return self._sent(self._envelope(first.command, first.record.headers["tenant"], self._id()))

    def _new(self) -> Said:
        tenant, command = self._command()
        if command is None:
            headers = {"ce_id": self._id(), "tenant": tenant, "actor": "client/x", "ce_type": "memory.add-memory.v1"}
            if self.dice.random() < 0.3:
                del headers["ce_id"]
            return self._sent(
                Said(3, CommandRecord("3", headers, self.dice.choice([None, b"", b"{", b"[]", b"\xff"])), None)
            )
        return self._sent(self._envelope(command, tenant, self._id()))

    def _sent(self, said: Said) -> Said:
        self.said.append(said)
        return said

    def _id(self) -> str:
        return f"{self.dice.getrandbits(64):016x}"

    def _envelope(self, command: Command, tenant: str, identifier: str) -> Said:
        proposed = isinstance(command, EraseRange | ExpireRecord | ExecuteStrategy | Hide)
        actor = ACTOR if proposed else "client/x"
        slot = slot_of_command(tenant, identifier, command) or 0
        record = encode_command(Envelope(identifier, tenant, actor, slot, self.dice.randbytes(32), command))
        return Said(slot, record, command)

    # ---- what is said ------------------------------------------------------------------------------------------------

    def _pick(self, kind: str) -> tuple[str, str]:
        """Choose something of a kind, mostly of the newest; sometimes nothing, or as a foreign tenant."""
        known = self.ids[kind]
        if not known or self.dice.random() < 0.03:
            return self.dice.choice(TENANTS), NOBODY
        tenant, identifier = self.dice.choice(known[-4:] if self.dice.random() < 0.8 else known)
        return (self.dice.choice(TENANTS) if self.dice.random() < 0.05 else tenant), identifier

    def _session(self) -> tuple[str, str, str, str]:
        tenant, session = self._pick("session")
        space = self.spaces.get(session, NOBODY)
        return tenant, space, session, self.users.get(space, "u1")

    def _command(self) -> tuple[str, Command | None]:  # noqa: C901, PLR0911, PLR0912 -- a table of wishes
        dice = self.dice
        tenant = dice.choice(TENANTS)
        owner = {"agent": dice.choice(["bot", "cat"]), "invoker": dice.choice(["ann", "bob", "é'\x00"])}
        text = f"text {dice.randint(0, 5)} " * dice.randint(1, 3)
        key = dice.choice([None, None, "k1", "k2"])
        kind = self.opening.pop(0) if self.opening else dice.choice(KINDS)
        match kind:
            case "add_memory":
                return tenant, wishes.add_memory(text, metadata=dice.choice([None, {"n": text}]), **owner)
            case "update_memory":
                tenant, memory = self._pick("memory")
                fields: dict[str, Any] = dice.choice(
                    [{"content": text}, {"metadata": {"n": 1}}, {"content": text, "metadata": None}]
                )
                return tenant, wishes.update_memory(memory, **fields)
            case "delete_memory":
                tenant, memory = self._pick("memory")
                return tenant, wishes.delete_memory(memory)
            case "add_message":
                return tenant, wishes.add_message(text, group=dice.choice(["g1", "g2"]), **owner)
            case "delete_message":
                tenant, message = self._pick("message")
                return tenant, wishes.delete_message(message)
            case "create_space":
                return tenant, wishes.create_space(dice.choice(["u1", "u2"]), description=text, deduplication_key=key)
            case "update_space" | "delete_space" | "create_session" | "erase_space":
                tenant, space = self._pick("space")
                user = self.users.get(space, "u1") if dice.random() < 0.95 else "u3"
                if kind == "create_session":
                    fields = {"lifecycle_strategies": dice.choice(STRATEGIES)}
                    return tenant, wishes.create_session(space, user, deduplication_key=key, description=text, **fields)
                if kind == "erase_space":
                    return tenant, wishes.erase_range(dice.choice(["space", "contents", "contents"]), space)
                return tenant, (
                    wishes.delete_space(space, user)
                    if kind == "delete_space"
                    else wishes.update_space(space, user, description=dice.choice([None, text]))
                )
            case "update_session":
                tenant, space, session, user = self._session()
                version = dice.choice([None, 1, 2, 3])
                if dice.random() < 0.2 and (strategies := dice.choice(STRATEGIES)):
                    change: dict[str, Any] = {"lifecycle_strategies": strategies}
                    return tenant, wishes.update_session(space, session, version, user, **change)
                return tenant, wishes.update_session(space, session, version, user, metadata={"n": dice.randint(0, 9)})
            case "delete_session":
                tenant, space, session, user = self._session()
                return tenant, wishes.delete_session(space, session, user)
            case "append" | "batch":
                tenant, space, session, user = self._session()
                events = [wishes.event(text) for _ in range(1 if kind == "append" else dice.randint(2, 5))]
                return tenant, wishes.append_events(space, session, *events, user=user)
            case "change":
                tenant, space, session, user = self._session()
                numbers = dice.sample(range(6), dice.randint(1, 3))
                changes = [self._change(session, number, text) for number in numbers]
                return tenant, wishes.update_events(space, session, *changes, user=user)
            case "delete_event":
                tenant, space, session, user = self._session()
                return tenant, wishes.delete_event(space, session, dice.randint(0, 5), user)
            case "policy":
                return tenant, wishes.set_retention(memory_days=dice.choice([None, 0, 7]))
            case "client":
                return tenant, wishes.create_client(dice.choice(["policy", "sb"]))
            case "revoke":
                return tenant, wishes.revoke_client(dice.choice(["policy", "sb"]))
            case "erase_event":
                tenant, session = self._pick("session")
                return tenant, wishes.erase_range("session", session, f"event/{dice.randint(0, 5)}")
            case "erase_session":
                tenant, session = self._pick("session")
                return tenant, wishes.erase_range("session", session)
            case "erase_owner":
                return tenant, wishes.erase_owner(**owner)
            case "gone" | "expire" | "timer" | "extracted" | "hide":
                return self._forgetting(kind)
            case _:
                return tenant, None

    def _forgetting(self, kind: str) -> tuple[str, Command]:
        """Say what operators, the retention worker and extracting agents say."""
        dice = self.dice
        sort: Any = dice.choice(["memory", "message"])
        match kind:
            case "gone":
                sort = dice.choice(["memory", "message", "session", "space"])
                tenant, chosen = self._pick(sort)
                return tenant, wishes.erase(sort, chosen)
            case "expire":
                tenant, chosen = self._pick(sort)
                return tenant, wishes.expire(sort, chosen, NOON + dice.randint(0, 400_000))
            case "hide":
                place: Any = dice.choice(["session", "space"])
                entry = dice.choice([None, f"event/{dice.randint(0, 5)}"]) if place == "session" else None
                tenant, chosen = self._pick(place)
                return tenant, wishes.hide(place, chosen, entry)
            case "timer":
                tenant, session = self._pick("session")
                return tenant, wishes.execute(session, dice.choice(["soft_delete", "extract_memories"]), 2 * NOON)
            case _:
                tenant, space, session, user = self._session()
                return tenant, wishes.complete_extraction(space, session, user)

    def _change(self, session: str, number: int, text: str) -> EventChange:
        known = self.tokens.get((session, number))
        token = self.dice.choice([None, known[-1], known[-1], self.dice.choice(known)]) if known else None
        fields = {"type": "note"} if self.dice.random() < 0.3 else {}
        return wishes.change(number, text, **fields | ({} if token is None else {"created_at": to_text(token)}))


def request_of(record: CommandRecord) -> str:
    """Return what a command asks for, without the secret that was made for it."""
    try:
        value = json.loads(record.value or b"")
        return json.dumps([record.headers.get("ce_type"), value["target"], value["parts"]], sort_keys=True)
    except (ValueError, KeyError, TypeError):
        return repr(record.value)
