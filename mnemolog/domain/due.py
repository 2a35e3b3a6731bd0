"""What is due: the port by which the retention worker finds it, from indexes by time, never by a scan of everything.

Times are µs since 1970. Pages are in the order of time; `skip` passes over what was proposed and stayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Category = Literal["memories", "messages"]
HiddenKind = Literal["memory", "session", "event", "space", "owner"]


class Policy(NamedTuple):
    """A tenant's retention policy: the version of the fact that set it last, and days per category; None is off."""

    tenant: str
    version: int
    memories: int | None
    messages: int | None
    usage: int | None


class DueRecord(NamedTuple):
    """A memory or message that is older than its tenant keeps it."""

    id: str
    created: int


class DueTimer(NamedTuple):
    """A session whose strategies of a type are to be looked at."""

    tenant: str
    session: str
    due: int


class Hidden(NamedTuple):
    """Something that was hidden and is not yet erased; `entry` is an event's number, else empty."""

    tenant: str
    kind: HiddenKind
    id: str
    entry: str
    since: int


class Due(Protocol):
    """The due indexes of one deployment. Every read raises `Unavailable` where it cannot answer truly."""

    @property
    def partitions(self) -> int:
        """The number of partitions."""
        ...

    async def policies(self) -> Sequence[Policy]:
        """Return the policies that were ever set."""
        ...

    async def policy(self, tenant: str) -> Policy | None:
        """Return a tenant's policy as it is now; None if he never set one."""
        ...

    async def records(
        self, partition: int, tenant: str, category: Category, before: int, skip: int, limit: int
    ) -> Sequence[DueRecord]:
        """Return a tenant's records that were created before an instant, oldest first."""
        ...

    async def older(self, tenant: str, category: Category, before: int) -> int:
        """Count them, in all partitions."""
        ...

    async def timers(self, partition: int, kind: str, until: int, skip: int, limit: int) -> Sequence[DueTimer]:
        """Return the sessions with a timer of this type that is due by an instant."""
        ...

    async def hidden(self, partition: int, until: int, skip: int, limit: int) -> Sequence[Hidden]:
        """Return what was hidden by an instant and is not yet erased, the oldest first."""
        ...

    async def waiting(self, partition: int) -> int:
        """Count what is hidden and not yet erased."""
        ...
