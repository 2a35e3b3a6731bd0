"""Records as Kafka has them, and as the ports have them: bytes and lists on one side, texts and mappings on the other.

1. What strangers publish is read whatever it is: a header that is no UTF-8 must not stop a partition (guarantee 10).
2. What the sequencer wrote is read exactly, or not at all: its links are over these very texts.
3. Kafka's times are milliseconds; ours are µs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mnemolog.domain import canonical
from mnemolog.domain.errors import Corrupt
from mnemolog.domain.record import CONTROL_KEY, CommandRecord, FactRecord, OutcomeRecord, Transaction
from mnemolog.domain.topics import DEAD_LETTERS, FACTS, OUTCOMES

_MICROSECONDS = 1_000


class Fetched(Protocol):
    """A record as the Kafka client delivers it; read-only."""

    @property
    def offset(self) -> int: ...  # noqa: D102 -- Kafka's words
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


class Produced(NamedTuple):
    """A record as the Kafka client takes it."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


def headers_of(headers: Mapping[str, str]) -> list[tuple[str, bytes]]:
    """Return headers as Kafka takes them, in their order."""
    return [(name, text.encode()) for name, text in headers.items()]


def _texts(headers: Iterable[tuple[str, bytes | None]], errors: str) -> dict[str, str]:
    return {name: (raw or b"").decode("utf-8", errors) for name, raw in headers}


def command_of(record: Fetched) -> CommandRecord:
    """Read a record of the command topic, whoever wrote it; its time is the broker's (LogAppendTime)."""
    key = (record.key or b"").decode("utf-8", "replace")
    headers = _texts(record.headers, "replace")
    return CommandRecord(key, headers, record.value, record.offset, record.timestamp * _MICROSECONDS)


def fact_of(record: Fetched) -> FactRecord:
    """Read a record of the fact topic. Raises Corrupt for one that no sequencer can have written."""
    try:
        key = (record.key or b"").decode()
        return FactRecord(key, _texts(record.headers, "strict"), record.value, record.offset)
    except UnicodeDecodeError as error:
        message = f"the record at offset {record.offset} of the fact topic is not the sequencer's: {error}"
        raise Corrupt(message) from error


def outcome_of(record: Fetched) -> tuple[int, OutcomeRecord]:
    """Read a record of the outcome topic and its offset."""
    return record.offset, OutcomeRecord((record.key or b"").decode("utf-8", "replace"), record.value or b"")


def produced_by(transaction: Transaction) -> dict[str, list[Produced]]:
    """Return all records of a transaction, by topic; the fact topic's in the order that the port promises.

    A transaction that holds neither fact nor null record gets a control record in any case: one without any record
    would not be sent, and so would not notice that the partition has been taken.
    """
    facts = [Produced(fact.key.encode(), fact.value, headers_of(fact.headers)) for fact in transaction.facts]
    facts += [Produced(key.encode(), None, []) for key in transaction.tombstones]
    if transaction.control or not facts:
        headers = {"position": str(transaction.position), "command": transaction.last}
        facts.append(Produced(CONTROL_KEY.encode(), b"{}", headers_of(headers)))
    outcomes = [Produced(outcome.key.encode(), outcome.value, []) for outcome in transaction.outcomes]
    letters = [Produced(d.key.encode(), canonical.dumps({"reason": d.reason}), []) for d in transaction.dead_letters]
    return {FACTS: facts, OUTCOMES: outcomes, DEAD_LETTERS: letters}
