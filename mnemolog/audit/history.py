"""History: facts as a person reads them, one entry each, with what it changed and not what it repeated.

1. Entries stand in the order of their slot's ordinals; all that one question is about lies in one slot.
2. Of an erased fact the `Erased` that took it still tells stream, version, subject and ordinal, and, while its command
   was in the window, time and command: the entry says that it was erased, when and by whom (design §7).
3. A change names a field, its value before and after; a field inside a caller's JSON object by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased, Took
from mnemolog.domain.fact import Fact
from mnemolog.domain.record import FactRecord
from mnemolog.domain.schema import sent
from mnemolog.domain.streams import own_id
from mnemolog.domain.times import from_text, to_text

_OWNED = {"agent", "invoker"}
_HIDDEN = ("secret_sha256", "token_sha256")


@dataclass(frozen=True, slots=True)
class Change:
    """A field that a fact set: `before` is None where there was nothing, and then `new`; `after` where it has gone."""

    field: str
    before: Any
    after: Any
    new: bool
    gone: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the change as JSON values: without `before` what is new, without `after` what has gone."""
        before = {} if self.new else {"before": self.before}
        return {"field": self.field} | before | ({} if self.gone else {"after": self.after})


@dataclass(frozen=True, slots=True)
class By:
    """Who did something by which command, and when (µs)."""

    time: int
    actor: str
    command: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact, there or erased.

    `position` is where its command stood (`epoch:offset`); time, actor, command and position are None where an erasure
    has not kept them. `erased` says by whom it was taken, `took` how many facts an erasure itself has taken.
    """

    stream: str
    version: int
    slot: int
    ordinal: int
    subject: str
    what: str
    position: str | None
    time: int | None
    actor: str | None
    command: str | None
    changes: tuple[Change, ...] = ()
    erased: By | None = None
    took: int = 0

    def plain(self) -> dict[str, Any]:
        """Return the entry as JSON values; times as ISO-8601."""
        told: dict[str, Any] = {
            "stream": self.stream,
            "version": self.version,
            "slot": self.slot,
            "ordinal": self.ordinal,
            "subject": self.subject,
            "what": self.what,
            "position": self.position,
            "time": None if self.time is None else to_text(self.time),
            "actor": self.actor,
            "command": self.command,
            "changes": [change.plain() for change in self.changes],
        }
        if self.erased is not None:
            by = self.erased
            told["erased"] = {"time": to_text(by.time), "actor": by.actor, "command": by.command}
        if self.took:
            told["took"] = self.took
        return told


def history(records: Iterable[FactRecord]) -> list[Entry]:
    """Return the entries of these facts, and of those that they say were erased.

    Raises Malformed for a fact that this code does not know.
    """
    facts = [decode_fact(record, linked=False) for record in records]
    entries: list[Entry] = []
    known: dict[tuple[str, str], dict[str, Any]] = {}
    there = {(fact.stream, fact.version) for fact in facts}
    for fact in sorted(facts, key=lambda fact: (fact.slot, fact.ordinal)):
        entries.append(_entry(fact, known))
        if isinstance(fact.payload, Erased):
            by = By(fact.time, fact.actor, fact.command)
            took = fact.payload.took
            entries += [_gone(fact, one, by) for one in took if (fact.stream, one.version) not in there]
    return sorted(entries, key=lambda entry: (entry.slot, entry.ordinal))


def owned(records: Sequence[FactRecord], agent: str, invoker: str) -> tuple[list[FactRecord], int]:
    """Return of a slot's facts those of an owner's streams, and how many streams nobody can name the owner of any more.

    An erasure leaves nothing guessable, so it is not known whose a stream was that has been erased to its end.
    """
    owners: dict[str, bool] = {}
    ended: set[str] = set()
    for record in records:
        fact = decode_fact(record, linked=False)
        said = sent(fact.payload)
        if said.keys() >= _OWNED:
            owners[fact.stream] = (said["agent"], said["invoker"]) == (agent, invoker)
        elif isinstance(fact.payload, Erased):
            ended.add(fact.stream)
    mine = [record for record in records if owners.get(record.headers["stream"])]
    return mine, len(ended - owners.keys())


def _entry(fact: Fact, known: dict[tuple[str, str], dict[str, Any]]) -> Entry:
    took = len(fact.payload.took) if isinstance(fact.payload, Erased) else 0
    changes: tuple[Change, ...] = ()
    if not took:
        said = _flat({name: value for name, value in sent(fact.payload).items() if name not in _HIDDEN})
        before = known.setdefault((fact.stream, _entity(fact, said)), {})
        changes = tuple(_changes(before, said))
        _merge(before, said)
    return Entry(
        fact.stream,
        fact.version,
        fact.slot,
        fact.ordinal,
        fact.subject,
        _what(fact.payload.TYPE),
        str(fact.source),
        fact.time,
        fact.actor,
        fact.command,
        changes,
        took=took,
    )


def _gone(fact: Fact, took: Took, by: By) -> Entry:
    time = None if took.time is None else from_text(took.time)
    at = (fact.stream, took.version, fact.slot, took.ordinal, took.subject, "erased-fact")
    return Entry(*at, None, time, None, took.command, erased=by)


def _entity(fact: Fact, said: Mapping[str, Any]) -> str:
    """Return what a fact changes within its stream; all credentials share one stream and one subject."""
    named = next((said[one] for one in ("client", "token", "key") if one in said), None)
    named = named if fact.subject == "access" else None
    return fact.subject if named is None else f"{fact.payload.TYPE.split('-')[0]}/{named}"


def _changes(before: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[Change]:
    for name, value in said.items():
        if name not in before:
            yield Change(name, None, value, new=True)
        elif before[name] != value:
            yield Change(name, before[name], value, new=False)
    for name, value in before.items():
        # A JSON object is replaced whole: what it held and holds no more has gone.
        root = name.partition(".")[0]
        if name not in said and (root in said or any(other.startswith(f"{root}.") for other in said)):
            yield Change(name, value, None, new=False, gone=True)


def _merge(before: dict[str, Any], said: Mapping[str, Any]) -> None:
    roots = {name.partition(".")[0] for name in said}
    for name in [name for name in before if name.partition(".")[0] in roots]:
        del before[name]
    before.update(said)


def _flat(fields: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the fields, those inside JSON objects by their path."""
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[above + name] = value
    return flat


def _what(kind: str) -> str:
    return kind.split(".")[1]


def kind_of_entry(entry: Entry) -> str:
    """Return what an entry is about, as a person says it: the subject where it is not the stream itself."""
    return entry.subject if entry.subject != own_id(entry.stream) else ""
