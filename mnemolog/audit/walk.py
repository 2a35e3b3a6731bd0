"""The walk: a partition's fact records in order, each chain, version and ordinal checked, across the holes of erasure.

1. A fact's link is computed from its bytes and continues its stream's chain, or the fact has been altered.
2. Versions and ordinals are gapless: what is not there was taken by an `Erased`, whose links the chain then goes on by.
3. In the log, the ordinals of a slot rise, and so do sources: nothing was swapped.
4. A null record names a fact that an `Erased` has taken: nothing else may go.
5. For each slot, a tree over its links gives the roots that signed heads are compared with (design §8).

One pass, a page at a time; it keeps a head per stream, and links only around holes that are not explained yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from mnemolog.audit.found import Found
from mnemolog.domain import canonical, chain
from mnemolog.domain.catalogue import FACTS
from mnemolog.domain.erasure import Erased
from mnemolog.domain.fact import SEALED
from mnemolog.domain.ids import partition_of
from mnemolog.domain.merkle import Tree
from mnemolog.domain.record import CONTROL_KEY, START, FactRecord, Position
from mnemolog.domain.streams import fact_key

_sealed = itemgetter(*SEALED)
_transport = itemgetter("ce_id", "ce_source", "ce_specversion", "content-type", "chain", "source")
_CONSTANTS = ("mnemolog", "1.0", "application/json")
_HEADERS = len(SEALED) + 6
_ERASED = {name for name, kind in FACTS.items() if issubclass(kind, Erased)}


@dataclass(slots=True)
class _Stream:
    """A chain up to the first version that is missing; `waiting` are links and chains said behind it."""

    chain: bytes
    next: int = 0
    last: str = ""
    waiting: dict[int, tuple[bytes, str]] = field(default_factory=dict)
    took: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Slot:
    """A slot's tree up to the first ordinal that is missing; `waiting` are links behind it."""

    tree: Tree = field(default_factory=Tree)
    waiting: dict[int, bytes] = field(default_factory=dict)
    last: int = -1
    roots: dict[int, bytes] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=list)


