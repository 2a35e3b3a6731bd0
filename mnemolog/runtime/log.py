"""`mnemolog log show`: the facts of a stream, or the newest of all, as a person reads them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from mnemolog.domain import canonical
from mnemolog.domain.record import CONTROL_KEY, FactRecord
from mnemolog.runtime.config import Settings
from mnemolog.runtime.folder import Folder
from workers.log_sqlite import SqliteLog

_POLL = 0.2
_PAGE = 1_000
_WIDTH = 160


async def show(settings: Settings, stream: str | None, *, last: int, follow: bool, as_json: bool) -> int:
    """Print facts, oldest first; with `follow`, go on until interrupted."""
    log = Folder(settings.data).log()
    try:
        records = await _chosen(log, stream, last)
        if not records and not follow:
            sys.stderr.write("there is no such fact yet\n" if stream else "the log is empty\n")
            return 1 if stream else 0
        _print(records, as_json=as_json)
        at = await log.end(0)
        while follow:
            fresh = await log.facts(0, at, _PAGE)
            _print([record for record in fresh if _of(record, stream)], as_json=as_json)
            at = fresh[-1].offset + 1 if fresh else at
            if not fresh:
                await asyncio.sleep(_POLL)
    finally:
        await log.close()
    return 0


async def _chosen(log: SqliteLog, stream: str | None, last: int) -> Sequence[FactRecord]:
    if stream is not None:
        return await log.stream(stream)
    end = await log.end(0)
    shown: list[FactRecord] = []
    reach = max(last, 1)
    while end > 0 and len(shown) < last:
        start = max(0, end - reach)
        shown = [record for record in await log.facts(0, start, end) if record.key != CONTROL_KEY][-last:]
        if start == 0:
            break
        reach *= 2
    return shown


def _of(record: FactRecord, stream: str | None) -> bool:
    if record.key == CONTROL_KEY:
        return False
    return stream is None or record.headers.get("stream", "").endswith(stream)


def _print(records: Sequence[FactRecord], *, as_json: bool) -> None:
    for record in records:
        sys.stdout.write((json.dumps(_plain(record), ensure_ascii=False) if as_json else line(record)) + "\n")
    sys.stdout.flush()


def line(record: FactRecord) -> str:
    """Return a fact as one line: position, time, stream and version, what happened, who did it, what it says."""
    headers = record.headers
    if record.value is None:
        return f"{record.offset:>6}  {'':27}  {record.key}  (erased: only this null record is left)"
    body = canonical.text(canonical.loads(record.value)["body"])
    shown = body if len(body) <= _WIDTH else body[: _WIDTH - 1] + "…"
    what = headers["ce_type"].split(".")[1]
    subject = headers["ce_subject"]
    entry = f" {subject}" if "/" in subject else ""
    return (
        f"{record.offset:>6}  {headers['ce_time']}  {headers['stream']}@{headers['version']}"
        f"  {what}{entry}  by {headers['actor']}  {shown}"
    )


def _plain(record: FactRecord) -> dict[str, Any]:
    value = None if record.value is None else canonical.loads(record.value)
    return {"offset": record.offset, "key": record.key, "headers": dict(record.headers), "value": value}
