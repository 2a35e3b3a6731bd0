"""How often Python looks for cycles: rarely, as what these processes keep is long-lived and makes none.

With the default, a collection comes every 700 objects and walks over what is kept again and again: a fifth of the time
that sequencing takes. Reference counting frees all the same; what waits longer is a failed request's traceback.
"""

from __future__ import annotations

import gc

_YOUNG = 50_000
_MIDDLE, _OLD = 20, 100


def collect_rarely() -> None:
    """Set the collector; every process calls it once."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
