"""What to do with the next record of the command topic: each is taken once, in order, whatever the log delivers (§2).

1. Below the position: a duplicate, dropped.
2. At it: taken.
3. Above it: sought once; if the same record comes again, what lies between is holes (markers of publishers'
   transactions), passed and counted; unless the log starts beyond the position: then unread commands have been deleted,
   and the partition stops loudly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemolog.domain.errors import Corrupt
from mnemolog.domain.record import CommandRecord


@dataclass(slots=True)
class Intake:
    """One partition's intake; `holes` counts offsets that were passed."""

    holes: int = 0
    _sought: int = -1

    def admit(self, following: int, first: int, records: Sequence[CommandRecord]) -> list[CommandRecord] | None:
        """Return the records to decide now; None if the log must be read again from `following`.

        `first` is the lowest offset that the log still has. Raises Corrupt if commands were lost unread.
        """
        if first > following:
            message = (
                f"the command log starts at offset {first}, but everything from {following} on is undecided: unread"
                " commands have been deleted; restore them, or accept the loss by resetting the position"
            )
            raise Corrupt(message)
        taken: list[CommandRecord] = []
        for record in records:
            if record.offset < following:
                continue
            if record.offset > following:
                if taken:
                    break
                if self._sought != record.offset:
                    self._sought = record.offset
                    return None
                self.holes += record.offset - following
            taken.append(record)
            following = record.offset + 1
        return taken
