"""`mnemolog audit show`: the history of a stream, of an owner, or of what one command did."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from mnemolog.audit.history import Entry, history, owned
from mnemolog.audit.reading import About, collected
from mnemolog.audit.telling import lines
from mnemolog.domain.catalogue import FACTS
from mnemolog.domain.erasure import Erased
from mnemolog.domain.record import FactRecord
from mnemolog.runtime.audited import Audited, audited
from mnemolog.runtime.config import BadConfiguration, Settings
from workers.log_sqlite import SqliteLog

_ERASED = {name for name, kind in FACTS.items() if issubclass(kind, Erased)}


async def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print the entries that the options ask for, oldest first; 1 if there are none."""
    about = asked(options)
    async with audited(settings) as here:
        entries, unknown = await _entries(here, about)
    for entry in entries:
        text = json.dumps(entry.plain(), ensure_ascii=False) if options.json else "\n".join(lines(entry))
        sys.stdout.write(text + "\n")
    if unknown:
        plural = "streams" if unknown > 1 else "stream"
        sys.stderr.write(f"{unknown} {plural} in this owner's slot erased to the end: whose is not known any more\n")
    if not entries:
        sys.stderr.write("the log knows of no such thing\n")
        return 1
    return 0


def asked(options: argparse.Namespace) -> About:
    """Return what the options ask about. Raises BadConfiguration unless it is one thing."""
    owner = (options.tenant, options.agent, options.invoker)
    given = [options.stream is not None, any(part is not None for part in owner), options.command is not None]
    if sum(given) != 1:
        message = "name one thing: a stream or an id, --command, or --tenant with --agent and --invoker"
        raise BadConfiguration(message)
    if not given[1]:
        return About(stream=options.stream, command=options.command)
    tenant, agent, invoker = owner
    if tenant is None or agent is None or invoker is None:
        message = "an owner is a --tenant, an --agent and an --invoker"
        raise BadConfiguration(message)
    return About(owner=(tenant, agent, invoker))


async def _entries(here: Audited, about: About) -> tuple[Sequence[Entry], int]:
    where = about.partitions(here.partitions)
    if about.command is not None:
        return await _of_command(here, where, about.command), 0
    if about.stream is not None and "/" in about.stream and isinstance(here.log, SqliteLog):
        return history(_present(await here.log.stream(about.stream))), 0
    records = await collected(here.log, where, about.wants)
    if about.owner is not None:
        mine, unknown = owned(records, *about.owner[1:])
        return history(mine), unknown
    return [entry for entry in history(records) if entry.took or about.names(entry.stream, entry.subject)], 0


async def _of_command(here: Audited, where: Sequence[int], command: str) -> Sequence[Entry]:
    """Return what a command did: its streams are read whole, as a change is told by what was there before."""

    def touched(record: FactRecord) -> bool:
        if not record.value or "stream" not in record.headers:
            return False
        took = record.headers["ce_type"] in _ERASED and command.encode() in record.value
        return took or record.headers["command"] == command

    streams = {record.headers["stream"] for record in await collected(here.log, where, touched)}
    records = await collected(here.log, where, lambda record: record.headers.get("stream") in streams)
    return [entry for entry in history(_present(records)) if entry.command == command]


def _present(records: Iterable[FactRecord]) -> list[FactRecord]:
    return [record for record in records if record.value is not None]
