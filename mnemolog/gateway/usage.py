"""Counts reads for the usage log, in memory and at once: whoever reads never waits for it.

1. One record an hour for each tenant, actor, action and scope; it rolls, and under its key the newest wins.
2. What has changed since is taken every few seconds and written by somebody else; what could not be written is taken
   again with its counts of then.
3. Memory is bounded: of what is written, the oldest is let go for new; when all is unwritten, new reads are dropped and
   counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mnemolog.domain.ids import make_id
from mnemolog.domain.usage import HOUR, Action, UsageRecord, UsageScope, UsageWanted, slot_of_scope

_MOST = 10_000
_QUERIES = 20
_LOOKS = 16
"""How many of the oldest records are looked at for one to let go."""
_Of = tuple[str, str, Action, UsageScope]


@dataclass(slots=True)
class _Rolling:
    """A record as it grows."""

    record: UsageRecord
    calls: int = 0
    found: int = 0
    last: int = 0
    queries: tuple[str, ...] = ()

    def now(self) -> UsageRecord:
        return replace(self.record, last=self.last, calls=self.calls, found=self.found, queries=self.queries)


class Recorder:
    """The counts of one gateway. Several threads may call its methods; `used` never waits for anything.

    Whoever writes what was taken holds `writing` meanwhile, so that nothing is written that is being forgotten.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        *,
        queries: bool = False,
        most: int = _MOST,
    ) -> None:
        """Take the time in µs, random bytes, whether texts of queries are kept, and how many records at the most."""
        self.writing = threading.Lock()
        self.recorded = 0
        self.dropped = 0
        self._clock = clock
        self._entropy = entropy
        self._queries = queries
        self._most = most
        self._rolling: dict[_Of, _Rolling] = {}
        self._changed: set[_Of] = set()
        self._taken: dict[_Of, _Rolling] = {}
        self._lock = threading.Lock()

    def used(
        self, tenant: str, actor: str, action: Action, scope: UsageScope, found: int, query: str | None = None
    ) -> None:
        """Count a read of `found` things."""
        at, which = self._clock(), (tenant, actor, action, scope)
        with self._lock:
            rolling = self._rolling.get(which)
            if rolling is None or rolling.record.first // HOUR != at // HOUR:
                rolling = self._begun(which, at)
                if rolling is None:
                    self.dropped += 1
                    return
            self.recorded += 1
            rolling.calls += 1
            rolling.found += found
            rolling.last = max(at, rolling.last)
            if self._queries and query is not None and query not in rolling.queries:
                rolling.queries = (*rolling.queries, query)[-_QUERIES:]
            self._changed.add(which)

    def take(self) -> Sequence[UsageRecord]:
        """Return what has changed; say `written` or `unwritten` before the next."""
        with self._lock:
            self._taken = {which: self._rolling[which] for which in self._changed}
            self._changed = set()
            return [rolling.now() for rolling in self._taken.values()]

    def written(self) -> None:
        """Let go of what was taken, and of every record whose hour is over."""
        with self._lock:
            self._taken = {}
            hour = self._clock() // HOUR
            over = [which for which, rolling in self._rolling.items() if rolling.record.first // HOUR != hour]
            for which in over:
                if which not in self._changed:
                    del self._rolling[which]

    def unwritten(self) -> None:
        """Take again, the next time, what was taken; it may be an hour that is over by then."""
        with self._lock:
            for which, rolling in self._taken.items():
                if self._rolling.setdefault(which, rolling) is rolling:
                    self._changed.add(which)
                else:  # a new hour has begun for it: the old one cannot wait beside it
                    self.dropped += rolling.calls
            self._taken = {}

    def forget(self, wanted: UsageWanted) -> None:
        """Let go of records that are about to be removed, so that they are not written again."""
        with self.writing, self._lock:
            for which in [which for which, rolling in self._rolling.items() if wanted.fits(rolling.record)]:
                del self._rolling[which]
                self._changed.discard(which)

    def _begun(self, which: _Of, at: int) -> _Rolling | None:
        """Return a record that begins now; None if there is no room."""
        old = self._rolling.get(which)
        if old is not None and which in self._changed:
            # The hour has passed it by before it was taken: it goes on counting, into the hour of its first read.
            return old
        if old is None and len(self._rolling) >= self._most and not self._room():
            return None
        tenant, actor, action, scope = which
        key = make_id(at, slot_of_scope(tenant, scope), self._entropy(32), 0)
        rolling = _Rolling(UsageRecord(key, tenant, actor, action, scope, at, at, 0, 0))
        self._rolling.pop(which, None)
        self._rolling[which] = rolling
        return rolling

    def _room(self) -> bool:
        """Let go of one of the oldest records that is written."""
        for _, which in zip(range(_LOOKS), self._rolling, strict=False):
            if which not in self._changed and which not in self._taken:
                del self._rolling[which]
                return True
        return False
