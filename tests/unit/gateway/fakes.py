"""A small world behind the three ports: enough of the domain's behaviour to see what the face makes of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from mnemolog.domain import canonical, erasure, lifecycle, memory, message, owner, policy, session_commands, space
from mnemolog.domain.codec import Envelope
from mnemolog.domain.due import Category
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.ids import make_id
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.ports import Scope
from mnemolog.domain.reads import (
    ClientRow,
    EventFilter,
    EventRow,
    Filter,
    Found,
    KeyRow,
    MemoryRow,
    MessageRow,
    Page,
    PolicyRow,
    Published,
    SessionFilter,
    SessionRow,
    SpaceRow,
    TokenRow,
)
from mnemolog.domain.record import Position
from mnemolog.domain.schema import Json, sent
from mnemolog.gateway import FaceSettings, create_app

KEY = b"k" * 32
NOW = 1_763_468_800_000_000
API_TOKEN = "api-token"


def sha256(text: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()


def client_row(**fields: Any) -> ClientRow:
    """Return a client of tenant `acme` whose secret is `secret`."""
    row = ClientRow(
        id="planner",
        tenant="acme",
        secret_sha256=sha256("secret"),
        identity_zone=None,
        subscribers=None,
        roles=[],
        admin=True,
        created=NOW - 5_000_000,
    )
    return row | fields  # type: ignore[return-value]


def token_row(tenant: str = "acme", user: str = "ada") -> TokenRow:
    """Return an API token."""
    return TokenRow(id="t1", tenant=tenant, user=user, roles=[], created=NOW)


def id_in(slot: int, n: int = 0) -> str:
    """Return an id of ours."""
    return make_id(NOW, slot, b"s" * 32, n)


@dataclass
class World:
    """Commands, queries and search over dicts; `answer` and `late` bend what the commands do."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: dict[str, dict[int, EventRow]] = field(default_factory=dict)
    retention: dict[str, Any] = field(default_factory=dict)
    clients_by_id: dict[str, list[ClientRow]] = field(default_factory=lambda: {"planner": [client_row()]})
    keys_by_id: dict[str, list[KeyRow]] = field(default_factory=dict)
    tokens: dict[str, TokenRow] = field(default_factory=lambda: {sha256(API_TOKEN): token_row()})
    envelopes: list[Envelope] = field(default_factory=list)
    answer: Callable[[Envelope], Accepted | Rejected] | None = None
    late: bool = False
    slow: bool = False
    hangs: bool = False
    away: bool = False
    broken: bool = False
    searches: list[tuple[Any, ...]] = field(default_factory=list)
    reached_after: int = 0
    looks: list[tuple[Position, int]] = field(default_factory=list)
    filters: list[Any] = field(default_factory=list)

    # ---- commands ----

    async def submit(self, envelope: Envelope) -> Outcome:
        """Decide a command, roughly."""
        self.envelopes.append(envelope)
        if self.hangs:
            await asyncio.sleep(60)
        if self.late:
            raise Unavailable
        result = self.answer(envelope) if self.answer else self.answer_as_usual(envelope)
        return Outcome(envelope.id, result, Position(0, len(self.envelopes)))

    async def publish(self, envelopes: Sequence[Envelope], wait: float) -> Sequence[Published]:
        """Decide commands, roughly."""
        published = []
        for envelope in envelopes:
            outcome = await self.submit(envelope)
            published.append(Published(0, len(self.envelopes) - 1, outcome if wait and not self.slow else None))
        return published

    def answer_as_usual(self, envelope: Envelope) -> Accepted | Rejected:  # noqa: PLR0911 - one case a command
        """Decide a command, roughly."""
        new = make_id(NOW, envelope.slot, envelope.secret, len(self.envelopes))
        command = envelope.command
        match command:
            case memory.AddMemory(target=who, parts=(part,)):
                kept: dict[str, str | None] = {"agent": who.agent, "invoker": who.invoker, "content": part.content}
                kept |= {"metadata": None if part.metadata is None else canonical.text(part.metadata)}
                return self._put(envelope, "memory", new, {**kept, "updated": NOW, "text_version": 0})
            case memory.UpdateMemory(target=what, parts=(part,)):
                fields = sent(part)
                if "metadata" in fields:
                    fields["metadata"] = None if part.metadata is None else canonical.text(part.metadata)
                return self._change(envelope, what.memory, fields)
            case memory.DeleteMemory(target=what):
                return self._drop(envelope, what.memory)
            case message.AddMessage(target=talk, parts=(part,)):
                kept = {"agent": talk.agent, "invoker": talk.invoker, "group": talk.group, "role": part.role}
                text = None if part.metadata is None else canonical.text(part.metadata)
                return self._put(
                    envelope, "message/", new, {**kept, "content": part.content, "metadata": text, "number": 0}
                )
            case message.DeleteMessage(target=what):
                return self._drop(envelope, what.message)
            case policy.SetRetention(parts=(part,)):
                self.retention |= {**sent(part), "updated": NOW, "created": NOW}
                return Accepted((Landed("acme/policy", 0, "policy", NOW),))
            case space.CreateSpace(target=by, parts=(part,)):
                return self._put(envelope, "space", new, {"user": by.user, **part.model_dump()})
            case space.UpdateSpace(target=where, parts=(part,)):
                return self._change(envelope, where.space, sent(part))
            case space.DeleteSpace(target=where):
                return self._drop(envelope, where.space)
            case session_commands.CreateSession(target=where, parts=(part,)):
                return self._put(envelope, "session", new, {"space": where.space, "version": 1, **part.model_dump()})
            case session_commands.UpdateSession(target=which, parts=(part,)):
                had = self.rows.get(which.session, {"version": 0})["version"]
                if which.version not in {None, had}:
                    return Rejected(Reason.VERSION_MISMATCH, "Session version mismatch: expected 9, current 1")
                return self._change(envelope, which.session, {**sent(part), "version": had + 1})
            case session_commands.DeleteSession(target=which):
                return self._drop(envelope, which.session)
            case session_commands.AppendEvents() | session_commands.UpdateEvents() | session_commands.DeleteEvent():
                return self._decide_events(command)
            case _:
                return self._forget(envelope, new)

    def _forget(self, envelope: Envelope, new: str) -> Accepted | Rejected:
        match envelope.command:
            case lifecycle.CompleteExtraction(target=which):
                return self._change(envelope, which.session, {"extracted": True})
            case erasure.Erase(target=thing):
                return self._drop(envelope, thing.id)
            case owner.EraseOwner():
                return Accepted((Landed(f"acme/owner/{new}", 0, new, NOW),))
            case command:
                raise AssertionError(command)

    def _decide_events(self, command: Any) -> Accepted | Rejected:
        if command.target.session not in self.rows:
            return Rejected(Reason.NOT_FOUND, "there is no session with this id in this memory space")
        events = self.written.setdefault(command.target.session, {})
        touched = []
        if isinstance(command, session_commands.DeleteEvent):
            del events[command.target.sequence]
            touched.append(command.target.sequence)
        for part in command.parts:
            fields = part.model_dump(exclude_unset=True)
            sequence = fields.pop("sequence_id", len(events))
            fields.pop("created_at", None)
            if isinstance(command, session_commands.UpdateEvents) and sequence not in events:
                return Rejected(Reason.NOT_FOUND, f"there is no event {sequence} in this session")
            before = events.get(sequence, EventRow(sequence=sequence, body={}, type="message", emitter={}, created=NOW))
            events[sequence] = before | fields | {"created": before["created"] + 1}
            touched.append(sequence)
        return Accepted(tuple(Landed("s", n, f"event/{n}", NOW) for n in touched))

    def _put(self, envelope: Envelope, kind: str, new: str, fields: dict[str, Any]) -> Accepted:
        self.rows[new] = {"id": new, "tenant": envelope.tenant, "created": NOW, **fields}
        return Accepted((Landed("s", 0, kind + new if kind.endswith("/") else new, NOW),))

    def _change(self, envelope: Envelope, identifier: str, fields: dict[str, Any]) -> Accepted | Rejected:
        if self._mine(envelope.tenant, identifier) is None:
            return Rejected(Reason.NOT_FOUND, "there is no such thing")
        self.rows[identifier] |= fields
        return Accepted((Landed("s", 1, identifier, NOW),))

    def _drop(self, envelope: Envelope, identifier: str) -> Accepted | Rejected:
        if self._mine(envelope.tenant, identifier) is None:
            return Rejected(Reason.NOT_FOUND, "there is no such thing")
        del self.rows[identifier]
        return Accepted((Landed("s", 1, identifier, NOW),))

    # ---- queries ----

    def _mine(self, tenant: str, identifier: str) -> Any:
        if self.away:
            raise Unavailable
        if self.broken:
            message = "a text that must not be shown"
            raise RuntimeError(message)
        row = self.rows.get(identifier)
        return row if row and row["tenant"] == tenant else None

    async def memory(self, tenant: str, identifier: str) -> MemoryRow | None:
        """Return a memory."""
        return self._mine(tenant, identifier)  # type: ignore[no-any-return]

    async def message(self, tenant: str, identifier: str) -> MessageRow | None:
        """Return a message."""
        return self._mine(tenant, identifier)  # type: ignore[no-any-return]

    async def memories(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MemoryRow]:
        """Return all rows with a content; what was asked for is in `filters`."""
        self.filters.append((wanted, skip, limit))
        found = [row for row in self.rows.values() if row["tenant"] == tenant and "text_version" in row]
        return found[skip:][:limit]  # type: ignore[return-value]

    async def count_memories(self, tenant: str, wanted: Filter) -> int:
        """Count them."""
        return len(await self.memories(tenant, wanted, 0, None))

    async def messages(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MessageRow]:
        """Return all rows with a role."""
        self.filters.append((wanted, skip, limit))
        found = [row for row in self.rows.values() if row["tenant"] == tenant and "role" in row]
        return found[skip:][:limit]  # type: ignore[return-value]

    async def count_messages(self, tenant: str, wanted: Filter) -> int:
        """Count them."""
        return len(await self.messages(tenant, wanted, 0, None))

    async def policy(self, tenant: str) -> PolicyRow:
        """Return the policy."""
        del tenant
        names = ("message_days", "memory_days", "usage_log_days", "created", "updated")
        return {name: self.retention.get(name) for name in names}  # type: ignore[return-value]

    async def space(self, tenant: str, user: str, identifier: str) -> SpaceRow | None:
        """Return a space of a user."""
        row = self._mine(tenant, identifier)
        return row if row and row.get("user") == user else None

    async def spaces(self, tenant: str, user: str, key: str | None, skip: int, limit: int) -> Page[SpaceRow]:
        """Return the user's spaces."""
        found = [r for r in self.rows.values() if r["tenant"] == tenant and r.get("user") == user]
        found = [r for r in found if key is None or r["deduplication_key"] == key]
        return Page(found[skip:][:limit], len(found))  # type: ignore[arg-type]

    async def session(self, tenant: str, space: str, identifier: str) -> SessionRow | None:
        """Return a session of a space."""
        row = self._mine(tenant, identifier)
        return row if row and row.get("space") == space else None

    async def sessions(self, tenant: str, space: str, wanted: SessionFilter, skip: int, limit: int) -> Page[SessionRow]:
        """Return the sessions of a space; what was asked for is in `filters`."""
        self.filters.append(wanted)
        found = [r for r in self.rows.values() if r["tenant"] == tenant and r.get("space") == space]
        return Page(found[skip:][:limit], len(found))  # type: ignore[arg-type]

    async def events(self, tenant: str, session: str, wanted: EventFilter) -> Page[EventRow]:
        """Return events."""
        del tenant
        self.filters.append(wanted)
        found = [row for _, row in sorted(self.written.get(session, {}).items())]
        found = [row for row in found if wanted.type in {None, row["type"]}]
        shown = found[-wanted.last :] if wanted.last else found[wanted.skip :][: wanted.limit]
        return Page(shown, len(found))

    async def extractions(self, tenant: str, space: str, skip: int, limit: int) -> Page[SessionRow]:
        """Return every session of a space."""
        return await self.sessions(tenant, space, SessionFilter(), skip, limit)

    async def older(self, tenant: str, category: Category, before: int) -> int:
        """Count all of a category; what was asked for is in `filters`."""
        self.filters.append((category, before))
        return await (self.count_memories if category == "memories" else self.count_messages)(tenant, Filter())

    async def live(self, tenant: str, kind: str, identifier: str) -> bool:
        """Tell whether something is there."""
        marks = {"memory": "content", "message": "role", "session": "space", "space": "user"}
        row = self._mine(tenant, identifier)
        return row is not None and marks[kind] in row

    async def count_spaces(self, tenant: str) -> int:
        """Count the tenant's spaces."""
        return sum(row["tenant"] == tenant and "user" in row for row in self.rows.values())

    async def event_rows(self, tenant: str, session: str, sequences: Sequence[int]) -> Sequence[EventRow | None]:
        """Return events by sequence id."""
        del tenant
        return [self.written.get(session, {}).get(sequence) for sequence in sequences]

    async def clients(self, identifier: str) -> Sequence[ClientRow]:
        """Return the clients with an id."""
        if self.away:
            raise Unavailable
        return self.clients_by_id.get(identifier, [])

    async def token(self, sha256: str) -> TokenRow | None:
        """Return an API token."""
        return self.tokens.get(sha256)

    async def keys(self, identifier: str) -> Sequence[KeyRow]:
        """Return the keys with an id."""
        return self.keys_by_id.get(identifier, [])

    async def reached(self, position: Position, slot: int) -> bool:
        """Tell that the views have come there, after a number of looks."""
        self.looks.append((position, slot))
        return len(self.looks) > self.reached_after

    # ---- search ----

    async def search(self, scope: Scope, query: str, threshold: float, top: int) -> Sequence[Found]:
        """Find every memory."""
        if self.late:
            raise Unavailable
        self.searches.append((scope, query, threshold, top))
        found = [row for row in self.rows.values() if row["tenant"] == scope.tenant]
        return [Found(row, 0.75) for row in found]  # type: ignore[arg-type]


