"""What the faces read: the shapes of rows, and the ports behind which queries, search and commands stand.

Rows are the views' (`projections`): JSON fields in snake case, instants in µs, a caller's `metadata` of memories and
messages as the JSON text that `contains` filters match (wire contract §2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, Protocol, TypedDict, TypeVar

from mnemolog.domain.codec import Envelope
from mnemolog.domain.due import Category
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.ports import Match, Scope
from mnemolog.domain.record import Position
from mnemolog.domain.schema import Json


class MemoryRow(TypedDict):
    """A memory as it is now; `text_version` is the version of the fact that last set its content."""

    id: str
    agent: str
    invoker: str
    content: str
    metadata: str | None
    created: int
    updated: int
    text_version: int


class MessageRow(TypedDict):
    """A message."""

    id: str
    agent: str
    invoker: str
    group: str
    role: str
    content: str
    metadata: str | None
    created: int
    number: int


class SpaceRow(TypedDict):
    """A live memory space."""

    id: str
    user: str
    description: str | None
    llm_model_name: str | None
    llm_base_url: str | None
    custom_instructions: str | None
    deduplication_key: str | None
    created: int


class SessionRow(TypedDict):
    """A live session."""

    id: str
    space: str
    participants: list[str]
    description: str | None
    metadata: Json | None
    lifecycle_strategies: list[Json]
    deduplication_key: str | None
    version: int
    created: int


class EventRow(TypedDict):
    """A readable event; `created` is its concurrency token: the time it was last written."""

    sequence: int
    body: Json
    type: str
    emitter: Json
    created: int


class PolicyRow(TypedDict):
    """A tenant's retention policy, in days; None is off, and the times are None until it is first set."""

    message_days: int | None
    memory_days: int | None
    usage_log_days: int | None
    created: int | None
    updated: int | None


class ClientRow(TypedDict):
    """A valid OAuth2 client."""

    id: str
    tenant: str
    secret_sha256: str
    identity_zone: str | None
    subscribers: list[str] | None
    roles: list[str]
    admin: bool
    created: int


class TokenRow(TypedDict):
    """A valid API token."""

    id: str
    tenant: str
    user: str
    roles: list[str]
    created: int


