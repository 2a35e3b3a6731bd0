"""How Python runs these processes; whoever composes one calls `set_up` once.

1. Cycles are looked for rarely, as what is kept is long-lived and makes none. By default a collection comes every 700
   objects and walks over what is kept again and again: a fifth of the time that sequencing takes. Reference counting
   frees all the same; what waits longer is a failed request's traceback.
2. Threads give way after half a millisecond instead of five: the face and the log share one interpreter, and each
   statement of SQLite's lets the other in and must wait for him to let go.
"""

from __future__ import annotations

import gc
import sys

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100
_TURN = 0.0005


def set_up() -> None:
    """Set the collector and the threads' turns."""
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
    sys.setswitchinterval(_TURN)
