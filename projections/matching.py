"""Matches: what `Match` means, said once for every store (wire contract §2: literal, case-sensitive).

A store may look for `trace` in a row's stored JSON first, and so pass over most rows unread; `fits` has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence

from mnemolog.domain import canonical
from mnemolog.domain.ports import Match, Row


def fits(row: Row, matches: Sequence[Match]) -> bool:
    """Tell whether a row holds all that is asked; a field that is no text never matches."""
    return all(_one(row.get(match.field), match) for match in matches)


def _one(value: object, match: Match) -> bool:
    if not isinstance(value, str):
        return False
    return value == match.text if match.how == "equals" else match.text in value


def trace(match: Match) -> str:
    """Return what stands in the compact JSON text of every row that fits, wherever else it may stand too.

    JSON escapes character by character, so a part of a text is escaped to a part of the escaped text.
    """
    spelled = canonical.text(match.text)
    return spelled if match.how == "equals" else spelled[1:-1]
