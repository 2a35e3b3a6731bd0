"""What a list of erasures finds in a log: things that were erased, hidden or shut out elsewhere, and are here again."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnemolog.audit.erasures import ACCESS, ERASED, Erasures, How
from mnemolog.audit.reading import Facts, pages
from mnemolog.domain import canonical
from mnemolog.domain.access import ClientCreated, ClientRevoked, KeyCreated, KeyRevoked, TokenCreated, TokenRevoked
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.codec import decode_fact, link_of
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.session import EventDeleted, SessionDeleted
from mnemolog.domain.space import SpaceDeleted
from mnemolog.domain.times import from_text

_HIDES = frozenset(kind.TYPE for kind in (EventDeleted, SessionDeleted, SpaceDeleted))


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """How something went, and where it is: a stream and a subject, or a credential by its kind and id."""

    how: How
    stream: str
    subject: str


@dataclass(slots=True)
class Returned:
    """What a pass found; `unknown` counts facts erased by the time of the list that it does not know: another log."""

    things: set[Thing] = field(default_factory=set)
    facts: int = 0
    unknown: int = 0


async def returned(log: Facts, partitions: int, erasures: Erasures, told: Told = silent) -> Returned:
    """Look for everything of a list in a log; what is covered by a null record is not there any more."""
    found = Returned()
    for partition in range(partitions):
        one = _Partition(erasures)
        async for page in pages(log, partition, told=told):
            for record in page:
                one.take(record)
        one.add_to(found)
    return found


class _Partition:
    """One partition's pass."""

    def __init__(self, erasures: Erasures) -> None:
        self._links = erasures.links
        self._until = from_text(erasures.created)
        self._found: dict[str, Thing] = {}
        self._hidden: set[tuple[str, str]] = set()
        self._live: dict[tuple[str, str], bytes] = {}
        self._unknown = 0

    def take(self, record: FactRecord) -> None:
        if record.value is None:
            self._found.pop(record.key, None)
            return
        if record.key == CONTROL_KEY:
            return
        kind = record.headers["ce_type"]
        if kind in ERASED and from_text(record.headers["ce_time"]) <= self._until:
            took = canonical.reread(record.value)["body"]["took"]
            self._unknown += sum(bytes.fromhex(gone["link"]) not in self._links for gone in took)
        if kind in ACCESS:
            self._access(record)
        elif kind not in ERASED:
            if kind in _HIDES:
                self._hidden.add((record.headers["stream"], record.headers["ce_subject"]))
            line = self._links.get(link_of(record))
            if line is not None:
                self._found[record.key] = Thing(line.how, line.stream, line.subject)

    def _access(self, record: FactRecord) -> None:
        fact = decode_fact(record)
        match fact.payload:
            case ClientCreated(client=client):
                self._live[fact.stream, f"client/{client}"] = fact.link
            case TokenCreated(token=token):
                self._live[fact.stream, f"token/{token}"] = fact.link
            case KeyCreated(key=key):
                self._live[fact.stream, f"key/{key}"] = fact.link
            case ClientRevoked(client=client):
                self._live.pop((fact.stream, f"client/{client}"), None)
            case TokenRevoked(token=token):
                self._live.pop((fact.stream, f"token/{token}"), None)
            case KeyRevoked(key=key):
                self._live.pop((fact.stream, f"key/{key}"), None)
            case _:
                return

    def add_to(self, found: Returned) -> None:
        things = {
            thing
            for thing in self._found.values()
            if thing.how == "erased" or (thing.stream, thing.subject) not in self._hidden
        }
        things |= {Thing("revoked", *where) for where, link in self._live.items() if link in self._links}
        found.things |= things
        found.facts += len(self._found)
        found.unknown += self._unknown
