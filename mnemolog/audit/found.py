"""What an audit has found wrong: the first differences, in words, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, field

_KEPT = 100


@dataclass(slots=True)
class Found:
    """Differences, each one sentence that names a place and never quotes content; the first hundred are kept."""

    count: int = 0
    said: list[str] = field(default_factory=list)

    def wrong(self, text: str) -> None:
        """Note a difference."""
        self.count += 1
        if len(self.said) < _KEPT:
            self.said.append(text)

    def add(self, other: Found) -> None:
        """Take over what another part of the audit has found."""
        self.count += other.count
        self.said += other.said[: _KEPT - len(self.said)]
