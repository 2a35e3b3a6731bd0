"""The state as it was: facts folded up to a moment, and what was erased since reported as erased (design §8).

1. A moment is a time, or the position of a command; what happened at it belongs to it. Neither falls within a slot, so
   the facts of a slot that a moment covers come before those that it does not.
2. A fact that has been erased since is not folded, also while a log still holds it (guarantee 7). Its `Erased`
   says that it was there, and its ordinal on which side of the moment; where only erased facts lie around the moment,
   that is not known, and it says so (`sure`). Whose it was is not known once nothing else of its stream is left.
3. The rows are those of the views, made by the same functions; what a hidden parent hides is not shown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mnemolog.audit.history import By
from mnemolog.audit.reading import About, Facts, pages
from mnemolog.audit.views import Folded, Project
from mnemolog.domain import canonical, chain
from mnemolog.domain.audits import NotAsked, Told, silent
from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased
from mnemolog.domain.fact import Fact
from mnemolog.domain.owner import Withheld, shown, withheld
from mnemolog.domain.record import CONTROL_KEY, FactRecord, Position
from mnemolog.domain.schema import sent
from mnemolog.domain.streams import fact_key, tenant_of
from mnemolog.domain.times import from_text, to_text

_OWNED = {"agent", "invoker"}
_TIMES = {"created", "updated"}
_OF_VIEWS = {"text_version", "ordinal"}

_WAITING = {"hidden", "owner"}
"""Rows that keep the books of erasure: no read ever showed them."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time (µs) or the position of a command, itself included."""

    time: int | None = None
    position: Position | None = None

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Read an ISO-8601 time (UTC where it says no zone) or `epoch:offset`. Raises ValueError."""
        first, _, last = text.partition(":")
        if first.isdecimal() and last.isdecimal():
            return cls(position=Position(int(first), int(last)))
        return cls(time=from_text(text))

    def precedes(self, record: FactRecord) -> bool:
        """Tell whether a fact happened at this moment or later."""
        if self.position is not None:
            return Position.parse(record.headers["source"]) >= self.position
        return self.time is None or from_text(record.headers["ce_time"]) >= self.time

    def covers(self, record: FactRecord) -> bool:
        """Tell whether a fact had happened by this moment."""
        if self.position is not None:
            return Position.parse(record.headers["source"]) <= self.position
        return self.time is None or from_text(record.headers["ce_time"]) <= self.time


@dataclass(frozen=True, slots=True)
class Row:
    """Something that could be read then: what kind of thing, and its fields as reads gave them."""

    kind: str
    key: str
    fields: Mapping[str, Any]

    def plain(self) -> dict[str, Any]:
        """Return the row as JSON values, times as ISO-8601, without what only views need."""
        shown = {n: to_text(v) if n in _TIMES and isinstance(v, int) else v for n, v in self.fields.items()}
        if isinstance(stored := shown.get("metadata"), str):
            shown["metadata"] = canonical.loads(stored)
        return {"kind": self.kind} | {n: v for n, v in shown.items() if "sha256" not in n and n not in _OF_VIEWS}


@dataclass(frozen=True, slots=True)
class Lost:
    """Something that was there then, or may have been (`sure`), and has been erased since.

    `owned` is False where an owner was asked about, and nobody can tell any more whether it was his.
    """

    stream: str
    subject: str
    versions: tuple[int, ...]
    erased: By
    sure: bool
    owned: bool = True

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        by = {"time": to_text(self.erased.time), "actor": self.erased.actor, "command": self.erased.command}
        said = {"stream": self.stream, "subject": self.subject, "versions": list(self.versions), "sure": self.sure}
        return {"kind": "erased", **said, "ownerKnown": self.owned, "erased": by}


@dataclass(slots=True)
class Then:
    """What a replay has come to."""

    rows: list[Row] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    facts: int = 0
    texts: dict[str, bytes] = field(default_factory=dict)
    """Where an owner was asked about: by a memory's row, the commitment of the fact that set its text."""


@dataclass(slots=True)
class _Slot:
    """The last ordinal that the moment covers, and the first that it does not; where ordinals that are there begin."""

    last: int = -1
    first: int | None = None
    following: int = 0
    holes: list[tuple[int, int]] = field(default_factory=list)

    def see(self, ordinal: int, *, covered: bool) -> None:
        """Take note of a fact that is there."""
        if covered:
            self.last = max(self.last, ordinal)
        elif self.first is None:
            self.first = ordinal
        if ordinal > self.following:
            self.holes.append((self.following, ordinal))
        self.following = max(self.following, ordinal + 1)

    def holds(self, ordinal: int) -> bool:
        """Tell whether a fact is there."""
        at = bisect_right(self.holes, (ordinal, self.following)) - 1
        return ordinal < self.following and not (at >= 0 and ordinal < self.holes[at][1])


