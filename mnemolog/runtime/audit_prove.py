"""`mnemolog audit prove-erasure`: look everywhere for what was erased from a stream, and sign what was found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from mnemolog.audit import verifier
from mnemolog.audit.reading import About, collected
from mnemolog.audit.receipts import NothingErased, Scan, commands_left, receipt, scanned
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.streams import kind_of, own_id, tenant_of
from mnemolog.domain.times import to_text
from mnemolog.runtime.audit_sign import load_key
from mnemolog.runtime.audit_verify import stored_vectors, stored_views
from mnemolog.runtime.audited import Audited, audited
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import now
from projections import names


async def prove(settings: Settings, options: argparse.Namespace) -> int:
    """Write the receipt; 1 if anything is left, which the receipt then says."""
    key = load_key(settings)
    async with audited(settings) as here:
        stream, slot = await _stream(here, options.stream)
        (partition,) = About(stream=stream).partitions(here.partitions)
        scan = await scanned(here.log, partition, stream, slot)
        left = {"log": scan.left(), "commands": await commands_left(here.log, partition, scan.commands)}
    async with stored_views(settings) as views:
        keys = sorted(_rows(scan))
        left["views"] = len([row async for row in views.rows(partition, keys)])
    unseen = []
    if kind_of(stream) == "memory":
        try:
            left["vectors"] = await _points(settings, own_id(stream))
        except Unavailable as error:
            unseen.append(f"vectors: {error}")
    text = verifier.canonical(key.signed(receipt(scan, to_text(now()), left, unseen))).decode() + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, "utf-8")
    for where in (where for where, count in left.items() if count):
        sys.stderr.write(f"{left[where]} left in the {where}; a log's cleaner and the commands' retention take time\n")
    for where in unseen:
        sys.stderr.write(f"not looked at: {where}\n")
    return 1 if any(left.values()) else 0


async def _stream(here: Audited, named: str) -> tuple[str, int]:
    about = About(stream=named)
    for record in await collected(here.log, about.partitions(here.partitions), about.wants):
        return record.headers["stream"], int(record.headers["slot"])
    message = f"the log knows of no stream {named}"
    raise NothingErased(message)


def _rows(scan: Scan) -> Iterable[str]:
    """Return the keys of the rows that the erased entries had."""
    tenant, identifier = tenant_of(scan.stream), own_id(scan.stream)
    for subject in {one["subject"] for one in scan.erased.values()}:
        if subject.startswith("event/"):
            yield names.event(tenant, identifier, int(subject.removeprefix("event/")))
        elif subject.startswith("message/"):
            yield names.message(tenant, subject.removeprefix("message/"))
        else:
            yield scan.stream


async def _points(settings: Settings, memory: str) -> int:
    index = stored_vectors(settings)
    try:
        return len([point async for point in index.points() if point.id == memory])
    finally:
        await index.close()
