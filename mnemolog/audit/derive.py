"""Re-derivation: the kept commands decided once more, and what comes of it compared with the facts, byte by byte.

1. Facts of commands that are not kept any more are folded; from the first kept one on, each command is decided on the
   state as the commands before it left it, and must give the very records that the log holds (design §5).
2. A fact that is not there any more must have been taken by an `Erased` that keeps the very link that is derived.
3. Where an erasure has taken what a decision depended on, and the command that brought it is gone too, the slot is
   *torn*: until the last `Erased` that took any of it, facts are folded as they stand, and not compared. By the law of
   holes the state is right again from there on. What was folded instead of derived is counted.
4. A decision asks for nothing of another slot: a partition's slots may be shared among processes, each with a state of
   its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

from mnemolog.audit.found import Found
from mnemolog.audit.reading import Facts, pages
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.codec import decode_command, decode_fact
from mnemolog.domain.decider import Sealed, decide
from mnemolog.domain.decision import Delta, Seen
from mnemolog.domain.erasure import Erased
from mnemolog.domain.errors import Malformed
from mnemolog.domain.fact import Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.ids import partition_of
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord, Position, named
from mnemolog.domain.rules import Rules

_PAGE = 500
_SAVE_AT = 20_000
"""Seldom, as a stream that has changed twice is then saved once; yet some 30 MB of what is new are all that is held."""


class Folding(Seen, Protocol):
    """A state that facts are folded into; `save` lets it keep what is new where that costs less."""

    def expect(self, commands: Sequence[tuple[int, str]]) -> None:
        """Hear which commands, each with its slot, are decided next."""
        ...

    def apply(self, delta: Delta) -> None:
        """Take over what a fact changes."""
        ...

    @property
    def unsaved(self) -> int:
        """How much is new since the last save."""
        ...

    def save(self) -> None:
        """Hand everything new over."""
        ...


@dataclass(slots=True)
class Derived:
    """How many facts were derived anew and equal, and how many only folded."""

    equal: int = 0
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Walked:
    """What the walk of a partition says to whoever derives it, where it found nothing wrong.

    Facts lie below offset `end`; commands below `position` are decided, `last` is the id of the last of them. `sizes`
    are how many facts each slot has had, `holes` those of each slot that has any (`Walk.holes`).
    """

    end: int
    position: Position
    last: str
    sizes: Mapping[int, int]
    holes: Mapping[int, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Share:
    """Of a partition's slots those that are derived here: all of them, or what `whose` says is this number's."""

    partition: int
    partitions: int
    number: int = 0
    whose: Mapping[str, int] | None = None

    def __str__(self) -> str:
        """Return what a progress bar says."""
        return f"partition {self.partition}" + ("" if self.whose is None else f", share {self.number + 1}")

    def has(self, slot: str) -> bool:
        """Tell whether a slot, as a record names it, is of this share; one without facts is of the first."""
        return self.whose is None or self.whose.get(slot, 0) == self.number


def shares(partition: int, partitions: int, walked: Walked, count: int) -> list[Share]:
    """Share a partition's slots out, each with about as many facts: the largest first, to who has least."""
    whose: dict[str, int] = {}
    loads = [0] * count
    for slot, size in sorted(walked.sizes.items(), key=lambda one: -one[1]):
        least = loads.index(min(loads))
        whose[str(slot)] = least
        loads[least] += size
    return [Share(partition, partitions, number, whose) for number in range(count)]


@dataclass(slots=True)
class _Ahead:
    """The facts of a share, taken up to a source."""

    pages: AsyncIterator[Sequence[FactRecord]]
    share: Share
    page: list[FactRecord] = field(default_factory=list)
    sources: list[Position] = field(default_factory=list)
    at: int = 0

    async def below(self, limit: Position | None) -> list[FactRecord]:
        """Return the next facts whose source is below a limit, all of them without one."""
        found: list[FactRecord] = []
        while True:
            page, sources, at = self.page, self.sources, self.at
            while at < len(page) and (limit is None or sources[at] < limit):
                at += 1
            found += page[self.at : at]
            self.at = at
            if at < len(page):
                return found
            try:
                following = await anext(self.pages)
            except StopAsyncIteration:
                return found
            facts = [record for record in following if record.value is not None and record.key != CONTROL_KEY]
            self.page = [record for record in facts if self.share.has(record.headers["slot"])]
            self.sources = [_source(record) for record in self.page]
            self.at = 0


