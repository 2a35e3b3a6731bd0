"""`mnemolog audit usage`: who read what, when and how often."""

from __future__ import annotations

import argparse
import json
import sys

from mnemolog.domain.times import from_text, to_text
from mnemolog.domain.usage import UsageRecord, UsageWanted
from mnemolog.runtime.audited import existing
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.usage import usage_log

_MOST = 1_000


async def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print the newest records that the options ask for, the oldest of them first; 1 if there are none."""
    wanted = UsageWanted(
        options.tenant,
        options.agent,
        options.invoker,
        options.stream,
        options.actor,
        _instant("--since", options.since),
        _instant("--before", options.before),
    )
    limit = _MOST if options.limit is None else options.limit
    if limit < 1:
        message = f"--limit must be 1 or more, not {limit}"
        raise BadConfiguration(message)
    if settings.runtime != "kafka":
        existing(settings)
    async with usage_log(settings) as usage:
        records = await usage.records(wanted, limit)
        more = await usage.count(wanted) - len(records) if len(records) == limit else 0
    for record in records:
        text = json.dumps(record.plain(), ensure_ascii=False) if options.json else _line(record)
        sys.stdout.write(text + "\n")
    if more > 0:
        sys.stderr.write(f"{more} older records are not shown; see --limit\n")
    if not records:
        sys.stderr.write("nobody has read anything of this kind\n")
        return 1
    return 0


def _line(record: UsageRecord) -> str:
    scope = record.scope
    parts = [("agent", scope.agent), ("invoker", scope.invoker), ("", scope.stream)]
    where = " ".join(f"{name} {text}".strip() for name, text in parts if text is not None) or "the whole tenant"
    times = to_text(record.first)[:19] + "Z" + ("" if record.calls == 1 else f" … {to_text(record.last)[11:19]}Z")
    said = "".join(f"\n  {query}" for query in record.queries)
    counts = f"{record.calls} calls, {record.found} found"
    return f"{times}  {record.tenant}  {record.actor}  {record.action} of {where}: {counts}{said}"


def _instant(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else from_text(text)
    except ValueError:
        message = f"{option} must be an ISO-8601 time such as 2026-11-21T02:00:00Z, not {text!r}"
        raise BadConfiguration(message) from None