class KeyRow(TypedDict):
    """A valid key that signs commands; `public_key` is hex."""

    id: str
    tenant: str
    actor: str
    public_key: str
    created: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which memories or messages: None is any; `contains` are literal substrings of `content` or `metadata`."""

    agent: str | None = None
    invoker: str | None = None
    group: str | None = None
    role: str | None = None
    contains: tuple[Match, ...] = ()


class Found(NamedTuple):
    """A search result: the memory as it is now, and its cosine similarity in 0..1."""

    memory: MemoryRow
    similarity: float


class SessionFilter(NamedTuple):
    """Which sessions: any of the participants, a case-insensitive part of the description, an exact key."""

    participants: tuple[str, ...] = ()
    description: str | None = None
    deduplication_key: str | None = None


class EventFilter(NamedTuple):
    """Which events, in ascending order: a type, then either the last n or a page."""

    type: str | None = None
    last: int | None = None
    skip: int = 0
    limit: int = 100


Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """A page and the number of all rows that match."""

    items: Sequence[Row]
    total: int


class WholeErased(NamedTuple):
    """What a request to erase all of a tenant has hidden; `done` if nothing was left, else it is to be repeated."""

    owners: int
    spaces: int
    hidden_before: int
    done: bool


Thing = Literal["memory", "message", "session", "space"]


class Queries(Protocol):
    """Reads of the projections. What is not the tenant's (or, for spaces, the user's) does not exist (guarantee 8).

    Every read raises `Unavailable` where the projection cannot answer truly: away, rebuilding, or behind what has been
    acknowledged (guarantee 5); none is silently short.
    """

    async def memory(self, tenant: str, identifier: str) -> MemoryRow | None:
        """Return a memory by its id."""
        ...

    async def memories(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MemoryRow]:
        """Return memories by time of creation, then id; `limit` None is all of them."""
        ...

    async def count_memories(self, tenant: str, wanted: Filter) -> int:
        """Count memories."""
        ...

    async def message(self, tenant: str, identifier: str) -> MessageRow | None:
        """Return a message by its id."""
        ...

    async def messages(self, tenant: str, wanted: Filter, skip: int, limit: int | None) -> Sequence[MessageRow]:
        """Return messages by time of creation, then id; `limit` None is all of them."""
        ...

    async def count_messages(self, tenant: str, wanted: Filter) -> int:
        """Count messages."""
        ...

    async def policy(self, tenant: str) -> PolicyRow:
        """Return the retention policy, which exists from the start."""
        ...

    async def space(self, tenant: str, user: str, identifier: str) -> SpaceRow | None:
        """Return a space of this user."""
        ...

    async def spaces(self, tenant: str, user: str, key: str | None, skip: int, limit: int) -> Page[SpaceRow]:
        """Return this user's spaces by time of creation; with `key`, the one with this deduplication key."""
        ...

    async def session(self, tenant: str, space: str, identifier: str) -> SessionRow | None:
        """Return a session of this space; whether the caller may see the space is asked with `space`."""
        ...

    async def sessions(self, tenant: str, space: str, wanted: SessionFilter, skip: int, limit: int) -> Page[SessionRow]:
        """Return the sessions of a space by time of creation."""
        ...

    async def events(self, tenant: str, session: str, wanted: EventFilter) -> Page[EventRow]:
        """Return events of a session, ascending by sequence id."""
        ...

    async def extractions(self, tenant: str, space: str, skip: int, limit: int) -> Page[SessionRow]:
        """Return the sessions of a space whose memories are to be extracted, by since when."""
        ...

    async def older(self, tenant: str, category: Category, before: int) -> int:
        """Count a tenant's memories or messages that were created before an instant."""
        ...

    async def live(self, tenant: str, kind: Thing, identifier: str) -> bool:
        """Tell whether the tenant has such a thing, whoever's it is, that is not hidden."""
        ...

    async def count_spaces(self, tenant: str) -> int:
        """Count all of the tenant's spaces that are not hidden."""
        ...

    async def event_rows(self, tenant: str, session: str, sequences: Sequence[int]) -> Sequence[EventRow | None]:
        """Return the events with these sequence ids, in this order."""
        ...

    async def clients(self, identifier: str) -> Sequence[ClientRow]:
        """Return the valid clients with this id: one a tenant at the most."""
        ...

    async def token(self, sha256: str) -> TokenRow | None:
        """Return the valid API token with this hash."""
        ...

    async def keys(self, identifier: str) -> Sequence[KeyRow]:
        """Return the valid keys with this id, one a tenant at the most."""
        ...

    async def reached(self, position: Position, slot: int) -> bool:
        """Tell whether the views of a slot's partition hold everything up to a position of its command log."""
        ...


class Search(Protocol):
    """Search by meaning within exactly one scope."""

    async def search(self, scope: Scope, query: str, threshold: float, top: int) -> Sequence[Found]:
        """Return at most `top` memories with similarity at least `threshold`, best first.

        Waits until the index holds the last change of the scope's contents. Raises `Unavailable` if that takes too
        long, or the index is away.
        """
        ...


class Published(NamedTuple):
    """Where a command stands in its log, and its outcome if it came while that was waited for."""

    partition: int
    offset: int
    outcome: Outcome | None = None


class Commands(Protocol):
    """Where the face sends its commands."""

    async def submit(self, envelope: Envelope) -> Outcome:
        """Publish a command and return its outcome once reads show it.

        Raises `Unavailable` if that takes longer than the write wait; the command may still be accepted, and sending
        it again with the same id is safe.
        """
        ...

    async def publish(self, envelopes: Sequence[Envelope], wait: float) -> Sequence[Published]:
        """Append commands, those of one slot in their order, and say where; wait for outcomes that long, in seconds.

        An outcome is there once reads show it. Raises `Unavailable` if it is not known that all were appended: each may
        be, and sending it again with the same id is safe.
        """
        ...
