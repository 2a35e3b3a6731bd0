"""A call: one request with who asks and the ports that answer it. What every handler receives.

1. A handler returns a response or raises `Problem`; it never builds an error body itself.
2. `Call.headers` go out with the response whatever it is, so that a refused write names its command as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from mnemolog.domain.audits import Audits
from mnemolog.domain.reads import Commands, Queries, Search, WholeErased
from mnemolog.domain.usage import Action, UsageRecord, UsageScope, UsageWanted
from mnemolog.gateway.limits import Limits
from mnemolog.gateway.oidc import Issuer
from mnemolog.gateway.principal import Principal
from mnemolog.gateway.settings import FaceSettings
from mnemolog.gateway.usage import Recorder

Ready = Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Why the server is not ready: a reason per thing that is missing, nothing if it is ready."""
UsageAsked = Callable[[UsageWanted, int], Awaitable[tuple[int, Sequence[UsageRecord]]]]
"""Answers how many usage records are wanted, and the newest of them. Raises Unavailable."""
WholeAsked = Callable[[str, str], Awaitable[WholeErased]]
"""Erases all of a tenant for an actor, as much as a request has time for. Raises Unavailable."""
Granting = Callable[[str, str, str, str], tuple[str, str]]
"""(tenant, actor, key id, public key): the next grant of a key, and the instant of its end as text."""
Figures = Callable[[], Awaitable[bytes]]
"""The page of the process's figures, in Prometheus' text format."""


@dataclass(frozen=True, slots=True)
class Face:
    """What the face works with; `clock` gives µs since 1970, `entropy` as many random bytes as asked for."""

    commands: Commands
    queries: Queries
    search: Search
    settings: FaceSettings
    clock: Callable[[], int]
    entropy: Callable[[int], bytes]
    ready: Ready
    audits: Audits | None = None
    recorder: Recorder | None = None
    usage: UsageAsked | None = None
    figures: Figures | None = None
    issuer: Issuer | None = None
    limits: Limits = field(default_factory=lambda: Limits(0))
    whole: WholeAsked | None = None
    grants: Granting | None = None


@dataclass(slots=True)
class Call:
    """One request; `received` counts the bytes of its body once read."""

    face: Face
    request: Request
    asker: Principal
    headers: dict[str, str] = field(default_factory=dict)
    received: int = 0

    def used(
        self,
        action: Action,
        found: int,
        *,
        agent: str | None = None,
        invoker: str | None = None,
        stream: str | None = None,
        query: str | None = None,
    ) -> None:
        """Count this call in the usage log, if there is one: what was read, and how many of it were found."""
        if self.face.recorder is not None:
            scope = UsageScope(agent, invoker, stream)
            self.face.recorder.used(self.asker.tenant, self.asker.actor, action, scope, found, query)
