"""`Publisher`: a method for every command that an agent has, a receipt for each, and what became of it.

1. A command is validated before it leaves; what is refused here was never sent.
2. It is on its way when the method returns, not there: `receipt.offset`, `flush()` and the end of `with` wait for that.
3. What could not be published is never swallowed: the receipt raises it, and so does the next `flush()`.
4. The order of commands about one thing is the order in which one thread published them.

Targets, in the words of docs/glossary.md: `server` names Kafka's bootstrap servers, or `http://…` a mnemolog server.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from mnemolog.domain import lifecycle, memory, message, policy, session_commands, space
from mnemolog.domain.outcomes import Outcome
from mnemolog.domain.schema import Command, Json
from producers.errors import Invalid, Late, NotPublished
from producers.receipt import Receipt
from producers.transport import Transport
from producers.wishes import ABSENT, Absent, given, set_only, wish_of, wished

if TYPE_CHECKING:
    from producers.signing import Signer

_Strategies = Sequence[Mapping[str, Any]]


class Publisher:
    """Publishes as one actor of one tenant. May be shared by threads; not by processes that fork."""

    def __init__(  # noqa: PLR0913 -- where, as whom, how
        self,
        server: str | Transport,
        *,
        tenant: str = "",
        actor: str = "",
        token: str = "",
        client_id: str = "",
        client_secret: str = "",
        topic_prefix: str = "",
        signing: str | Path | Signer | None = None,
        **kafka: Any,
    ) -> None:
        """Connect.

        On Kafka, `tenant` and `actor` (a principal such as `agent/planner`, never an end user's name) stand in the
        facts; `signing` is the file of a key, as `mnemolog keys create --json` prints it, or a `Signer`: then commands
        are signed, and tenant and actor are the key's (docs/publishing.md). Further options go to kafka-python's
        clients (`security_protocol`, `sasl_mechanism` …). Over HTTP tenant and actor come from the credentials: an API
        token for spaces and sessions, an OAuth2 client for memories, messages and the retention policy; `tenant`, if
        given, is compared. Raises Away, TopicMissing, NotAllowed, Invalid.
        """
        self._transport: Transport
        if not isinstance(server, str):
            self._transport = server
        elif server.startswith(("http://", "https://")):
            from producers.over_http import Credentials, OverHttp

            if kafka or signing is not None:
                message_ = f"{', '.join(kafka) or 'signing'}: options of Kafka, but {server} is an HTTP server"
                raise Invalid(message_)
            self._transport = OverHttp(server, Credentials(token, client_id, client_secret), tenant)
        else:
            from producers.over_kafka import OverKafka

            signs = None
            if signing is not None:
                from producers.signing import KeyFile, Signer, spoken_as

                signer = signing if isinstance(signing, Signer) else Signer(KeyFile.read(signing))
                tenant, actor = spoken_as(signer, tenant, actor)
                signs = signer.headers
            if not tenant.strip() or not actor.strip():
                message_ = "on Kafka, a publisher says for which tenant and as which actor: tenant=…, actor=…"
                raise Invalid(message_)
            self._transport = OverKafka(server, tenant, actor, topic_prefix, kafka, signs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._transport.close()

    # ---- publishing --------------------------------------------------------------------------------------------------

    def publish(self, command: Command, *, key: str = "", trace: str = "") -> Receipt:
        """Publish any command.

        `key` makes a repeat safe: for the same tenant, actor and key the command has the same id, and the second one
        changes nothing within 24 hours (guarantee 3). `trace` is a W3C traceparent.
        """
        return self._transport.send(wish_of(command, key, trace))

    def flush(self) -> None:
        """Wait until all that was published has been taken. Raises NotPublished, which names what was not."""
        if lost := self._transport.flush():
            text = (
                f"{len(lost)} commands were not acknowledged, the first of them {lost[0].id}; they may be in the log"
                " all the same, and publishing them again under the same keys is safe"
            )
            raise NotPublished(text, lost)

    def close(self) -> None:
        """Flush, then let go of every connection."""
        self.__exit__(None)

    def outcome(self, receipt: Receipt, timeout: float = 30.0) -> Outcome:
        """Return what became of a command, waiting at most `timeout` seconds. Raises Late, or why it was not taken."""
        return self.outcomes([receipt], timeout)[0]

    def outcomes(self, receipts: Sequence[Receipt], timeout: float = 30.0) -> list[Outcome]:
        """Return what became of these commands, in their order. Raises Late with those known, or why one was not taken.

        On Kafka, outcomes are heard that came after the publisher was opened, for as long as a receipt is kept.
        """
        deadline = time.monotonic() + timeout
        self._transport.listen(receipts, deadline)
        found = [receipt.outcome() for receipt in receipts]
        known = [outcome for outcome in found if outcome is not None]
        if len(known) < len(found):
            text = (
                f"{len(found) - len(known)} of {len(found)} outcomes have not come within {timeout:g} s; ask again, and"
                " look whether the server answers and a sequencer runs"
            )
            raise Late(text, {r: o for r, o in zip(receipts, found, strict=True) if o is not None})
        return known

    # ---- spaces and sessions -----------------------------------------------------------------------------------------

    def create_space(
        self,
        *,
        user: str,
        description: str | None = None,
        llm_model_name: str | None = None,
        llm_base_url: str | None = None,
        custom_instructions: str | None = None,
        deduplication_key: str | None = None,
        key: str = "",
    ) -> Receipt:
        """Open a memory space; its id is the subject of the fact in the outcome."""
        part = set_only(
            description=description,
            llm_model_name=llm_model_name,
            llm_base_url=llm_base_url,
            custom_instructions=custom_instructions,
            deduplication_key=deduplication_key,
        )
        return self._transport.send(wished(space.CreateSpace, {"user": user}, [part], key=key))

    def update_space(
        self,
        *,
        user: str,
        space_id: str,
        description: str | Absent | None = ABSENT,
        llm_model_name: str | Absent | None = ABSENT,
        llm_base_url: str | Absent | None = ABSENT,
        custom_instructions: str | Absent | None = ABSENT,
        key: str = "",
    ) -> Receipt:
        """Change a space; null clears a field, one that is not given stays."""
        part = given(
            description=description,
            llm_model_name=llm_model_name,
            llm_base_url=llm_base_url,
            custom_instructions=custom_instructions,
        )
        return self._transport.send(wished(space.UpdateSpace, {"space": space_id, "user": user}, [part], key=key))

    def delete_space(self, *, user: str, space_id: str, key: str = "") -> Receipt:
        """Hide a space with its sessions."""
        return self._transport.send(wished(space.DeleteSpace, {"space": space_id, "user": user}, key=key))

    def create_session(  # noqa: PLR0913 -- the fields of a session
        self,
        *,
        user: str,
        space_id: str,
        participant: str,
        description: str | None = None,
        metadata: Json | None = None,
        lifecycle_strategies: _Strategies | None = None,
        deduplication_key: str | None = None,
        key: str = "",
    ) -> Receipt:
        """Open a session in a space; its id is the subject of the fact in the outcome."""
        part = {"participants": [participant]} | set_only(
            description=description,
            metadata=metadata,
            lifecycle_strategies=None if lifecycle_strategies is None else [dict(s) for s in lifecycle_strategies],
            deduplication_key=deduplication_key,
        )
        return self._transport.send(
            wished(session_commands.CreateSession, {"space": space_id, "user": user}, [part], key=key)
        )

    def update_session(  # noqa: PLR0913 -- the fields of a session
        self,
        *,
        user: str,
        space_id: str,
        session_id: str,
        version: int | None = None,
        description: str | Absent | None = ABSENT,
        metadata: Json | Absent | None = ABSENT,
        lifecycle_strategies: _Strategies | Absent = ABSENT,
        key: str = "",
    ) -> Receipt:
        """Change a session if it still has `version`; without one the last writer wins."""
        target = {"space": space_id, "user": user, "session": session_id} | set_only(version=version)
        part = given(description=description, metadata=metadata)
        if lifecycle_strategies is not ABSENT:
            part["lifecycle_strategies"] = [dict(strategy) for strategy in lifecycle_strategies]
        return self._transport.send(wished(session_commands.UpdateSession, target, [part], key=key))

    def delete_session(self, *, user: str, space_id: str, session_id: str, key: str = "") -> Receipt:
        """Hide a session with its events."""
        target = {"space": space_id, "user": user, "session": session_id}
        return self._transport.send(wished(session_commands.DeleteSession, target, key=key))

    def complete_extraction(self, *, user: str, space_id: str, session_id: str, key: str = "") -> Receipt:
        """Say that the memories of a session, which was due for it, have been extracted."""
        target = {"space": space_id, "user": user, "session": session_id}
        return self._transport.send(wished(lifecycle.CompleteExtraction, target, key=key))

    def append_events(
        self, *, user: str, space_id: str, session_id: str, events: Sequence[Mapping[str, Any]], key: str = ""
    ) -> Receipt:
        """Append 1 to 200 events with consecutive sequence ids: all or none.

        An event is `{"body": {"content": "…", …}, "emitter": {"type": "user", "id": "ann"}, "type": "message"}`.
        """
        target = {"space": space_id, "user": user, "session": session_id}
        return self._transport.send(wished(session_commands.AppendEvents, target, events, key=key))

    def update_events(
        self, *, user: str, space_id: str, session_id: str, changes: Sequence[Mapping[str, Any]], key: str = ""
    ) -> Receipt:
        """Change 1 to 200 events: all or none.

        A change is `{"sequence_id": 0, "body": …, "type": …, "emitter": …, "created_at": "…"}`; with `created_at`, as
        the event showed it, a change in between is noticed.
        """
        target = {"space": space_id, "user": user, "session": session_id}
        return self._transport.send(wished(session_commands.UpdateEvents, target, changes, key=key))

    def delete_event(self, *, user: str, space_id: str, session_id: str, sequence: int, key: str = "") -> Receipt:
        """Hide an event; its sequence id stays used."""
        target = {"space": space_id, "user": user, "session": session_id, "sequence": sequence}
        return self._transport.send(wished(session_commands.DeleteEvent, target, key=key))

    # ---- memories, messages, policy ----------------------------------------------------------------------------------

    def add_memory(
        self, *, agent: str, invoker: str, content: str, metadata: Json | None = None, key: str = ""
    ) -> Receipt:
        """Keep a text about an invoker; its id is the subject of the fact in the outcome."""
        part = {"content": content} | set_only(metadata=metadata)
        return self._transport.send(wished(memory.AddMemory, {"agent": agent, "invoker": invoker}, [part], key=key))

    def update_memory(
        self,
        *,
        memory_id: str,
        content: str | Absent = ABSENT,
        metadata: Json | Absent | None = ABSENT,
        key: str = "",
    ) -> Receipt:
        """Replace a memory's text or metadata; the last writer wins."""
        part = given(content=content, metadata=metadata)
        return self._transport.send(wished(memory.UpdateMemory, {"memory": memory_id}, [part], key=key))

    def delete_memory(self, *, memory_id: str, key: str = "") -> Receipt:
        """Erase a memory."""
        return self._transport.send(wished(memory.DeleteMemory, {"memory": memory_id}, key=key))

    def add_message(
        self,
        *,
        agent: str,
        invoker: str,
        group: str,
        role: Literal["USER", "ASSISTANT", "SYSTEM", "TOOL"],
        content: str,
        metadata: Json | None = None,
        key: str = "",
    ) -> Receipt:
        """Add a message to a conversation, which opens with its first."""
        target = {"agent": agent, "invoker": invoker, "group": group}
        part = {"role": role, "content": content} | set_only(metadata=metadata)
        return self._transport.send(wished(message.AddMessage, target, [part], key=key))

    def delete_message(self, *, message_id: str, key: str = "") -> Receipt:
        """Erase a message."""
        return self._transport.send(wished(message.DeleteMessage, {"message": message_id}, key=key))

    def set_retention(
        self,
        *,
        message_days: int | Absent | None = ABSENT,
        memory_days: int | Absent | None = ABSENT,
        usage_log_days: int | Absent | None = ABSENT,
        key: str = "",
    ) -> Receipt:
        """Set for how many days the tenant's records are kept; None switches off, what is not given stays."""
        part = given(message_days=message_days, memory_days=memory_days, usage_log_days=usage_log_days)
        return self._transport.send(wished(policy.SetRetention, {}, [part], key=key))
