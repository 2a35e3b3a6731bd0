"""The vocabulary of deciding: what a decision sees, what it is asked, and what it answers.

`decide` and `evolve` of every aggregate are total, pure functions over these. A decision reads the state through
`Seen`; what is kept in memory, what in a snapshot file, is the shell's affair (design §5, State).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mnemolog.domain.ids import make_id
from mnemolog.domain.outcomes import Rejected
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command, Payload


class Head(NamedTuple):
    """Where a stream stands: its next version, its chain, the time of its last fact (µs)."""

    version: int
    chain: bytes
    last: int


class Strategy(NamedTuple):
    """A lifecycle strategy as decisions need it; `mark` is a keyed hash of its exact JSON.

    `hides`: what it does in the end hides the session (an extraction that keeps the session does not).
    """

    type: str
    trigger: str
    limit: int
    mark: bytes
    hides: bool = True


class SpaceState(NamedTuple):
    """A space: whose it is, whether it is hidden, since when (µs); marks are empty where nothing is known any more."""

    owner: bytes = b""
    key: bytes = b""
    deleted: bool = False
    hidden: int = 0


class SessionState(NamedTuple):
    """A session; `next` is the next sequence id, `events` and `tokens` count what is readable.

    `timers` are the deadlines (µs) that were put off, by type of strategy; `hidden` is since when it is; `ordinal` that
    of its creation; `extracted` whether a due extraction of memories has been completed.
    """

    space: str = ""
    participants: tuple[bytes, ...] = ()
    key: bytes = b""
    version: int = 0
    next: int = 0
    events: int = 0
    tokens: int = 0
    created: int = 0
    last_event: int = 0
    strategies: tuple[Strategy, ...] = ()
    fired: tuple[str, ...] = ()
    deleted: bool = False
    hidden: int = 0
    ordinal: int = 0
    timers: tuple[tuple[str, int], ...] = ()
    extracted: bool = False


class MemoryState(NamedTuple):
    """A memory: whose it is, whether it is hidden, and the ordinal of its creation."""

    owner: bytes = b""
    deleted: bool = False
    ordinal: int = 0


class GroupState(NamedTuple):
    """A message group: the mark of its agent, invoker and name; the next number; how many messages are left.

    `owner` is the mark of agent and invoker alone.
    """

    name: bytes = b""
    next: int = 0
    live: int = 0
    owner: bytes = b""


class OwnerState(NamedTuple):
    """An erasure of all that an agent keeps of an invoker: it hides what has an ordinal below `below`."""

    owner: bytes = b""
    below: int = 0


class PolicyState(NamedTuple):
    """A tenant's retention policy, in days; None is off."""

    message_days: int | None = None
    memory_days: int | None = None
    usage_log_days: int | None = None


class AccessState(NamedTuple):
    """A tenant's credentials: the names of those that are valid."""

    clients: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """A stream that has been erased to its end: nothing but its name."""


Body = SpaceState | SessionState | MemoryState | GroupState | OwnerState | PolicyState | AccessState | Ended


class Stream(NamedTuple):
    """The state of one stream."""

    head: Head
    body: Body


class Token(NamedTuple):
    """An event's concurrency token: the time (µs) it was last written, its count of tokens, whether it is readable."""

    at: int
    tokens: int
    live: bool


class Written(NamedTuple):
    """Of a fact, what only erasure needs."""

    version: int
    subject: str
    ordinal: int
    link: bytes
    command: str
    nth: int
    time: int


class Owned(NamedTuple):
    """Something that goes with its owner: a memory, a message (`subject` is its entry), a session of a space.

    `ordinal` is that of the fact that brought it.
    """

    ordinal: int
    stream: str
    subject: str


class Answered(NamedTuple):
    """One fact of an acceptance in the window: the `nth` `of` so many. Salt, digest and `of` die with the fact.

    `about` is the mark of the credential that it is about, as no stream says that.
    """

    nth: int
    stream: str
    version: int
    subject: str
    time: int
    salt: bytes = b""
    digest: bytes = b""
    of: int = 0
    about: bytes = b""


class Acceptance(NamedTuple):
    """An accepted command in a slot's window; the `ordinal` of its first fact gives the window its order.

    `facts` stand in the order of their numbers; `time` is the latest of theirs.
    """

    ordinal: int
    time: int
    facts: tuple[Answered, ...]


class Slot(NamedTuple):
    """A slot's next ordinal, and the time (µs) of its latest fact."""

    ordinal: int
    last: int


class Seen(Protocol):
    """The state, as decisions and folds read it."""

    def mark(self, *parts: str) -> bytes:
        """Return the 16-byte keyed hash that stands in the state for a caller's text."""
        ...

    def slot(self, slot: int) -> Slot:
        """Return a slot's counters."""
        ...

    def stream(self, name: str) -> Stream | None:
        """Return a stream's state."""
        ...

    def key(self, mark: bytes) -> str | None:
        """Return what a mark stands for: a deduplication key's id, a message group's stream."""
        ...

    def group_of(self, message: str) -> str | None:
        """Return the stream of the group that holds a message, by the message's id."""
        ...

    def token(self, stream: str, sequence: int) -> Token | None:
        """Return an event's token."""
        ...

    def acceptance(self, slot: int, command: str) -> Acceptance | None:
        """Return an acceptance; one that has left the window may still be there."""
        ...

    def outside(self, slot: int, ordinal: int, size: int) -> bool:
        """Tell whether an acceptance with this ordinal is older than the newest `size` of its slot."""
        ...

    def written(self, stream: str, subject: str | None, limit: int) -> Sequence[Written]:
        """Return the first facts of a stream (of one entry if `subject` is given) that are not erased."""
        ...

    def written_versions(self, stream: str, versions: Sequence[int]) -> Sequence[Written]:
        """Return those of a stream's facts with these versions that are not erased."""
        ...

    def owned(self, owner: bytes, limit: int) -> Sequence[Owned]:
        """Return the first things, by ordinal, that go with an owner (the mark of agent + invoker, or of a space)."""
        ...


@dataclass(slots=True)
class Delta:
    """What a fact changes in the state; None removes. `erasing`: streams that wait for the eraser, or no longer do."""

    slots: dict[int, Slot]
    streams: dict[str, Stream]
    keys: dict[bytes, str | None]
    groups: dict[str, str | None]
    tokens: dict[tuple[str, int], Token | None]
    acceptances: dict[tuple[int, str], Acceptance]
    written: dict[tuple[str, int], Written | None]
    erasing: dict[str, bool]
    owned: dict[tuple[bytes, int], Owned | None]


class Case(NamedTuple):
    """A command before the decision: who asks, when (`at`, µs), under which rules."""

    id: str
    tenant: str
    actor: str
    slot: int
    secret: bytes
    command: Command
    at: int
    rules: Rules

    def new_id(self, n: int) -> str:
        """Return the n-th id that this command makes."""
        return make_id(self.at, self.slot, self.secret, n)


class Draft(NamedTuple):
    """A fact before it is sealed; `part` is the index of the command's part that it came from, None for none."""

    stream: str
    subject: str
    payload: Payload
    part: int | None = None


Decision = Sequence[Draft] | Rejected
Headers = Mapping[str, str]
