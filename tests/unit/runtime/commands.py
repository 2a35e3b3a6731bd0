"""What tests of the command line share: what a command left behind, and what lies in its folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.record import FactRecord
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.schema import Command
from mnemolog.runtime.folder import Folder


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


def made(said: Said) -> dict[str, Any]:
    """Return the JSON that a command printed."""
    assert (said.code, said.err) == (0, "")
    value = json.loads(said.out)
    assert isinstance(value, dict)
    return value


def bring(data: Path, command: Command) -> None:
    """Put a command in the folder's log, for the next command that writes to decide."""

    async def append() -> None:
        log = Folder(data).log()
        _, following = await log.bounds(0)
        identifier = f"command-{following}"
        slot = slot_of_command("acme", identifier, command) or 0
        await log.append(0, [encode_command(Envelope(identifier, "acme", "client/sb", slot, bytes(32), command))])
        await log.close()

    asyncio.run(append())


def facts(data: Path) -> list[FactRecord]:
    """Return the folder's facts."""

    async def read() -> list[FactRecord]:
        log = Folder(data).log()
        records = await log.facts(0, 0, 1_000)
        await log.close()
        return list(records)

    return asyncio.run(read())