class Walk:
    """One partition's walk. `heads` are sizes of slots at which a root is wanted."""

    def __init__(
        self, partition: int, partitions: int, found: Found, heads: Mapping[int, Iterable[int]] | None = None
    ) -> None:
        """Take where this is, and whom to tell."""
        self._partition = partition
        self._partitions = partitions
        self._found = found
        self._heads = {slot: set(sizes) for slot, sizes in (heads or {}).items()}
        self._streams: dict[str, _Stream] = {}
        self._slots: dict[int, _Slot] = {}
        self._nulls: set[str] = set()
        self._taken: set[str] = set()
        self._source = (0, -1)
        self.facts = 0
        self.end = 0
        """The offset behind the last record."""
        self.position = START
        self.last = ""
        """The id of the command before `position`."""

    def take(self, records: Iterable[FactRecord]) -> None:
        """Walk on."""
        for record in records:
            self.end = record.offset + 1
            if record.value is None:
                self._nulls.add(record.key)
            elif record.key == CONTROL_KEY:
                self._control(record)
            else:
                try:
                    self._fact(record, record.value)
                except (KeyError, ValueError, TypeError):
                    self._found.wrong(f"the record {record.key} at offset {record.offset} is none of ours")

    def holes(self) -> dict[int, list[tuple[int, int]]]:
        """Return each slot's holes: the ordinal of each fact that is erased, and that of the `Erased` that took it."""
        return {slot: sorted(walked.holes) for slot, walked in self._slots.items() if walked.holes}

    def heads(self) -> dict[int, tuple[int, bytes]]:
        """Return each slot's number of facts and root, up to the first that is missing."""
        return {slot: (found.tree.size, found.tree.root()) for slot, found in sorted(self._slots.items())}

    def root(self, slot: int, size: int) -> bytes | None:
        """Return the root that a slot had at a size; None if it never came so far, or nobody wanted to know."""
        if size == 0:
            return Tree().root()
        return self._slots[slot].roots.get(size) if slot in self._slots else None

    def chain(self, stream: str) -> tuple[int, bytes]:
        """Return a stream's next version and its chain."""
        found = self._streams[stream]
        return found.next, found.chain

    def finish(self) -> None:
        """Say what is missing at the end of the log."""
        for name, stream in self._streams.items():
            if stream.waiting:
                there = sorted(stream.waiting)
                self._found.wrong(
                    f"stream {name}: no fact and no erasure for {_ranges(_gaps(stream.next, there))} of its versions"
                )
        for slot, walked in sorted(self._slots.items()):
            if walked.waiting:
                gaps = _gaps(walked.tree.size, sorted(walked.waiting))
                self._found.wrong(f"slot {slot}: no fact and no erasure for {_ranges(gaps)} of its ordinals")
        for key in sorted(self._nulls - self._taken):
            self._found.wrong(f"a null record takes {key}, but no erasure says so")

    # ---- one record --------------------------------------------------------------------------------------------------

    def _control(self, record: FactRecord) -> None:
        position = Position.parse(record.headers["position"])
        if position > self.position:
            self.position, self.last = position, record.headers["command"]

    def _fact(self, record: FactRecord, value: bytes) -> None:
        headers = record.headers
        sealed = _sealed(headers)
        kind, time, _, tenant, name, version_text, slot_text, ordinal_text, command, *_ = sealed
        version, slot, ordinal = int(version_text), int(slot_text), int(ordinal_text)
        identifier, *constants, said, source_text = _transport(headers)
        if (
            kind not in FACTS
            or record.key != f"{name}@{version_text}"
            or identifier != record.key
            or tuple(constants) != _CONSTANTS
            or len(headers) != _HEADERS + ("traceparent" in headers)
            or not name.startswith(tenant + "/")
            or slot % self._partitions != self._partition
        ):
            self._unlike(record, slot)
        link = chain.link(sealed, hashlib.sha256(value).digest())
        self.facts += 1
        epoch, offset = source_text.split(":")
        source = (int(epoch), int(offset))
        if source < self._source:
            self._found.wrong(f"fact {record.key} at offset {record.offset} stands behind facts of later commands")
        elif source > self._source:
            self._source = source
            if (position := Position(source[0], source[1] + 1)) > self.position:
                self.position, self.last = position, command
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(chain.start(name))
        walked = self._slots.get(slot)
        if walked is None:
            walked = self._slots[slot] = _Slot()
        if kind in _ERASED:
            self._erasure(name, slot, ordinal, value)
        if ordinal <= walked.last:
            self._found.wrong(f"fact {record.key} at offset {record.offset} stands behind later facts of its slot")
        walked.last = ordinal
        self._ordered(slot, walked, ordinal, link, record.key)
        if time <= stream.last:
            self._found.wrong(f"fact {record.key} is not later than the one before it in its stream")
        stream.last = time
        self._chained(name, stream, version, link, said)

    def _unlike(self, record: FactRecord, slot: int) -> None:
        if partition_of(slot, self._partitions) != self._partition:
            self._found.wrong(f"fact {record.key} is of slot {slot}, which is not of partition {self._partition}")
        elif record.headers["ce_type"] not in FACTS:
            self._found.wrong(f"fact {record.key} is of a type that this version does not know")
        else:
            self._found.wrong(f"the headers of fact {record.key} at offset {record.offset} contradict each other")

    def _chained(self, name: str, stream: _Stream, version: int, link: bytes, said: str) -> None:
        if version < stream.next or version in stream.waiting or version in stream.took:
            self._found.wrong(f"fact {name}@{version} is there twice, or although it was erased before")
        elif version > stream.next:
            stream.waiting[version] = (link, said)
            self._catch_up(name, stream)
        else:
            self._link(name, stream, link, said)
            if stream.waiting:
                self._catch_up(name, stream)

    def _catch_up(self, name: str, stream: _Stream) -> None:
        """Go on over what was waiting, and over holes that an erasure explains."""
        while True:
            if (waiting := stream.waiting.pop(stream.next, None)) is not None:
                self._link(name, stream, *waiting)
            elif stream.next in stream.took:
                stream.chain = chain.extend(stream.chain, stream.took.pop(stream.next))
                stream.next += 1
            else:
                return

    def _link(self, name: str, stream: _Stream, link: bytes, said: str) -> None:
        computed = chain.extend(stream.chain, link)
        if computed.hex() != said:
            self._found.wrong(f"the chain of stream {name} breaks at version {stream.next}")
            computed = bytes.fromhex(said)
        stream.chain = computed
        stream.next += 1

    def _ordered(self, slot: int, walked: _Slot, ordinal: int, link: bytes, key: str) -> None:
        if ordinal < walked.tree.size or ordinal in walked.waiting:
            self._found.wrong(f"fact {key}: ordinal {ordinal} of slot {slot} is there twice")
            return
        if ordinal != walked.tree.size:
            walked.waiting[ordinal] = link
            return
        following: bytes | None = link
        while following is not None:
            walked.tree.append(following)
            if slot in self._heads and walked.tree.size in self._heads[slot]:
                walked.roots[walked.tree.size] = walked.tree.root()
            following = walked.waiting.pop(walked.tree.size, None) if walked.waiting else None

    def _erasure(self, name: str, slot: int, ordinal: int, value: bytes) -> None:
        """Take from an `Erased` what it keeps of facts that are not there any more."""
        stream, walked = self._streams[name], self._slots[slot]
        for gone in canonical.reread(value)["body"]["took"]:
            version, before, link = int(gone["version"]), int(gone["ordinal"]), bytes.fromhex(gone["link"])
            self._taken.add(fact_key(name, version))
            walked.holes.append((before, ordinal))
            if version >= stream.next and version not in stream.waiting:
                stream.took[version] = link
            if before >= walked.tree.size and before not in walked.waiting:
                self._ordered(slot, walked, before, link, fact_key(name, version))
        self._catch_up(name, stream)


def _gaps(first: int, there: list[int]) -> Iterator[tuple[int, int]]:
    for number in there:
        if number > first:
            yield first, number - 1
        first = number + 1


def _ranges(gaps: Iterator[tuple[int, int]]) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in gaps)
