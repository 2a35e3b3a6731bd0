"""Commands to Kafka by kafka-python: idempotent, acknowledged by all replicas in sync, in batches.

1. The partition is always explicit: slot modulo N, with N as the cluster says (design §3).
2. A record that the broker has not acknowledged is sent again by the client, numbered, so that none is doubled. It
   gives up after `delivery_timeout_ms`; then publishing again under the same key is safe.
3. At most `_MOST` commands and `_MOST_BYTES` are under way; who publishes faster waits for the oldest.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import AuthorizationError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from mnemolog.domain.codec import command_headers, command_value
from mnemolog.domain.ids import command_id, partition_of
from mnemolog.domain.topics import COMMANDS, LARGEST_REQUEST
from producers.errors import Away, Invalid, NotAllowed, PublishError, TooLarge
from producers.kafka_outcomes import KafkaOutcomes, shared_options
from producers.kafka_reason import opening
from producers.receipt import Placed, Receipt, await_all
from producers.wishes import Entropy, Wish, bounded, slot_for

_SECRET_BYTES = 32
Signs = Callable[[Mapping[str, str], bytes], Mapping[str, str]]
"""(a command's headers, its value): the headers that sign it. Raises NotAllowed."""
_MOST = 20_000
_MOST_BYTES = 64 << 20
_SETTINGS: Mapping[str, Any] = {
    "enable_idempotence": True,
    "acks": "all",
    "linger_ms": 5,
    "batch_size": 64 << 10,
    "max_request_size": LARGEST_REQUEST,
    "allow_auto_create_topics": False,
    "bootstrap_timeout_ms": 10_000,
    "max_block_ms": 30_000,
    "reconnect_backoff_max_ms": 1_000,
    "metrics_enabled": False,
}


class _Acknowledged:
    """The broker's answer to one command."""

    __slots__ = ("_command", "_future", "_placed", "_slot", "size")

    def __init__(self, command: str, slot: int, size: int, future: Any) -> None:
        """Take the client's future."""
        self._command, self._slot, self.size, self._future = command, slot, size, future
        self._placed: Placed | None = None

    def placed(self) -> Placed:
        """Wait for the broker; the client gives up after its own delivery timeout."""
        if self._placed is None:
            try:
                found = self._future.get()
            except KafkaError as error:
                raise _refused(self._command, error) from error
            self._placed = Placed(self._command, found.topic, found.partition, found.offset, self._slot)
        return self._placed

    def settled(self, seconds: float) -> bool:
        """Wait for the broker that long."""
        if self._placed is not None or self._future.is_done:
            return True
        with contextlib.suppress(KafkaError):
            self._future.get(timeout=seconds)
        return bool(self._future.is_done)

    def failed(self) -> bool:
        """Wait for the broker, and tell whether it has refused or the client has given up."""
        if self._future.succeeded():
            return False
        try:
            self.placed()
        except PublishError:
            return True
        return False


class OverKafka:
    """The transport to Kafka."""

    def __init__(
        self,
        servers: str,
        tenant: str,
        actor: str,
        prefix: str,
        options: Mapping[str, Any],
        signs: Signs | None = None,
    ) -> None:
        """Connect; `signs` gives the headers that sign a command.

        Raises Away, TopicMissing, NotAllowed or Invalid, each with what to do.
        """
        if unknown := options.keys() - KafkaProducer.DEFAULT_CONFIG.keys() - KafkaConsumer.DEFAULT_CONFIG.keys():
            message = f"{', '.join(sorted(unknown))}: no option of kafka-python's clients"
            raise Invalid(message)
        self._tenant, self._actor, self._signs = tenant, actor, signs
        self._topic = prefix + COMMANDS
        self._outcomes = KafkaOutcomes(servers, prefix, options)
        try:
            self._partitions = self._outcomes.partitions_of(self._topic)
            own = shared_options(options, KafkaProducer.DEFAULT_CONFIG)
            with opening(servers):
                self._producer = KafkaProducer(bootstrap_servers=servers.split(","), **{**_SETTINGS, **own})
        except BaseException:
            self._outcomes.close()
            raise
        self._entropy = Entropy()
        self._headers: dict[str, list[tuple[str, bytes]]] = {}
        self._lock = threading.Lock()
        self._under_way: deque[tuple[Receipt, _Acknowledged]] = deque()
        self._bytes = 0
        self._closed = False
        self._lost: list[Receipt] = []

    def send(self, wish: Wish) -> Receipt:
        """Hand a command to the client, which sends it within 5 ms."""
        identifier = command_id(self._tenant, self._actor, wish.key) if wish.key else self._entropy.new_id()
        slot = slot_for(self._tenant, identifier, wish.command)
        secret = self._entropy.take(_SECRET_BYTES)
        value = bounded(wish, lambda: command_value(secret, wish.target, wish.parts))
        kind = wish.command.TYPE
        headers = [*(self._headers.get(kind) or self._headers_of(kind)), ("ce_id", identifier.encode())]
        if wish.trace:
            headers.append(("traceparent", wish.trace.encode()))
        if self._signs is not None:
            said = command_headers(identifier, kind, self._tenant, self._actor)
            headers += [(name, text.encode()) for name, text in self._signs(said, value).items()]
        try:
            future = self._producer.send(
                self._topic, value, b"%d" % slot, headers, partition_of(slot, self._partitions)
            )
        except KafkaError as error:
            raise _refused(identifier, error) from error
        answer = _Acknowledged(identifier, slot, len(value), future)
        receipt = Receipt(identifier, answer)
        self._outcomes.expect(receipt, again=bool(wish.key))
        self._note(receipt, answer)
        return receipt

    def flush(self) -> Sequence[Receipt]:
        """Send what lingers, wait for every answer, and return the commands that got none."""
        with self._lock:
            open_ = len(self._under_way)
            if open_:
                self._producer.flush()
            for _ in range(open_):
                self._settle()
            lost, self._lost = self._lost, []
        return lost

    def listen(self, receipts: Sequence[Receipt], deadline: float) -> None:
        """Read outcomes until each of these has its own."""
        if self._closed:
            message = "this publisher has been closed; ask for outcomes before that"
            raise Away(message)
        await_all(receipts, deadline)
        self._outcomes.listen(receipts, deadline)

    def close(self) -> None:
        """Send what is still here, and disconnect."""
        self._closed = True
        self._producer.close()
        self._outcomes.close()

    def _headers_of(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the headers that all commands of a type have here."""
        headers = command_headers("", kind, self._tenant, self._actor)
        self._headers[kind] = [(name, text.encode()) for name, text in headers.items() if name != "ce_id"]
        return self._headers[kind]

    def _note(self, receipt: Receipt, answer: _Acknowledged) -> None:
        with self._lock:
            self._under_way.append((receipt, answer))
            self._bytes += answer.size
            while len(self._under_way) > _MOST or self._bytes > _MOST_BYTES:
                self._settle()

    def _settle(self) -> None:
        """Wait for the answer to the oldest command; whose was lost, `flush` names."""
        receipt, answer = self._under_way.popleft()
        self._bytes -= answer.size
        if answer.failed():
            self._lost.append(receipt)


def _refused(command: str, error: KafkaError) -> PublishError:
    """Return what to do about an error of the broker or the client."""
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return TooLarge(f"the command {command} is larger than the topic takes (max.message.bytes): {error}")
    if isinstance(error, AuthorizationError):
        return NotAllowed(f"this publisher may not write the command topic: {error}; ask for an ACL that allows it")
    return Away(
        f"the command {command} was not acknowledged: {error!r}; it may be in the log all the same, and publishing it"
        " again under the same key is safe"
    )