class Derive:
    """The re-derivation of a share of a partition; `rules` are all that may have held."""

    def __init__(
        self,
        share: Share,
        state: Folding,
        rules: Sequence[Rules],
        found: Found,
        seen: Callable[[Fact], None] | None = None,
    ) -> None:
        """Take a state that knows nothing, whom to tell, and who, if anybody, wants to see each fact."""
        self._share = share
        self._state = state
        self._rules = rules
        self._by_hash = {one.hash: one for one in rules}
        self._found = found
        self._seen = seen
        self._torn: dict[int, int] = {}
        self._holes: Mapping[int, Sequence[tuple[int, int]]] = {}
        self._awaited: dict[tuple[str, int], bytes] = {}
        self.done = Derived()

    async def run(self, log: Facts, walked: Walked, told: Told = silent) -> None:
        """Fold the facts whose commands are not kept, then derive the others."""
        share, decided = self._share, walked.position
        self._holes = walked.holes
        facts = _Ahead(pages(log, share.partition, 0, walked.end), share)
        first, following = await log.bounds(share.partition)
        if decided.offset > following and share.number == 0:
            self._found.wrong(
                f"facts speak of commands up to offset {decided.offset}, but the command log ends at {following}"
            )
        at, oldest = first, Position(decided.epoch, first)
        while at < decided.offset:
            commands = await log.commands(share.partition, at, _PAGE)
            mine = [command for command in commands if share.has(command.key) and command.offset < decided.offset]
            self._state.expect(named(mine))
            for command in mine:
                await self._one(command, Position(decided.epoch, command.offset), facts, oldest)
            self._ends(commands, walked)
            at = commands[-1].offset + 1 if commands else decided.offset
            told(f"derive {share}", min(at, decided.offset) - first, decided.offset - first)
        self._unexplained(await facts.below(None), oldest)
        for stream, version in self._awaited:
            self._found.wrong(f"{stream}@{version} follows from its command, but is neither there nor erased")

    def _ends(self, commands: Sequence[CommandRecord], walked: Walked) -> None:
        """See that the last command decided is the one that the facts say."""
        at = walked.position.offset - 1
        if self._share.number == 0 and commands and commands[0].offset <= at <= commands[-1].offset:
            identifier = next((one.headers.get("ce_id", "") for one in commands if one.offset == at), walked.last)
            if identifier != walked.last:
                source = Position(walked.position.epoch, at)
                self._found.wrong(f"the command at {source} is not the one that the facts say was decided there")

    def _unexplained(self, records: Sequence[FactRecord], first: Position) -> None:
        """Fold facts whose command is not there; from the first kept one on, it should be."""
        for record in records:
            if _source(record) >= first:
                self._found.wrong(f"fact {record.key} says it came from a command of its slot that is not there")
            self._fold(record)

    async def _one(self, command: CommandRecord, source: Position, facts: _Ahead, oldest: Position) -> None:
        records = await facts.below(Position(source.epoch, source.offset + 1))
        if records and _source(records[0]) < source:
            of = next((n for n, record in enumerate(records) if _source(record) >= source), len(records))
            self._unexplained(records[:of], oldest)
            records = records[of:]
        identifier = command.headers.get("ce_id", "")
        for record in records:
            if (record.headers["command"], record.headers["slot"]) != (identifier, command.key):
                self._found.wrong(f"fact {record.key} says it came from the command at {source}, which is another one")
        slot = int(command.key) if command.key.isascii() and command.key.isdigit() else -1
        at = self._state.slot(slot).ordinal
        if slot >= 0 and slot not in self._torn:
            self._torn[slot] = self._tear(slot, 0, at, at)
        if slot >= 0 and at > self._torn[slot] and command.value is None:
            following = max((int(r.headers["ordinal"]) + 1 for r in records), default=0)
            self._torn[slot] = self._tear(slot, at, max(at, following), at)
        foreign = not self._by_hash.keys() >= {record.headers["rules"] for record in records}
        if slot < 0 or command.value is None or foreign or at <= self._torn[slot]:
            for record in records:
                self._fold(record)
            return
        self._compare(self._decided(command, source, records), records, source)

    def _tear(self, slot: int, first: int, below: int, now: int) -> int:
        """Return the ordinal of the last `Erased` that took what cannot be derived; -1 if nothing was taken.

        What cannot be derived are the ordinals from `first` to `below`, and those behind that are gone as well; and,
        until the state is right again, all that erasures have taken meanwhile.
        """
        holes = self._holes.get(slot, ())
        at = bisect_left(holes, (below, -1))
        while at < len(holes) and holes[at][0] == below:
            below, at = below + 1, at + 1
        top = -1
        for took, erased in holes[bisect_left(holes, (first, -1)) :]:
            if took >= below:
                break
            if erased >= now:
                top = max(top, erased)
                below = max(below, erased)
        return top

    def _decided(self, command: CommandRecord, source: Position, records: Sequence[FactRecord]) -> Sealed:
        """Return what a command gives; of several rules those that the facts name, or under which there are none."""
        held = [self._by_hash[records[0].headers["rules"]]] if records else self._rules
        sealed: Sealed = []
        for rules in held:
            try:
                envelope = decode_command(command)
                if partition_of(envelope.slot, self._share.partitions) != self._share.partition:
                    return []
                result = decide(self._state, envelope, command.time, source, rules)
            except Malformed:
                return []
            except Exception:  # noqa: BLE001 -- the sequencer set it aside, for the same reason
                return []
            sealed = result if isinstance(result, list) else []
            if not sealed:
                break
        return sealed

    def _compare(self, derived: Sealed, records: Sequence[FactRecord], source: Position) -> None:
        there = {record.key: record for record in records}
        for fact, record in derived:
            actual = there.pop(record.key, None)
            if actual is None:
                self._missing(fact)
            elif actual.value != record.value or actual.headers != record.headers:
                self._found.wrong(f"fact {record.key} is not what the command at {source} gives")
            else:
                self.done.equal += 1
                if self._seen is not None:
                    self._seen(fact.at(actual.offset))
            self._apply(fact)
        for key in there:
            self._found.wrong(f"fact {key} does not follow from the command at {source}")

    def _missing(self, fact: Fact) -> None:
        """A fact that was derived, but is not there: an `Erased` that comes later must have its link."""
        self._awaited[fact.stream, fact.version] = fact.link

    def _fold(self, record: FactRecord) -> None:
        try:
            fact = decode_fact(record)
        except Malformed as error:
            self._found.wrong(str(error))
            return
        self.done.folded += 1
        if self._seen is not None:
            self._seen(fact)
        self._apply(fact)

    def _apply(self, fact: Fact) -> None:
        if isinstance(fact.payload, Erased):
            for gone in fact.payload.took:
                link = self._awaited.pop((fact.stream, gone.version), None)
                if link is not None and link.hex() != gone.link:
                    self._found.wrong(f"{fact.stream}@{gone.version}: its erasure keeps another link than it had")
        self._state.apply(evolve(self._state, fact))
        if self._state.unsaved > _SAVE_AT:
            self._state.save()


def _source(record: FactRecord) -> Position:
    return _position(record.headers["source"])


@lru_cache(1_024)  # that of each fact is looked at several times
def _position(text: str) -> Position:
    return Position.parse(text)


def candidates(given: Rules, former: Sequence[Rules] = ()) -> tuple[Rules, ...]:
    """Return the rules that decisions may have been made under: the given ones, and those that held before.

    Each also with the other switch, and the given ones as they were before anybody signed.
    """
    known = (given, *former, replace(given, signers=(), authorities=()))
    both = [(rules, replace(rules, never_allowed=not rules.never_allowed)) for rules in known]
    return tuple(dict.fromkeys(rules for pair in both for rules in pair))
