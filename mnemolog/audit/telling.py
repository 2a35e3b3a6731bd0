"""How a person reads an audit: lines of text, differences instead of dumps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mnemolog.audit.history import Change, Entry, kind_of_entry
from mnemolog.domain import canonical
from mnemolog.domain.times import to_text

_WIDTH = 100
_CONTEXT = 20
_LONG = 60


def lines(entry: Entry) -> Iterator[str]:
    """Yield an entry as lines: where, when, what and who; then a line for each change."""
    about = kind_of_entry(entry)
    what = f"{entry.what} {about}".rstrip()
    position = entry.position or "-"
    time = "" if entry.time is None else to_text(entry.time)
    head = f"{position:>10}  {time:27}  {entry.stream}@{entry.version}  {what}"
    if entry.erased is not None:
        by = entry.erased
        yield f"{head}  erased {to_text(by.time)} by {by.actor} (command {by.command})"
        return
    yield f"{head}  by {entry.actor} (command {entry.command})"
    if entry.took:
        yield f"{'':41}takes {entry.took} fact{'s' if entry.took > 1 else ''}"
    for change in entry.changes:
        yield f"{'':41}{described(change)}"


def described(change: Change) -> str:
    """Return a change in one line; of two long texts only where they differ."""
    if change.new:
        return f"{change.field}: {_clipped(change.after)}"
    if change.gone:
        return f"{change.field}: {_clipped(change.before)} → gone"
    before, after = change.before, change.after
    if isinstance(before, str) and isinstance(after, str):
        before, after = _around(before, after)
    return f"{change.field}: {_clipped(before)} → {_clipped(after)}"


def _around(before: str, after: str) -> tuple[str, str]:
    """Return two texts without the beginning and the end that they share, but for a few characters."""
    if max(len(before), len(after)) <= _LONG:
        return before, after
    least = min(len(before), len(after))
    start = next((n for n in range(least) if before[n] != after[n]), least)
    end = next((n for n in range(least - start) if before[-1 - n] != after[-1 - n]), least - start)
    left, right = max(0, start - _CONTEXT), max(0, end - _CONTEXT)
    return tuple(  # type: ignore[return-value]
        ("…" if left else "") + text[left : len(text) - right] + ("…" if right else "") for text in (before, after)
    )


def _clipped(value: Any) -> str:
    text = canonical.text(value)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
