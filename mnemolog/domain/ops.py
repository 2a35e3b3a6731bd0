"""What a view asks of a store: five operations as data, idempotent by key.

A view never sees what was there before: neither an update nor `Erased` says it. So:

1. `Put` merges fields into the row under its key, and makes the row if there is none.
2. `Rank` sets the row's one place in a family of indexes, leaving the former one; `Rescore` keeps the index and moves
   the row within it, and does nothing where it has no place (ADR 1).
3. `Unrank` takes the row out of a family; `Drop` out of all of them, with its fields.
4. There is no increment: a count is the number of rows in an index (design §6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Put(NamedTuple):
    """Merge `fields` (JSON values) into the row `key`."""

    key: str
    fields: Mapping[str, Any]


class Rank(NamedTuple):
    """Place the row `key` in the index `into` with `score`; within `family` it has this place only."""

    key: str
    family: str
    into: str
    score: int


class Rescore(NamedTuple):
    """Give the row `key` another score in the index of `family` that it stands in, if any."""

    key: str
    family: str
    score: int


class Unrank(NamedTuple):
    """Take the row `key` out of the index of `family` that it stands in, if any."""

    key: str
    family: str


class Drop(NamedTuple):
    """Remove the row `key` and all its places."""

    key: str


Op = Put | Rank | Rescore | Unrank | Drop
