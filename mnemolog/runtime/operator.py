"""The operator's hand on a deployment, whatever it runs on: send a tenant's command, read the views.

`local` has it for a data folder, `remote` for the distributed runtime, and `operators` chooses; operators' commands
know only this.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from typing import Protocol

from mnemolog.domain.codec import Envelope
from mnemolog.domain.errors import MnemologError
from mnemolog.domain.outcomes import Accepted, Outcome, Rejected
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.domain.usage import Usage
from projections.due import StoreDue
from projections.queries import StoreQueries

ACTOR = "operator/cli"


class Refused(MnemologError):
    """The command was rejected."""


class Operator(Protocol):
    """What an operator's command works with."""

    @property
    def queries(self) -> StoreQueries:
        """The views, which show every command that was accepted before."""
        ...

    @property
    def due(self) -> StoreDue:
        """What is due and what waits for erasure."""
        ...

    @property
    def usage(self) -> Usage:
        """The usage log."""
        ...

    async def submit(self, tenant: str, command: Command) -> Accepted:
        """Send a tenant's command and return its acceptance, once reads show it. Raises Refused or Unavailable."""
        ...

    async def propose(self, envelopes: Sequence[Envelope]) -> Sequence[Outcome]:
        """Send commands and return their outcomes in order, once reads show them. Raises Unavailable."""
        ...


def envelope_of(tenant: str, command: Command) -> Envelope:
    """Surround an operator's command. Raises Refused for an id that is none of ours."""
    identifier = str(uuid.uuid4())
    slot = slot_of_command(tenant, identifier, command)
    if slot is None:
        message = "there is nothing with this id"
        raise Refused(message)
    return Envelope(identifier, tenant, ACTOR, slot, secrets.token_bytes(32), command)


def accepted(outcome: Outcome) -> Accepted:
    """Return the acceptance. Raises Refused."""
    if isinstance(outcome.result, Rejected):
        raise Refused(outcome.result.detail)
    return outcome.result
