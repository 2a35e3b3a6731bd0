"""Hiding again: what had been soft-deleted since a backup is hidden in what was restored from it (docs/backup.md).

A user's own deletion names the user, who stands nowhere but in what was deleted. The list of erasures holds ids alone,
so its proposals need a command that needs no more.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnemolog.domain.decision import Case, Decision, Draft, Seen, SessionState, SpaceState
from mnemolog.domain.schema import Command, Id, Target
from mnemolog.domain.session import EventDeleted, SessionDeleted, no_session, sequence_of
from mnemolog.domain.space import SpaceDeleted, no_space
from mnemolog.domain.streams import stream, tenant_of


class HideTarget(Target):
    """A session or a space of the tenant, or of a session the one event named by `entry`."""

    kind: Literal["session", "space"]
    id: Id
    entry: Annotated[str, Field(pattern=r"^event/[0-9]{1,18}$")] | None = None


class Hide(Command):
    """Hide something from readers, whoever owns it; the grace before it is erased begins anew."""

    TYPE: ClassVar[str] = "erasure.hide.v1"
    target: HideTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


def hide(seen: Seen, case: Case, command: Hide) -> Decision:
    """Hide what readers can see; what they cannot is not there."""
    kind, identifier, chosen = command.target.kind, command.target.id, command.target.entry
    name = stream(case.tenant, kind, identifier)
    found = seen.stream(name)
    if kind == "space":
        shown = found is not None and isinstance(found.body, SpaceState) and not found.body.deleted
        return [Draft(name, identifier, SpaceDeleted())] if shown else no_space()
    if found is None or not isinstance(found.body, SessionState) or not _shown(seen, name, found.body):
        return no_session()
    if chosen is None:
        return [Draft(name, identifier, SessionDeleted())]
    token = seen.token(name, sequence_of(chosen))
    return [Draft(name, chosen, EventDeleted())] if token is not None and token.live else no_session()


def _shown(seen: Seen, name: str, state: SessionState) -> bool:
    space = seen.stream(stream(tenant_of(name), "space", state.space))
    return not state.deleted and space is not None and isinstance(space.body, SpaceState) and not space.body.deleted
