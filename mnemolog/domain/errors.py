"""Errors that are raised at the edges; the core returns `Rejected` instead.

MnemologError
├── Malformed            a record or a text that is not what it should be
├── Fenced               another sequencer has taken this partition
├── Corrupt              the log contradicts itself: stop, never guess
└── Unavailable          something needed is away or late; the command id and what to do are in the text
    └── Refused          and nothing was kept of what was asked
"""

from __future__ import annotations


class MnemologError(Exception):
    """Anything that mnemolog itself raises."""


class Malformed(MnemologError):
    """A record or a text cannot be read."""


class Fenced(MnemologError):
    """Another sequencer has taken this partition; drop its state and producer."""


class Corrupt(MnemologError):
    """The log contradicts itself or the state made from it."""


class Unavailable(MnemologError):
    """Something needed is away, locked or late."""


class Refused(Unavailable):
    """A write was not taken at all, for a reason that its sender may be told."""
