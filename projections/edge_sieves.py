"""The sieves of owners that are searched often and have many memories: made when they pay, kept while there is room.

1. To read an owner's vectors takes about as long as a hundred searches take less afterwards, so an owner is searched
   so often before; one that has had to give way begins anew. Making sieves never costs more than they save.
2. A sieve is made beside the searches, from what the engine holds, and used once it is whole.
3. While it is made, and from then on, it hears of every change in the moment that the engine does.
4. Together they take a bounded number of bytes; the one that was asked longest ago gives way.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import cast

import numpy as np
import qdrant_edge as engine

from projections.sieve import Sieve, bytes_of, proven
from projections.vectors_points import OWNER

_log = logging.getLogger(__name__)
_BYTES = 128 << 20
OFTEN = 100
"""Searches of an owner before its vectors are read, or counted again if they were too few or too many."""
WORTH = 2_000
"""Memories of an owner from which on the engine's own scan takes longer than a sieve and a few exact scores."""
_PAGE = 100
"""Vectors that are read while writers wait: a millisecond."""
_PAUSE = 0.002
"""Seconds between two pages: a search meanwhile takes little longer, and 100,000 vectors three seconds."""
_KNOWN = 10_000
"""Owners whose searches are counted: of more, those who were searched longest ago begin anew."""

Vector = list[float]


class Sieves:
    """The sieves of one shard. `heard` is called by whoever writes, alone; all else by anyone who reads."""

    def __init__(
        self, shard: engine.EdgeShard, dimension: int, reading: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Take the shard, and how to read beside its writers."""
        self._shard = shard
        self._dimension = dimension
        self._packed = struct.Struct(f"{dimension}f").pack  # a third of the time that numpy takes for a list
        self._reading = reading
        self._lock = threading.Lock()
        self._made: OrderedDict[str, Sieve] = OrderedDict()
        self._making: dict[str, Sieve] = {}
        self._asked: OrderedDict[str, int] = OrderedDict()
        self._since = 0  # how often all have been forgotten
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="mnemolog-sieve")
        self._closed = not proven(dimension)
        if self._closed:
            _log.error("products of bytes are wrong on this processor: searches of many memories go on without sieves")

    def of(self, owner: str) -> Sieve | None:
        """Return an owner's sieve, if there is one."""
        with self._lock:
            sieve = self._made.get(owner)
            if sieve is not None:
                self._made.move_to_end(owner)
            return sieve

    def missed(self, owner: str) -> None:
        """Note that an owner is searched without a sieve; make one if that happens often."""
        with self._lock:
            if self._closed or owner in self._making or owner in self._made:
                return
            asked = self._asked.pop(owner, 0) + 1
            if asked >= OFTEN:
                self._making[owner] = Sieve(self._dimension)
                self._maker.submit(self._make, owner)
                return
            self._asked[owner] = asked
            if len(self._asked) > _KNOWN:
                self._asked.popitem(last=False)

    def heard(self, points: Mapping[uuid.UUID, tuple[str, Vector]], gone: Collection[uuid.UUID]) -> None:
        """Follow the engine: these points, with their owners, are new or other than before, and those have gone."""
        with self._lock:
            sieves = {**self._making, **self._made}
        for sieve in sieves.values():
            for key in gone:
                sieve.drop(key)
        for owner in {owner for owner, _ in points.values()} & sieves.keys():
            mine = {key: vector for key, (whose, vector) in points.items() if whose == owner}
            sieves[owner].put(list(mine), np.asarray(list(mine.values()), np.float32))
        with self._lock:
            self._fit()

    def forget(self) -> None:
        """Let all of them go, those that are being made as well: the engine may hold other things than were heard."""
        with self._lock:
            self._made.clear()
            self._since += 1

    def close(self) -> None:
        """Make no more, and wait until nothing is being made."""
        with self._lock:
            self._closed = True
        self._maker.shutdown(cancel_futures=True)

    def _make(self, owner: str) -> None:
        """Read an owner's vectors, if it has enough of them and there is room for all."""
        whole, since = False, self._since
        try:
            mine = engine.Filter(must=[engine.FieldCondition(OWNER, match=engine.MatchValue(owner))])
            with self._reading():
                members = self._shard.count(engine.CountRequest(filter=mine))
            if WORTH <= members <= _BYTES // bytes_of(self._dimension) * 2 // 3:
                whole = self._read(mine, self._making[owner])
        except Exception:  # noqa: BLE001 -- whatever it is, searches have the engine's own scan
            _log.exception("a sieve cannot be made, and searches go on without it")
        finally:
            with self._lock:
                sieve = self._making.pop(owner)
                if whole and since == self._since:
                    self._made[owner] = sieve
                    self._fit()

    def _read(self, mine: engine.Filter, sieve: Sieve) -> bool:
        """Put all that the engine holds of an owner into its sieve; False if that is no longer wanted."""
        following = None
        while not self._closed:
            request = engine.ScrollRequest(
                offset=following, limit=_PAGE, filter=mine, with_payload=False, with_vector=True
            )
            with self._reading():
                records, following = self._shard.scroll(request)
                vectors = [self._packed(*cast("Vector", record.vector)) for record in records]
                rows = np.frombuffer(b"".join(vectors), np.float32).reshape(-1, self._dimension)
                sieve.put([uuid.UUID(str(record.id)) for record in records], rows)
            if following is None:
                return True
            time.sleep(_PAUSE)
        return False

    def _fit(self) -> None:
        """Let the sieve go that was asked longest ago, until the others have room."""
        size = sum(sieve.size for sieve in self._made.values())
        while size > _BYTES:
            size -= self._made.popitem(last=False)[1].size
