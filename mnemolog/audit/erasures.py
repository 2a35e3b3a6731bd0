"""The list of erasures: what a log has erased, hidden and revoked, so that no backup brings it back (docs/backup.md).

1. JSON Lines: a head that says of when the list is, a line for each thing, an end that says how many lines there are; a
   list without its end was interrupted, and is not taken.
2. A line names a stream, a subject in it, and links of facts. Of what a caller wrote it holds nothing: streams and
   subjects are ids, and a link is a hash over a salt that went with the content.
3. A link names one fact of one log for ever. What a restored log wrote in its own time under the same version or
   sequence id has another link, so a list of the log before never touches it.
4. `erased` is what is gone or on its way (also what an owner's erasure still hides), `hidden` what is soft-deleted and
   waits for its grace, `revoked` a credential that was shut out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mnemolog.audit.reading import Facts, pages
from mnemolog.domain import canonical
from mnemolog.domain.access import ClientCreated, ClientRevoked, KeyCreated, KeyRevoked, TokenCreated, TokenRevoked
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.catalogue import FACTS
from mnemolog.domain.codec import decode_fact, link_of
from mnemolog.domain.erasure import Erased
from mnemolog.domain.errors import Malformed
from mnemolog.domain.memory import MemoryAdded, MemoryDeleted
from mnemolog.domain.message import MessageAdded, MessageErased
from mnemolog.domain.owner import OwnerClosed, OwnerErased
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.session import EventDeleted, SessionDeleted
from mnemolog.domain.space import SpaceDeleted
from mnemolog.domain.streams import own_id

FORMAT = "mnemolog/erasures/1"
How = Literal["erased", "hidden", "revoked"]
ERASED = frozenset(name for name, kind in FACTS.items() if issubclass(kind, Erased))
_HIDES = frozenset(kind.TYPE for kind in (EventDeleted, SessionDeleted, SpaceDeleted, MemoryDeleted))
ACCESS = frozenset(
    kind.TYPE for kind in (ClientCreated, ClientRevoked, TokenCreated, TokenRevoked, KeyCreated, KeyRevoked)
)
_OWNED = frozenset(kind.TYPE for kind in (MemoryAdded, MessageAdded))


@dataclass(frozen=True, slots=True)
class Line:
    """One thing: how it went, where it was, and links of facts that only it has."""

    how: How
    stream: str
    subject: str
    links: tuple[str, ...]

    def text(self) -> bytes:
        """Return the line of the file."""
        return canonical.dumps({"how": self.how, "stream": self.stream, "subject": self.subject, "links": self.links})


@dataclass(slots=True)
class _Left:
    """What one pass over a partition leaves open: what is hidden, and which owners are still being erased."""

    hidden: set[tuple[str, str]] = field(default_factory=set)
    owners: dict[str, tuple[int, OwnerErased]] = field(default_factory=dict)
    live: dict[tuple[str, str, str], str] = field(default_factory=dict)


async def lines(log: Facts, partitions: int, told: Told = silent) -> AsyncIterator[Line]:
    """Yield what a log has erased, hidden and revoked.

    1. Pass over a partition: each `Erased` names what it took; note what hides, and take that back where it was erased.
    2. Where anything is only hidden, pass once more, for the links of its facts.
    """
    for partition in range(partitions):
        left = _Left()
        async for page in pages(log, partition, told=told):
            for record in page:
                if record.value is not None and record.key != CONTROL_KEY:
                    for line in _first(record, left):
                        yield line
        if left.hidden or left.owners:
            async for line in _second(log, partition, left, told):
                yield line


def _first(record: FactRecord, left: _Left) -> Iterator[Line]:
    kind, stream, subject = record.headers["ce_type"], record.headers["stream"], record.headers["ce_subject"]
    if kind in _HIDES:
        left.hidden.add((stream, subject))
    elif kind == OwnerErased.TYPE:
        fact = decode_fact(record, linked=False)
        assert isinstance(fact.payload, OwnerErased)  # noqa: S101 -- said by its type, for the type checker
        left.owners[stream] = fact.ordinal, fact.payload
    elif kind == OwnerClosed.TYPE:
        left.owners.pop(stream, None)
    elif kind in ERASED:
        yield from _taken(kind, stream, subject, canonical.reread(record.value or b"")["body"]["took"], left)
    elif kind in ACCESS:
        yield from _access(record, left)


def _taken(kind: str, stream: str, subject: str, took: list[dict[str, Any]], left: _Left) -> Iterator[Line]:
    if kind == MessageErased.TYPE:  # it takes whole messages of a group, each a thing of its own
        for gone in took:
            yield Line("erased", stream, gone["subject"], (gone["link"],))
        return
    for gone in took:
        left.hidden.discard((stream, gone["subject"]))
    left.hidden.discard((stream, subject))
    yield Line("erased", stream, subject, tuple(gone["link"] for gone in took))


def _access(record: FactRecord, left: _Left) -> Iterator[Line]:
    fact = decode_fact(record)
    match fact.payload:
        case ClientCreated(client=client):
            left.live[fact.stream, "client", client] = fact.link.hex()
        case TokenCreated(token=token):
            left.live[fact.stream, "token", token] = fact.link.hex()
        case KeyCreated(key=key):
            left.live[fact.stream, "key", key] = fact.link.hex()
        case ClientRevoked(client=client):
            yield from _revoked(fact.stream, left.live.pop((fact.stream, "client", client), None))
        case TokenRevoked(token=token):
            yield from _revoked(fact.stream, left.live.pop((fact.stream, "token", token), None))
        case KeyRevoked(key=key):
            yield from _revoked(fact.stream, left.live.pop((fact.stream, "key", key), None))
        case _:
            return


def _revoked(stream: str, link: str | None) -> Iterator[Line]:
    if link is not None:
        yield Line("revoked", stream, own_id(stream), (link,))


async def _second(log: Facts, partition: int, left: _Left, told: Told) -> AsyncIterator[Line]:
    async for page in pages(log, partition, told=told):
        for record in page:
            if record.value is None or record.key == CONTROL_KEY:
                continue
            kind, stream, subject = record.headers["ce_type"], record.headers["stream"], record.headers["ce_subject"]
            if (stream, subject) in left.hidden and kind not in ERASED:
                memory = kind.startswith("memory.")  # hidden, it has no grace
                yield Line("erased" if memory else "hidden", stream, subject, (link_of(record).hex(),))
            elif kind in _OWNED and left.owners and _withheld(record, left):
                yield Line("erased", stream, subject, (link_of(record).hex(),))


def _withheld(record: FactRecord, left: _Left) -> bool:
    """Tell whether an erasure of an owner that is under way hides this memory or message."""
    fact = decode_fact(record, linked=False)
    whose = getattr(fact.payload, "agent", None), getattr(fact.payload, "invoker", None)
    return any(
        fact.ordinal < below and whose == (hidden.agent, hidden.invoker) and name.startswith(f"{fact.tenant}/owner/")
        for name, (below, hidden) in left.owners.items()
    )


# ---- the file --------------------------------------------------------------------------------------------------------


async def write(log: Facts, partitions: int, path: Path, created: str, told: Told = silent) -> int:
    """Write the list of a log's erasures; return how many lines it has. A file that is there is replaced at the end."""
    fresh = path.with_name(f"{path.name}.part")
    count = 0
    with fresh.open("wb") as file:
        file.write(canonical.dumps({"format": FORMAT, "created": created}) + b"\n")
        async for line in lines(log, partitions, told):
            file.write(line.text() + b"\n")
            count += 1
        file.write(canonical.dumps({"lines": count}) + b"\n")
    fresh.replace(path)
    return count


