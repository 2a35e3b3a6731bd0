"""Exports: the facts of a log as JSON Lines, byte for byte, with a manifest that says what they are (docs/audit.md).

1. `facts.jsonl` has a line a fact: `{"headers": {…}, "value": "…"}`, the value as the very text that its link covers.
   No erased fact is in it, also where the log has not compacted it away yet.
2. Facts stand in the order of their sources and slots, so each slot's are in the order of their ordinals, and those of
   a command are together; the same facts give the same file, however many partitions the log has.
3. `manifest.json` is written last: an export without one was interrupted. It says what was chosen, counts by type, the
   SHA-256 of the lines, and each slot's number of facts and root (`heads`), which a whole export proves by itself.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mnemolog.audit.found import Found
from mnemolog.audit.manifests import manifest_text, parsed_manifest
from mnemolog.audit.moment import Moment
from mnemolog.audit.reading import Facts, pages
from mnemolog.audit.walk import Walk
from mnemolog.domain import canonical
from mnemolog.domain.audits import Told, silent
from mnemolog.domain.errors import Corrupt, Malformed, Unavailable
from mnemolog.domain.record import CONTROL_KEY, FactRecord, Position
from mnemolog.domain.streams import fact_key

FORMAT = "mnemolog/export/1"
FACTS, MANIFEST = "facts.jsonl", "manifest.json"

Chosen = Callable[[FactRecord], bool]


@dataclass(slots=True)
class Manifest:
    """What an export says of itself; `whole` if nothing was left out, so that it can be imported."""

    created: str
    chosen: dict[str, str]
    epoch: int = 0
    facts: int = 0
    sha256: str = ""
    types: dict[str, int] = field(default_factory=dict)
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all facts are there."""
        return not self.chosen

    def text(self) -> bytes:
        """Return the manifest file."""
        return manifest_text(FORMAT, self)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a manifest. Raises Malformed."""
        return parsed_manifest(FORMAT, cls, raw)


async def export(
    log: Facts,
    partitions: int,
    folder: Path,
    manifest: Manifest,
    wanted: Chosen = lambda _: True,
    told: Told = silent,
) -> Manifest:
    """Write an export into an empty folder.

    Raises Corrupt if the log does not hold together, Unavailable if something was erased meanwhile.

    1. Walk every partition: what is exported is whole, and its heads are known.
    2. Write what is wanted, merged by source; then the manifest.
    """
    found, heads, gone = Found(), dict[int, tuple[int, bytes]](), set[str]()
    ends, there = list[int](), 0
    for partition in range(partitions):
        walk = Walk(partition, partitions, found)
        end = 0
        async for page in pages(log, partition, told=told):
            walk.take(page)
            gone.update(record.key for record in page if record.value is None)
            end = page[-1].offset + 1
        walk.finish()
        ends.append(end)
        there += walk.facts
        heads |= walk.heads()
        manifest.epoch = max(manifest.epoch, walk.position.epoch)
    if found.count:
        message = f"the log does not hold together, run mnemolog audit verify: {found.said[0]}"
        raise Corrupt(message)
    digest, types = hashlib.sha256(), Counter[str]()
    sources = {partition: placed(log, partition, ends[partition]) for partition in range(partitions)}
    with (folder / FACTS).open("wb") as file:
        async for record in merged(sources):
            there -= 1
            if record.key in gone or not wanted(record):
                continue
            text = line(record)
            file.write(text)
            digest.update(text)
            types[record.headers["ce_type"]] += 1
            manifest.facts += 1
    if there:
        message = "something was erased while it was exported; export again"
        raise Unavailable(message)
    manifest.sha256, manifest.types = digest.hexdigest(), dict(sorted(types.items()))
    if manifest.whole:
        manifest.heads = {str(s): {"facts": size, "root": root.hex()} for s, (size, root) in sorted(heads.items())}
    (folder / MANIFEST).write_bytes(manifest.text() + b"\n")
    return manifest


def line(record: FactRecord) -> bytes:
    """Return a fact as a line."""
    value = (record.value or b"").decode()
    return canonical.dumps({"headers": dict(record.headers), "value": value}) + b"\n"


def read(folder: Path) -> Iterator[FactRecord]:
    """Yield the facts of an export. Raises Malformed for a line that is none."""
    with (folder / FACTS).open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                said = canonical.reread(text)
                headers = {str(name): str(value) for name, value in said["headers"].items()}
                key = fact_key(headers["stream"], int(headers["version"]))
                yield FactRecord(key, headers, said["value"].encode())
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                message = f"line {number} of {FACTS} is not a fact"
                raise Malformed(message) from error


def opened(folder: Path) -> Manifest:
    """Return the manifest of an export whose lines are those that it speaks of. Raises Malformed."""
    try:
        manifest = Manifest.parse((folder / MANIFEST).read_bytes())
        digest = hashlib.sha256()
        with (folder / FACTS).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        message = f"{folder} is not a complete export: {error.strerror} ({Path(str(error.filename)).name})"
        raise Malformed(message) from error
    if digest.hexdigest() != manifest.sha256:
        message = f"{FACTS} is not the file that the manifest speaks of"
        raise Malformed(message)
    return manifest


def until(moment: Moment, wanted: Chosen) -> Chosen:
    """Return a choice of what happened by a moment only."""
    return lambda record: moment.covers(record) and wanted(record)


def since(moment: Moment, wanted: Chosen) -> Chosen:
    """Return a choice of what happened at a moment or later only."""
    return lambda record: moment.precedes(record) and wanted(record)


Placed = tuple[Position, int, int, int, FactRecord]
"""Source, slot, ordinal and partition of a fact, and the fact: the order of facts in every log."""


async def placed(log: Facts, partition: int, below: int) -> AsyncIterator[Placed]:
    """Yield the facts of a partition below an offset, with their places."""
    if below:
        async for page in pages(log, partition, 0, below):
            for record in page:
                if record.value is not None and record.key != CONTROL_KEY:
                    at = int(record.headers["slot"]), int(record.headers["ordinal"])
                    yield Position.parse(record.headers["source"]), *at, partition, record


async def merged(
    sources: Mapping[int, AsyncIterator[Placed]],
) -> AsyncIterator[FactRecord]:
    """Yield the facts of these partitions by source, then slot: the same order for any number of partitions."""
    heads: list[Placed] = []
    for source in sources.values():
        async for first in source:
            heapq.heappush(heads, first)
            break
    while heads:
        *_, partition, record = heapq.heappop(heads)
        yield record
        async for following in sources[partition]:
            heapq.heappush(heads, following)
            break
