"""Receipts: the proof that a stream's erased facts are gone, for somebody who has nothing but the receipt (design §7).

1. The erasures themselves are in it, as they stand in the log; they hold nothing that a caller wrote.
2. The links of the whole stream and of its whole slot are in it: the chain across the hole and the slot's root can be
   computed from them, and compared with heads that were signed before the erasure and after it.
3. `left` counts what was found under the erased keys: in the log, the kept commands, the views, the vectors; a place
   that could not be looked at is not in it, and named in `unseen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mnemolog.audit import verifier
from mnemolog.audit.reading import Facts, pages
from mnemolog.domain import canonical
from mnemolog.domain.catalogue import FACTS
from mnemolog.domain.erasure import Erased
from mnemolog.domain.errors import MnemologError
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.domain.streams import fact_key

_ERASED = {name for name, kind in FACTS.items() if issubclass(kind, Erased)}
_PAGE = 1_000


class NothingErased(MnemologError):
    """There is nothing to prove."""


class Scan:
    """What a receipt needs of a partition: the slot's links, the stream's, its erasures, and what is left."""

    def __init__(self, stream: str, slot: int) -> None:
        """Name the stream and its slot."""
        self.stream = stream
        self.slot = slot
        self.versions: dict[int, bytes] = {}
        self.ordinals: dict[int, bytes] = {}
        self.erasures: list[FactRecord] = []
        self.erased: dict[int, dict[str, Any]] = {}
        self.commands: set[str] = set()
        self.records = 0
        self._there: set[str] = set()

    def take(self, record: FactRecord) -> None:
        """Look at a record."""
        self.records += 1
        if record.value is None or record.key == CONTROL_KEY:
            return
        if int(record.headers["slot"]) != self.slot:
            return
        name, mine = record.headers["stream"], record.headers["stream"] == self.stream
        link = verifier.link_of(record.headers, record.value)
        self.ordinals[int(record.headers["ordinal"])] = link
        self._there.add(record.key)
        if mine:
            self.versions[int(record.headers["version"])] = link
        if record.headers["ce_type"] in _ERASED:
            self._erasure(record, record.value, mine=name == self.stream)

    def _erasure(self, record: FactRecord, value: bytes, *, mine: bool) -> None:
        for gone in canonical.reread(value)["body"]["took"]:
            link = bytes.fromhex(gone["link"])
            self.ordinals.setdefault(gone["ordinal"], link)
            if mine:
                self.versions.setdefault(gone["version"], link)
                self.erased[gone["version"]] = {name: gone[name] for name in ("version", "ordinal", "subject", "link")}
                if gone.get("command"):
                    self.commands.add(gone["command"])
        if mine:
            self.erasures.append(record)

    def left(self) -> int:
        """Return how many values stand under erased keys: the log's cleaner may be still to come."""
        return len({fact_key(self.stream, version) for version in self.erased} & self._there)


async def scanned(log: Facts, partition: int, stream: str, slot: int) -> Scan:
    """Scan a partition for a receipt. Raises NothingErased."""
    scan = Scan(stream, slot)
    async for page in pages(log, partition):
        for record in page:
            scan.take(record)
    if not scan.erased:
        message = f"nothing of {stream} has been erased"
        raise NothingErased(message)
    return scan


async def commands_left(log: Facts, partition: int, commands: set[str]) -> int:
    """Return how many of the kept commands that brought what is erased still have their value."""
    at, following = await log.bounds(partition)
    count = 0
    while at < following:
        records = await log.commands(partition, at, _PAGE)
        if not records:
            break
        count += sum(r.value is not None and r.headers.get("ce_id") in commands for r in records)
        at = records[-1].offset + 1
    return count


def receipt(scan: Scan, created: str, left: Mapping[str, int], unseen: Sequence[str]) -> dict[str, Any]:
    """Return a receipt, to be signed."""
    ordinals = [scan.ordinals[n] for n in range(len(scan.ordinals))]
    versions = [scan.versions[n] for n in range(len(scan.versions))]
    return {
        "format": verifier.RECEIPT,
        "created": created,
        "stream": scan.stream,
        "erased": [scan.erased[version] for version in sorted(scan.erased)],
        "erasures": [
            {"headers": dict(record.headers), "value": (record.value or b"").decode()} for record in scan.erasures
        ],
        "links": [link.hex() for link in versions],
        "chain": verifier.chain_of(scan.stream, versions).hex(),
        "slot": {
            "slot": scan.slot,
            "links": [link.hex() for link in ordinals],
            "root": verifier.root_of(ordinals).hex(),
        },
        "left": dict(left),
        "unseen": list(unseen),
    }
