"""How many requests a tenant may make: a bucket of tokens each, filled at a rate, up to a burst (design §10).

1. A request is counted before anything is done for it; one that is refused has changed nothing, so a repeat is safe.
2. Nobody waits for another tenant's requests, and none is counted for another tenant.
3. Each process counts for itself: of two gateways behind one address, a tenant gets twice as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mnemolog.domain.times import SECOND

_MOST = 10_000
"""Buckets that are kept; beyond, those that are full again go, as a new one would be the same."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: int


class Limits:
    """The buckets of all tenants of this process."""

    def __init__(self, rate: int, burst: int = 0) -> None:
        """Take requests a second, 0 for no limit, and how many may come at once: twice the rate if nothing is said."""
        self._rate = rate
        self._burst = float(burst or 2 * rate)
        self._buckets: dict[str, _Bucket] = {}

    def refused(self, tenant: str, now: int) -> int:
        """Count a request at a time (µs): 0 lets it pass, else it comes back in so many seconds."""
        if not self._rate:
            return 0
        bucket = self._buckets.get(tenant)
        if bucket is None:
            if len(self._buckets) >= _MOST:
                self._tidy(now)
            bucket = self._buckets[tenant] = _Bucket(self._burst, now)
        bucket.tokens, bucket.at = self._filled(bucket, now), now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0
        return max(1, math.ceil((1 - bucket.tokens) / self._rate))

    def _filled(self, bucket: _Bucket, now: int) -> float:
        """Return a bucket's tokens now; a clock that was set back fills nothing."""
        return min(self._burst, bucket.tokens + self._rate * max(0, now - bucket.at) / SECOND)

    def _tidy(self, now: int) -> None:
        self._buckets = {t: b for t, b in self._buckets.items() if self._filled(b, now) < self._burst}
