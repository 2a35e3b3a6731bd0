"""Reading facts for an audit: a partition whole, in order, or only what a question is about.

An audit reads and never writes: this port has no method that changes a log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mnemolog.domain.audits import Told, silent
from mnemolog.domain.ids import parse_id, partition_of, slot_in, slot_of
from mnemolog.domain.message import MessageErased
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord
from mnemolog.domain.streams import kind_of, own_id, tenant_of

_PAGE = 2_000


class Facts(Protocol):
    """The part of the port `Log` that an audit uses."""

    async def facts(self, partition: int, start: int, limit: int) -> Sequence[FactRecord]:
        """Return at most `limit` records of the fact topic from `start` on."""
        ...

    async def end(self, partition: int) -> int:
        """Return the offset below which every fact record lies."""
        ...

    async def commands(self, partition: int, start: int, limit: int) -> Sequence[CommandRecord]:
        """Return at most `limit` commands from offset `start` on."""
        ...

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the command topic still has, and the one that comes next."""
        ...


async def pages(
    log: Facts, partition: int, start: int = 0, below: int | None = None, told: Told = silent
) -> AsyncIterator[Sequence[FactRecord]]:
    """Yield the records of a partition from `start` on, below an offset or the end that the log has now.

    What comes meanwhile is left: under load something always does.
    """
    end = await log.end(partition)
    below = end if below is None else min(below, end)
    while start < below:
        page = await log.facts(partition, start, _PAGE)
        if page and page[-1].offset >= below:
            page = [record for record in page if record.offset < below]
        if not page:  # only markers are left
            return
        start = page[-1].offset + 1
        told(f"partition {partition}", start, below)
        yield page


@dataclass(frozen=True, slots=True)
class About:
    """What a question is about: a stream by name or by an id in it, an owner's slot, a tenant, a command."""

    stream: str | None = None
    tenant: str | None = None
    owner: tuple[str, str, str] | None = None
    command: str | None = None

    def partitions(self, partitions: int) -> Sequence[int]:
        """Return where the facts can be: one partition, wherever an id or an owner tells the slot."""
        slot = self.slot
        return range(partitions) if slot is None else (partition_of(slot, partitions),)

    @property
    def slot(self) -> int | None:
        """The only slot that the facts can be in, if that is known."""
        if self.owner is not None:
            return slot_of(*self.owner)
        if self.stream is None:
            return None
        if "/" in self.stream and kind_of(self.stream) in {"policy", "access"}:
            return slot_of(tenant_of(self.stream))
        known = parse_id(own_id(self.stream))
        return None if known is None else slot_in(known)

    def names(self, stream: str, subject: str) -> bool:
        """Tell whether an entry of a wanted stream is asked about: all of them are, or one message of its group."""
        alone = self.stream is not None and "/" not in self.stream and own_id(stream) != self.stream
        return not alone or subject == f"message/{self.stream}"

    def wants(self, record: FactRecord) -> bool:
        """Tell whether a record is a fact that the question may be about; an owner's are still to be told apart."""
        if record.key == CONTROL_KEY or record.value is None:
            return False
        headers = record.headers
        if self.stream is not None:
            name, message = headers["stream"], f"message/{self.stream}"
            mine = name == self.stream if "/" in self.stream else own_id(name) == self.stream
            # An erasure of several messages names them in its value only.
            taken = headers["ce_type"] == MessageErased.TYPE and message.encode() in record.value
            return mine or headers["ce_subject"] == message or taken
        if self.owner is not None:
            return headers["tenant"] == self.owner[0] and int(headers["slot"]) == self.slot
        return self.tenant is None or headers["tenant"] == self.tenant


async def collected(
    log: Facts, partitions: Sequence[int], wanted: Callable[[FactRecord], bool], told: Told = silent
) -> list[FactRecord]:
    """Return the records that are wanted, partition by partition, oldest first; those that null records name not."""
    found: list[FactRecord] = []
    gone: set[str] = set()
    for partition in partitions:
        async for page in pages(log, partition, told=told):
            found += [record for record in page if wanted(record)]
            gone.update(record.key for record in page if record.value is None)
    return [record for record in found if record.key not in gone]
