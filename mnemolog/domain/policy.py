"""A tenant's retention policy: how many days messages, memories and usage logs are kept (wire contract §2).

Null is off and the initial value; 0 means everything at the next sweep. The policy exists from the start.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from mnemolog.domain.decision import Case, Decision, Delta, Draft, PolicyState, Seen
from mnemolog.domain.fact import Fact
from mnemolog.domain.schema import Command, Part, Payload, Target, sent
from mnemolog.domain.streams import single

Days = Annotated[int, Field(ge=0, le=1_000_000)]


class Tenant(Target):
    """The caller's own tenant."""


class RetentionChange(Part):
    """What to set: null switches off, absent stays."""

    message_days: Days | None = None
    memory_days: Days | None = None
    usage_log_days: Days | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            message = "give message_days, memory_days or usage_log_days to change"
            raise ValueError(message)
        return self


class SetRetention(Command):
    """Change the retention policy."""

    TYPE: ClassVar[str] = "policy.set-retention.v1"
    target: Tenant
    parts: Annotated[tuple[RetentionChange], Field(strict=False)]


class RetentionSet(Payload):
    """Fields of the retention policy were set."""

    TYPE: ClassVar[str] = "policy.retention-set.v1"
    message_days: int | None = None
    memory_days: int | None = None
    usage_log_days: int | None = None


def evolve(seen: Seen, state: PolicyState | None, fact: Fact, delta: Delta) -> PolicyState:
    """Return the policy after one more fact."""
    del seen, delta
    state = state or PolicyState()
    return state._replace(**sent(fact.payload)) if isinstance(fact.payload, RetentionSet) else state


def set_retention(seen: Seen, case: Case, command: SetRetention) -> Decision:
    """Set what was given; any value may follow any other."""
    del seen
    return [Draft(single(case.tenant, "policy"), "policy", RetentionSet(**sent(command.parts[0])), part=0)]