async def replayed(
    log: Facts, partitions: int, about: About, moment: Moment, project: Project, told: Told = silent
) -> Then:
    """Return the state of a stream, an owner or a tenant as it was at a moment. Raises NotAsked.

    Where the log still holds what was erased since, which only shows behind it, the fold begins anew and leaves it out.
    """
    where = about.partitions(partitions)
    if moment.position is not None and len(where) > 1:
        message = f"a position is one partition's, and this may lie in {len(where)}: name a time"
        raise NotAsked(message)
    erased: set[str] = set()
    while True:
        replay = _Replay(about, moment, Folded(project), erased)
        for partition in where:
            async for page in pages(log, partition, told=told):
                for record in page:
                    replay.take(record)
        held = replay.held()
        if held <= erased:
            return replay.then()
        erased |= held


class _Replay:
    def __init__(self, about: About, moment: Moment, folded: Folded, erased: set[str]) -> None:
        self._about = about
        self._moment = moment
        self._folded = folded
        self._erased = erased
        self._slots: dict[int, _Slot] = {}
        self._owners: dict[str, bool] = {}
        self._since: list[Fact] = []
        self._facts = 0
        self._texts: dict[str, bytes] = {}

    def take(self, record: FactRecord) -> None:
        if record.key == CONTROL_KEY or record.value is None:
            return
        covered = self._moment.covers(record)
        slot = self._slots.setdefault(int(record.headers["slot"]), _Slot())
        slot.see(int(record.headers["ordinal"]), covered=covered)
        self._facts += 1
        erasing = record.headers["ce_type"].split(".")[1] == "erased"
        owned = self._about.owner is not None  # whose a stream is, what comes later tells as well
        if not (covered or erasing or owned) or record.key in self._erased or not self._about.wants(record):
            return
        fact = decode_fact(record, linked=False)
        said = sent(fact.payload) if owned else {}
        if said.keys() >= _OWNED:
            self._owners[fact.stream] = (said["agent"], said["invoker"]) == (self._about.owner or ())[1:]
        if covered:
            self._folded.take(fact)
            if "content" in said:
                self._texts[fact.stream] = chain.commitment(record.value)
        elif erasing:
            self._since.append(fact)

    def held(self) -> set[str]:
        """Return the keys of those facts that have been erased since, and that the log still holds."""
        return {
            fact_key(fact.stream, took.version)
            for fact in self._since
            if isinstance(fact.payload, Erased)
            for took in fact.payload.took
            if self._slots[fact.slot].holds(took.ordinal)
        }

    def then(self) -> Then:
        then = Then(facts=self._facts, texts=self._texts)
        rows = self._folded.rows
        erasing = withheld(fields for key, fields in rows.items() if _kind(key) == "owner")
        for key, fields in sorted(rows.items(), key=lambda item: (item[1].get("created", 0), item[0])):
            row = Row(_kind(key), key, {**fields, **_above(key)})
            if self._readable(row, rows, erasing):
                then.rows.append(row)
        for fact in self._since:
            if isinstance(fact.payload, Erased) and self._owners.get(fact.stream, True):
                then.lost += self._lost(fact, fact.payload)
        return then

    def _readable(self, row: Row, rows: Mapping[str, Any], erasing: Withheld) -> bool:
        """Tell whether reads showed a row: its owner is the one asked about, neither it nor its parents are hidden."""
        if row.kind in _WAITING:
            return False
        if row.fields.keys() >= _OWNED:
            whose = (row.fields["agent"], row.fields["invoker"])
            asked = self._about.owner is None or self._about.owner[1:] == whose
            return asked and shown(row.fields, erasing)
        if row.kind in {"session", "event"}:
            session = rows.get(row.key.partition("/event/")[0])
            alone = self._about.stream is not None  # of the space nothing is known then
            return session is not None and (alone or f"{_tenant(row.key)}/space/{session['space']}" in rows)
        return "id" in row.fields or row.kind == "policy"

    def _lost(self, fact: Fact, erased: Erased) -> Iterator[Lost]:
        slot = self._slots[fact.slot]
        by = By(fact.time, fact.actor, fact.command)
        there: dict[str, list[tuple[int, bool]]] = {}
        for took in erased.took:
            known = took.time is not None and self._moment.time is not None
            if known and took.time is not None and self._moment.time is not None:
                stood, sure = from_text(took.time) <= self._moment.time, True
            else:
                stood = slot.first is None or took.ordinal < slot.first
                sure = took.ordinal <= slot.last
            if stood:
                there.setdefault(took.subject, []).append((took.version, sure))
        for subject, found in there.items():
            if not self._about.names(fact.stream, subject):
                continue
            sure = any(certain for _, certain in found)
            owned = self._about.owner is None or fact.stream in self._owners
            yield Lost(fact.stream, subject, tuple(version for version, _ in found), by, sure, owned)


def _tenant(key: str) -> str:
    return tenant_of(key.partition("/event/")[0])


def _kind(key: str) -> str:
    return key.split("/")[-2]


def _above(key: str) -> Mapping[str, str]:
    """Return what an event's row does not say of itself: its session."""
    return {"session": key.split("/")[-3]} if _kind(key) == "event" else {}
