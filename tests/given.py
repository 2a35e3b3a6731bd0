"""The specification helper: `given(commands).when(command).then(facts)` over the real `decide` and `evolve`.

A `Story` has a clock of its own (one millisecond a command unless `at` says otherwise) and made-up secrets, so it is
the same each time. Where a command needs an id that the story itself made, give a function of the story instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mnemolog.domain.codec import Envelope
from mnemolog.domain.decider import decide
from mnemolog.domain.decision import Body
from mnemolog.domain.fact import Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.outcomes import Accepted, Reason, Rejected
from mnemolog.domain.record import FactRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command, Payload
from mnemolog.domain.streams import kind_of, own_id
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

KEY = bytes(range(32))
NOON = 1_795_003_200_000_000
TICK = 1_000
P = TypeVar("P", bound=Payload)
Said = Command | Callable[["Story"], Command]


@dataclass
class Story:
    """A state, what led to it, and the last answer."""

    rules: Rules = field(default_factory=Rules)
    tenant: str = "acme"
    state: State = field(default_factory=lambda: State(MemorySnapshot(KEY)))
    log: list[tuple[Fact, FactRecord]] = field(default_factory=list)
    now: int = NOON
    told: int = 0
    result: list[tuple[Fact, FactRecord]] | Accepted | Rejected | None = None

    def when(
        self,
        said: Said,
        *,
        at: int | None = None,
        by: str = "client/sb",
        key: str | None = None,
        tenant: str | None = None,
        slot: int | None = None,
    ) -> Story:
        """Decide a command at a time, as a caller, with an idempotency key, and fold what comes of it."""
        self.now, self.told = self.now + TICK if at is None else at, self.told + 1
        command = said if isinstance(said, Command) else said(self)
        tenant = tenant or self.tenant
        identifier = f"{key or 'command'}-{'' if key else self.told}"
        routed = slot_of_command(tenant, identifier, command) or 0
        secret = hashlib.sha256(f"secret {self.told}".encode()).digest()
        envelope = Envelope(identifier, tenant, by, routed if slot is None else slot, secret, command)
        self.result = decide(self.state, envelope, self.now, Position(0, self.told - 1), self.rules)
        if isinstance(self.result, list):
            for fact, _ in self.result:
                self.state.apply(evolve(self.state, fact))
            self.log.extend(self.result)
        return self

    @property
    def facts(self) -> list[Fact]:
        """The facts of the last command, which must have been accepted as new."""
        assert isinstance(self.result, list), self.result
        return [fact for fact, _ in self.result]

    def only(self, kind: type[P]) -> P:
        """Return the payload of the last command's only fact, which must be of this kind."""
        (fact,) = self.facts
        assert isinstance(fact.payload, kind)
        return fact.payload

    def body(self, stream: str) -> Body:
        """Return the state of a stream."""
        found = self.state.stream(stream)
        assert found is not None
        return found.body

    def then(self, *payloads: Payload | type[Payload]) -> Story:
        """Expect these facts of the last command, each whole or by its type."""
        assert len(self.facts) == len(payloads), self.facts
        for fact, wanted in zip(self.facts, payloads, strict=True):
            assert isinstance(fact.payload, wanted) if isinstance(wanted, type) else fact.payload == wanted
        return self

    def refused(self, reason: Reason, text: str = "") -> Story:
        """Expect the last command to have been refused for this reason."""
        assert isinstance(self.result, Rejected), self.result
        assert self.result.reason is reason, self.result
        assert text in self.result.detail
        return self

    def repeated(self, first: Sequence[Fact]) -> Story:
        """Expect the acceptance of these facts once more."""
        assert isinstance(self.result, Accepted), self.result
        assert self.result.repeated
        assert [tuple(f) for f in self.result.facts] == [(f.stream, f.version, f.subject, f.time) for f in first]
        return self

    def id(self, kind: str, nth: int = -1) -> str:
        """Return the id of the n-th stream of a kind that was opened."""
        return own_id(self.stream(kind, nth))

    def stream(self, kind: str, nth: int = -1) -> str:
        """Return the name of the n-th stream of a kind that was opened."""
        return list(dict.fromkeys(f.stream for f, _ in self.log if kind_of(f.stream) == kind))[nth]


def given(*said: Said, rules: Rules | None = None, tenant: str = "acme") -> Story:
    """Begin a story with commands that must all be accepted."""
    story = Story(rules or Rules(), tenant)
    for command in said:
        assert story.when(command).facts
    return story