@dataclass(frozen=True, slots=True)
class Erasures:
    """A list as read: of when it is, and for each link what it names."""

    created: str
    lines: int
    links: dict[bytes, Line]


def read(path: Path) -> Erasures:
    """Read a list. Raises Malformed for one that is cut short or none."""
    links: dict[bytes, Line] = {}
    try:
        with path.open("rb") as file:
            head = canonical.loads(next(file, b"{}"))
            if head.get("format") != FORMAT:
                message = f"{path} is not a list of erasures ({FORMAT})"
                raise Malformed(message)
            count, end = 0, None
            for raw in file:
                said = canonical.reread(raw)
                if "lines" in said:
                    end = int(said["lines"])
                    break
                line = Line(said["how"], said["stream"], said["subject"], ())
                for link in said["links"]:  # what was hidden before it was erased is there twice: erased counts
                    links.setdefault(bytes.fromhex(link), line)
                count += 1
    except OSError as error:
        message = f"the list of erasures {path} cannot be read: {error.strerror}"
        raise Malformed(message) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{path} is not a list of erasures: a line of it cannot be read"
        raise Malformed(message) from error
    if end != count:
        message = f"the list of erasures {path} was cut short: write it again with mnemolog erasures list"
        raise Malformed(message)
    return Erasures(str(head["created"]), count, links)
