"""The topics, declared once: their creation, the README's table and the contract for other languages come from here.

Settings are Kafka's names and values (design §4): those that make erasure physical within its bound stand on every
topic that holds content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

COMMANDS: Final = "memory.commands"
FACTS: Final = "memory.facts"
OUTCOMES: Final = "memory.outcomes"
USAGE: Final = "memory.usage"
DEAD_LETTERS: Final = "memory.dead-letters"

_HOUR = 3_600_000
_DAY = 24 * _HOUR
_MAX_MESSAGE = 8 << 20
LARGEST_REQUEST = _MAX_MESSAGE - 4_096
"""Bytes that a producer may send at once: a topic takes what is around its records into account."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic: `settings` are Kafka's, times in milliseconds."""

    name: str
    key: str
    partition: str
    kept: str
    written_by: str
    settings: Mapping[str, str]


def _settings(**own: str | int) -> dict[str, str]:
    common = {"segment_ms": 6 * _HOUR, "max_message_bytes": _MAX_MESSAGE}
    return {name.replace("_", "."): str(value) for name, value in (common | own).items()}


TOPICS = (
    Topic(
        COMMANDS,
        "slot",
        "slot % N",
        "deleted after 7 days",
        "agents, gateway, workers",
        _settings(
            cleanup_policy="delete",
            retention_ms=7 * _DAY,
            message_timestamp_type="LogAppendTime",
            compression_type="uncompressed",  # a publisher's codec must not be one that the sequencer cannot read
        ),
    ),
    Topic(
        FACTS,
        "stream@version, unique",
        "the command's",
        "compacted, for ever",
        "sequencer",
        _settings(
            cleanup_policy="compact",
            max_compaction_lag_ms=6 * _HOUR,
            min_compaction_lag_ms=_HOUR,
            delete_retention_ms=48 * _HOUR,
            min_cleanable_dirty_ratio="0.1",
        ),
    ),
    Topic(
        OUTCOMES,
        "command id",
        "the command's",
        "deleted after 1 day",
        "sequencer",
        _settings(cleanup_policy="delete", retention_ms=_DAY),
    ),
    Topic(
        USAGE,
        "a rolling record per scope",
        "slot % N",
        "compacted",
        "gateway, retention",
        _settings(cleanup_policy="compact", max_compaction_lag_ms=6 * _HOUR, delete_retention_ms=48 * _HOUR),
    ),
    Topic(
        DEAD_LETTERS,
        "topic@partition@offset",
        "any",
        "deleted after 30 days",
        "workers",
        _settings(cleanup_policy="delete", retention_ms=30 * _DAY),
    ),
)
