"""The usage log: who read what, when and how often (design §4, `memory.usage`).

1. A record is of one tenant, actor, action and scope, and of one hour (UTC). It rolls: while its hour lasts it is
   written again under its key with higher counts, and the newest wins; afterwards nobody writes it any more.
2. A key is an id of ours: it carries the time of the first read and the scope's slot, and names nothing.
3. A query's text is not kept, unless the deployment asks for it.
4. It is no fact: nothing is decided by it, and a process that is killed may lose its last seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from mnemolog.domain import canonical
from mnemolog.domain.errors import Malformed
from mnemolog.domain.ids import parse_id, slot_in, slot_of
from mnemolog.domain.schema import Json
from mnemolog.domain.times import SECOND, from_text, to_text

Action = Literal["read", "list", "count", "search", "audit"]
HOUR = 3_600 * SECOND
_ID_AT_END = 36


class UsageScope(NamedTuple):
    """What a read reached: an owner, an agent's or invoker's part, a stream (`session/{id}`); with nothing, all."""

    agent: str | None = None
    invoker: str | None = None
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Reads of one kind within an hour: `first` and `last` in µs, how many `calls`, and what they `found` in all."""

    key: str
    tenant: str
    actor: str
    action: Action
    scope: UsageScope
    first: int
    last: int
    calls: int
    found: int
    queries: tuple[str, ...] = ()

    def plain(self) -> Json:
        """Return it as JSON, without its key."""
        plain: Json = {
            "tenant": self.tenant,
            "actor": self.actor,
            "action": self.action,
            "scope": {name: value for name, value in self.scope._asdict().items() if value is not None},
            "first": to_text(self.first),
            "last": to_text(self.last),
            "calls": self.calls,
            "found": self.found,
        }
        return plain | ({"queries": list(self.queries)} if self.queries else {})


@dataclass(frozen=True, slots=True)
class UsageWanted:
    """Which records; None is any. `stream` is a name or the id at its end; `since` ≤ `first` < `before`, in µs."""

    tenant: str | None = None
    agent: str | None = None
    invoker: str | None = None
    stream: str | None = None
    actor: str | None = None
    since: int | None = None
    before: int | None = None

    def fits(self, record: UsageRecord) -> bool:
        """Tell whether a record is one of them."""
        scope = record.scope
        return (
            self.tenant in {None, record.tenant}
            and self.agent in {None, scope.agent}
            and self.invoker in {None, scope.invoker}
            and self.actor in {None, record.actor}
            and (self.stream is None or (scope.stream or "").split("/")[-1] == self.stream.split("/")[-1])
            and (self.since is None or record.first >= self.since)
            and (self.before is None or record.first < self.before)
        )

    @property
    def slot(self) -> int | None:
        """The only slot that such records can have; None if there may be several."""
        if self.tenant is not None and self.agent is not None and self.invoker is not None:
            return slot_of(self.tenant, self.agent, self.invoker)
        return None if self.stream is None else _slot_at_end(self.stream)


class Usage(Protocol):
    """The usage log of a deployment."""

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; under one key the newest wins. Raises Unavailable if it is not known that all were kept."""
        ...

    async def records(self, wanted: UsageWanted, limit: int | None = None) -> Sequence[UsageRecord]:
        """Return the newest `limit` records, by the time of their first read, the oldest of them first."""
        ...

    async def count(self, wanted: UsageWanted) -> int:
        """Count records."""
        ...

    async def remove(self, wanted: UsageWanted) -> int:
        """Remove records for good, each by a null record where there is a topic; return how many."""
        ...

    async def close(self) -> None:
        """Let go of what it is kept in."""
        ...


def slot_of_scope(tenant: str, scope: UsageScope) -> int:
    """Return the slot of a scope: an owner's, a stream's, else the tenant's."""
    if scope.agent is not None and scope.invoker is not None:
        return slot_of(tenant, scope.agent, scope.invoker)
    found = None if scope.stream is None else _slot_at_end(scope.stream)
    return slot_of(tenant) if found is None else found


def _slot_at_end(stream: str) -> int | None:
    identifier = parse_id(stream[-_ID_AT_END:])
    return None if identifier is None else slot_in(identifier)


def ended_before(now: int) -> int:
    """Return the instant before which every hour has ended that began before it: records of these stay as they are."""
    return now // HOUR * HOUR


def encode_usage(record: UsageRecord) -> bytes:
    """Return the value of a record."""
    return canonical.dumps(record.plain())


def decode_usage(key: str, value: bytes) -> UsageRecord:
    """Read a record. Raises Malformed."""
    try:
        plain: dict[str, Any] = canonical.reread(value)
        return UsageRecord(
            key,
            plain["tenant"],
            plain["actor"],
            plain["action"],
            UsageScope(**plain["scope"]),
            from_text(plain["first"]),
            from_text(plain["last"]),
            plain["calls"],
            plain["found"],
            tuple(plain.get("queries", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        message = f"the usage record {key} cannot be read: {error!r}"
        raise Malformed(message) from error


def in_order(records: Iterable[UsageRecord], limit: int | None = None) -> Sequence[UsageRecord]:
    """Return the newest `limit` records, the oldest of them first."""
    found = sorted(records, key=lambda record: (record.first, record.key))
    return found if limit is None else found[max(0, len(found) - limit) :]