class EmptyPast:
    """Audits of a log in which nothing ever happened."""

    async def history(self, *_: object) -> Json:
        """Return nothing."""
        return {"entries": [], "unknownStreams": 0}

    async def state(self, *_: object) -> Json:
        """Return nothing."""
        return {"rows": [], "erased": []}

    async def search(self, *_: object) -> Json:
        """Find nothing."""
        return {"model": "none", "value": [], "erased": []}


class Server:
    """The app over a world, asked without a network."""

    def __init__(
        self,
        world: World | None = None,
        audits: Any = None,
        *,
        recorder: Any = None,
        usage: Any = None,
        figures: Any = None,
        issuer: Any = None,
        whole: Any = None,
        grants: Any = None,
        **settings: Any,
    ) -> None:
        self.world = world or World()
        self.now = NOW
        self.reasons: Mapping[str, str] = {}
        self.given = 0
        told = {"token_key": KEY, "write_wait": 0.2, "position_wait": 0.1, **settings}
        self.app = create_app(
            self.world,  # one world behind all three ports
            self.world,
            self.world,
            FaceSettings(**told),
            lambda: self.now,
            self._entropy,
            lambda: self.reasons,
            audits=audits or EmptyPast(),
            recorder=recorder,
            usage=usage,
            figures=figures,
            issuer=issuer,
            whole=whole,
            grants=grants,
        )

    def _entropy(self, count: int) -> bytes:
        self.given += 1
        return hashlib.shake_128(str(self.given).encode()).digest(count)

    def send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send one request."""

        async def sent_() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return await client.request(method, url, **request)

        return asyncio.run(sent_())

    def bearer(self, **client: Any) -> dict[str, str]:
        """Return the header of a client's token."""
        del client
        form = {"grant_type": "client_credentials", "client_id": "planner", "client_secret": "secret"}
        return {"authorization": "Bearer " + self.send("POST", "/oauth/token", data=form).json()["access_token"]}

    def sap(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send one request of a client."""
        headers = self.bearer() | request.pop("headers", {})
        return self.send(method, url, headers=headers, **request)

    def api(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send one request of a user."""
        headers = {"authorization": f"Token {API_TOKEN}"} | request.pop("headers", {})
        return self.send(method, "/api/v2/" + url, headers=headers, **request)
