"""Hears the outcomes of a publisher's own commands on `memory.outcomes`, without a consumer group.

1. It listens from where the topic ended when the publisher was opened, in the thread of whoever waits: who never asks
   costs nothing.
2. An outcome belongs to the command at its source, partition and offset: one id may have been published twice.
3. Receipts are held weakly: an outcome that nobody can ask for any more is passed over.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import AuthorizationError, KafkaError, OffsetOutOfRangeError

from mnemolog.domain.codec import decode_outcome
from mnemolog.domain.ids import partition_of
from mnemolog.domain.record import OutcomeRecord
from mnemolog.domain.topics import OUTCOMES
from producers.errors import Away, NotAllowed, TopicMissing
from producers.kafka_reason import opening
from producers.receipt import Receipt

_PAGE = 5_000
_POLL = 0.1
_SETTINGS: Mapping[str, Any] = {
    "group_id": None,
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "fetch_max_wait_ms": 20,
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": 10_000,
    "reconnect_backoff_max_ms": 1_000,
    "metrics_enabled": False,
}


def shared_options(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a publisher's options that a client knows."""
    return {name: value for name, value in options.items() if name in known}


class KafkaOutcomes:
    """One consumer; whoever waits reads for all."""

    def __init__(self, servers: str, prefix: str, options: Mapping[str, Any]) -> None:
        """Connect. Raises NotAllowed, Away."""
        self._servers, self._topic = servers, prefix + OUTCOMES
        own = shared_options(options, KafkaConsumer.DEFAULT_CONFIG)
        with opening(servers):
            self._consumer = KafkaConsumer(bootstrap_servers=servers.split(","), **{**_SETTINGS, **own})
        self._lock = threading.Lock()
        self._expected: weakref.WeakValueDictionary[str, Receipt] = weakref.WeakValueDictionary()
        self._next: dict[TopicPartition, int] = {}
        self._deaf = ""

    def partitions_of(self, commands: str) -> int:
        """Return how many partitions the command topic has, and begin to listen. Raises TopicMissing, NotAllowed."""
        try:
            count = len(self._consumer.partitions_for_topic(commands))
            if not count:
                message = (
                    f"there is no topic {commands} at {self._servers}, or it may not be seen: make it with"
                    " `mnemolog topics create`, check topic_prefix, or ask for an ACL"
                )
                raise TopicMissing(message)
            partition_of(0, count)
        except ValueError as error:
            message = f"{commands}: {error}; this is no command topic of mnemolog's"
            raise TopicMissing(message) from None
        self._begin(count)
        return count

    def expect(self, receipt: Receipt, *, again: bool) -> None:
        """Note a command whose outcome may be asked for; `again` if there may be another one with its id."""
        if again and (older := self._expected.get(receipt.id)) is not None:
            receipt.after(older)
        self._expected[receipt.id] = receipt

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Read until each of these has its outcome, or the deadline has passed. Raises NotAllowed, Away."""
        waiting = [receipt for receipt in receipts if receipt.outcome() is None]
        while waiting and time.monotonic() < deadline:
            if self._deaf:
                raise NotAllowed(self._deaf)
            with self._lock:
                waiting = [receipt for receipt in waiting if receipt.outcome() is None]
                if waiting:
                    self._read(min(_POLL, max(0.0, deadline - time.monotonic())))

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._consumer.close()

    def _begin(self, count: int) -> None:
        """Stand at the end that the topic has now; who may not read it publishes all the same."""
        partitions = [TopicPartition(self._topic, number) for number in range(count)]
        try:
            if len(self._consumer.partitions_for_topic(self._topic)) < count:
                self._deaf = f"{self._topic} cannot be seen: ask for an ACL to read it, or look whether it was made"
                return
            self._next = dict(self._consumer.end_offsets(partitions))
        except AuthorizationError as error:
            self._deaf = f"this publisher may not read {self._topic}: {error}; ask for an ACL that allows it"
            return
        self._consumer.assign(partitions)
        for at, offset in self._next.items():
            self._consumer.seek(at, offset)

    def _read(self, seconds: float) -> None:
        try:
            found = self._consumer.poll(timeout_ms=round(seconds * 1_000), max_records=_PAGE)
        except OffsetOutOfRangeError:  # retention has passed us: what is older than a day is nobody's to wait for
            for at, offset in self._consumer.beginning_offsets(list(self._next)).items():
                if offset > self._next[at]:
                    self._next[at] = offset
                    self._consumer.seek(at, offset)
            return
        except AuthorizationError as error:
            message = f"this publisher may not read {self._topic}: {error}; ask for an ACL that allows it"
            raise NotAllowed(message) from error
        except KafkaError as error:
            message = f"outcomes cannot be read from Kafka at {self._servers}: {error!r}; ask for them again"
            raise Away(message) from error
        for at, records in found.items():
            for record in records:
                self._tell(record)
            self._next[at] = records[-1].offset + 1

    def _tell(self, record: Any) -> None:
        identifier = (record.key or b"").decode("utf-8", "replace")
        receipt = self._expected.get(identifier)
        if receipt is not None:
            receipt.tell(decode_outcome(OutcomeRecord(identifier, record.value or b"")))
