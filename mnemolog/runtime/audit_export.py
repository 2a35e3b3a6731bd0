"""`mnemolog audit export` and `import`: out of either runtime, into either runtime."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mnemolog.audit.exports import Chosen, Manifest, export, since, until
from mnemolog.audit.history import owned
from mnemolog.audit.imports import bring_in
from mnemolog.audit.moment import Moment
from mnemolog.audit.reading import About, collected
from mnemolog.domain.errors import Unavailable
from mnemolog.domain.times import to_text
from mnemolog.runtime.audited import Audited, audited
from mnemolog.runtime.bar import Bar
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import Folder, SequencingLock, now

_CHOICES = ("stream", "tenant", "agent", "invoker", "since", "until")
_LIMITS = {"since": since, "until": until}


async def write(settings: Settings, options: argparse.Namespace) -> int:
    """Export what the options choose."""
    chosen = {name: value for name in _CHOICES if (value := getattr(options, name)) is not None}
    folder = _empty(options.folder)
    with Bar() as bar:
        async with audited(settings) as here:
            wanted = await _wanted(here, chosen)
            manifest = Manifest(to_text(now()), chosen)
            await export(here.log, here.partitions, folder, manifest, wanted, bar.tell)
    part = "" if manifest.whole else ", a part of the log"
    sys.stdout.write(f"{manifest.facts:,} facts in {folder}{part}\n")
    return 0


async def _wanted(here: Audited, chosen: dict[str, str]) -> Chosen:
    about = About(stream=chosen.get("stream"), tenant=chosen.get("tenant"))
    wanted: Chosen = about.wants
    if "agent" in chosen or "invoker" in chosen:
        if not {"tenant", "agent", "invoker"} <= chosen.keys() or "stream" in chosen:
            message = "an owner is a --tenant, an --agent and an --invoker, without --stream"
            raise BadConfiguration(message)
        about = About(owner=(chosen["tenant"], chosen["agent"], chosen["invoker"]))
        records = await collected(here.log, about.partitions(here.partitions), about.wants)
        mine = {record.key for record in owned(records, chosen["agent"], chosen["invoker"])[0]}
        wanted = lambda record: record.key in mine  # noqa: E731 -- a choice like the other
    for name, limited in _LIMITS.items():
        if name in chosen:
            try:
                wanted = limited(Moment.parse(chosen[name]), wanted)
            except ValueError:
                message = f"--{name} must be an ISO-8601 time or a position like 0:17, not {chosen[name]!r}"
                raise BadConfiguration(message) from None
    return wanted


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            return folder
        why = "it is not empty"
    except OSError as error:
        why = error.strerror or "it cannot be made"
    message = f"{folder} cannot take an export: {why}; name another folder"
    raise Unavailable(message)


async def take_in(settings: Settings, options: argparse.Namespace) -> int:
    """Import into the instance of the settings, which must be empty."""
    with Bar() as bar:
        if settings.runtime == "kafka":
            from mnemolog.runtime.kafka import cluster, prepare_client
            from workers.log_kafka import KafkaLog

            prepare_client()
            where = cluster(settings)
            remote = KafkaLog(where)
            try:
                facts = await bring_in(remote, where.partitions, options.folder, bar.tell)
            finally:
                await remote.close()
        else:
            folder = Folder(settings.data)
            with SequencingLock(folder):
                local = folder.log()
                try:
                    facts = await bring_in(local, 1, options.folder, bar.tell)
                finally:
                    await local.close()
    sys.stdout.write(f"{facts:,} facts imported; the server makes views and vectors from them at its next start\n")
    return 0
