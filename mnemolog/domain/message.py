"""A message group: the messages of one agent, invoker and conversation, numbered 0, 1, 2 … in a stream of their own.

1. The stream is named after its first message's id; which agent, invoker and group it stands for is state, folded from
   any message left, so nothing guessable outlives erasure (design §3).
2. With its last message erased the group has ended; the next message under that name opens another, numbered from 0.
3. A message's number is in its fact: a hole before it must not renumber it (guarantee 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mnemolog.domain import erasure
from mnemolog.domain.decision import Case, Decision, Delta, Draft, Ended, GroupState, Owned, Seen, Written
from mnemolog.domain.fact import Fact
from mnemolog.domain.memory import owner_mark
from mnemolog.domain.outcomes import Reason, Rejected
from mnemolog.domain.schema import Command, Id, Json, Name, Part, Payload, Target, sent
from mnemolog.domain.streams import own_id, stream, tenant_of

Role = Literal["USER", "ASSISTANT", "SYSTEM", "TOOL"]

# ---- commands --------------------------------------------------------------------------------------------------------


class Conversation(Target):
    """Which conversation a message belongs to."""

    agent: Name
    invoker: Name
    group: Name


class MessageTarget(Target):
    """A message by its id."""

    message: Id


class NewMessage(Part):
    """A message as the caller said it."""

    role: Role
    content: Annotated[str, Field(min_length=1)]
    metadata: Json | None = None


class AddMessage(Command):
    """Add a message to its group, opening the group if need be."""

    TYPE: ClassVar[str] = "message.add-message.v1"
    target: Conversation
    parts: Annotated[tuple[NewMessage], Field(strict=False)]


class DeleteMessage(Command):
    """Erase a message."""

    TYPE: ClassVar[str] = "message.delete-message.v1"
    target: MessageTarget
    parts: Annotated[tuple[()], Field(strict=False)] = ()


# ---- facts -----------------------------------------------------------------------------------------------------------


class MessageAdded(Payload):
    """A message was added; `number` is its place in the conversation."""

    TYPE: ClassVar[str] = "message.message-added.v1"
    agent: str
    invoker: str
    group: str
    number: int
    role: str
    content: str
    metadata: Json | None = None


class MessageErased(erasure.Erased):
    """A message is gone; `next` numbers the next one, `live` counts those left."""

    TYPE: ClassVar[str] = "message.erased.v1"
    next: int
    live: int


# ---- fold ------------------------------------------------------------------------------------------------------------


def evolve(seen: Seen, state: GroupState | None, fact: Fact, delta: Delta) -> GroupState | Ended:
    """Return the group after one more fact, and index its name and the message's id."""
    state = state or GroupState()
    match fact.payload:
        case MessageAdded(agent=agent, invoker=invoker, group=group, number=number):
            name = name_mark(seen, fact.tenant, agent, invoker, group)
            delta.keys[name] = fact.stream
            delta.groups[message_of(fact.subject)] = fact.stream
            owner = owner_mark(seen, fact.tenant, agent, invoker)
            delta.owned[owner, fact.ordinal] = Owned(fact.ordinal, fact.stream, fact.subject)
            return GroupState(name=name, next=number + 1, live=state.live + 1, owner=owner)
        case MessageErased(took=took, ended=ended, next=following, live=live):
            for gone in took:
                delta.groups[message_of(gone.subject)] = None
                if state.owner:
                    delta.owned[state.owner, gone.ordinal] = None
            if not ended:
                return GroupState(name=state.name, next=following, live=live, owner=state.owner)
            if state.name:
                delta.keys[state.name] = None
            return Ended()
        case _:
            return state


def name_mark(seen: Seen, tenant: str, agent: str, invoker: str, group: str) -> bytes:
    """Return the mark of a conversation's name."""
    return seen.mark("group", tenant, agent, invoker, group)


def entry(message: str) -> str:
    """Return the subject of a message's facts."""
    return f"message/{message}"


def message_of(subject: str) -> str:
    """Return the message's id from the subject of its facts."""
    return subject.removeprefix("message/")


# ---- decide ----------------------------------------------------------------------------------------------------------


def add(seen: Seen, case: Case, command: AddMessage) -> Decision:
    """Number the message after the last one that its group ever had."""
    target = command.target
    identifier = case.new_id(0)
    name = seen.key(name_mark(seen, case.tenant, target.agent, target.invoker, target.group))
    found = seen.stream(name) if name else None
    number = found.body.next if found and isinstance(found.body, GroupState) else 0
    payload = MessageAdded(
        agent=target.agent, invoker=target.invoker, group=target.group, number=number, **sent(command.parts[0])
    )
    return [Draft(name or stream(case.tenant, "group", identifier), entry(identifier), payload, part=0)]


def delete(seen: Seen, case: Case, command: DeleteMessage) -> Decision:
    """Erase one message: a single fact, as messages are never updated."""
    found = readable(seen, case, command.target.message)
    if found is None:
        return missing()
    name, written = found
    return [taken(seen, case, name, written)]


def readable(seen: Seen, case: Case, message: str) -> tuple[str, Sequence[Written]] | None:
    """Return the group's stream and what erasure needs of a message that readers see."""
    name = seen.group_of(message)
    found = seen.stream(name) if name and tenant_of(name) == case.tenant else None
    if not name or found is None or not isinstance(found.body, GroupState):
        return None
    written, _ = erasure.reach(seen, name, entry(message))
    return None if erasure.withheld(seen, found.body.owner, written[0].ordinal) else (name, written)


def taken(seen: Seen, case: Case, name: str, written: Sequence[Written]) -> Draft:
    """Return the erasure of some messages of a group."""
    found = seen.stream(name)
    state = found.body if found and isinstance(found.body, GroupState) else GroupState()
    live = state.live - len(written)
    subject = written[0].subject if len(written) == 1 else own_id(name)
    took = erasure.took(seen, case, written)
    return Draft(name, subject, MessageErased(took=took, ended=live == 0, next=state.next, live=live))


def missing() -> Rejected:
    """Refuse what names a message that is not there."""
    return Rejected(Reason.NOT_FOUND, "there is no message with this id")
