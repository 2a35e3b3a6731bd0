"""Bytes: the one module that knows how commands, facts and outcomes are written in records (design §4).

1. A fact's value is `{"salt", "digest", "body"}`: all content and nothing else; its headers are sealed or transport.
2. What was written is never written again: links are over the bytes as they stand in the log.
3. An unreadable record is `Malformed`; the caller decides whether that is a dead letter or the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mnemolog.domain import canonical, chain
from mnemolog.domain.catalogue import COMMANDS, FACTS
from mnemolog.domain.decision import Case, Draft
from mnemolog.domain.errors import Malformed
from mnemolog.domain.fact import SEALED, Fact
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.record import CommandRecord, FactRecord, OutcomeRecord, Position
from mnemolog.domain.schema import ID_LIMIT, NAME_LIMIT, TENANT_LIMIT, Command, Part, sent
from mnemolog.domain.signature import Proof, proof_of
from mnemolog.domain.streams import fact_key
from mnemolog.domain.times import from_text, to_text

_SECRET_BYTES = 32
_OUTCOME_BEGINS = 128
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CLOUD_EVENT = {"ce_specversion": "1.0", "ce_source": "mnemolog", "content-type": "application/json"}


class Envelope(NamedTuple):
    """A command with what surrounds it; `trace` is a W3C traceparent or empty, `proof` None where nobody signed."""

    id: str
    tenant: str
    actor: str
    slot: int
    secret: bytes
    command: Command
    trace: str = ""
    proof: Proof | None = None


def trace_of(text: str) -> str:
    """Return a W3C traceparent as it is, and nothing for what is none: no other text may travel in that header."""
    return text if _TRACE.fullmatch(text) else ""


def canonical_part(part: Part) -> bytes:
    """Return the bytes that a digest covers."""
    return canonical.canonical(sent(part))


# ---- commands --------------------------------------------------------------------------------------------------------


def encode_command(envelope: Envelope) -> CommandRecord:
    """Write a command. Raises ValueError for text that UTF-8 cannot carry."""
    command = envelope.command
    headers = command_headers(envelope.id, command.TYPE, envelope.tenant, envelope.actor, envelope.trace)
    value = command_value(envelope.secret, sent(command.target), [sent(part) for part in command.parts])
    return CommandRecord(str(envelope.slot), headers, value)


Encode = Callable[[Envelope], CommandRecord]
"""Writes a command as `encode_command` does, and may add headers that sign it."""


def command_headers(identifier: str, kind: str, tenant: str, actor: str, trace: str = "") -> dict[str, str]:
    """Return the headers of a command's record."""
    headers = {**_CLOUD_EVENT, "ce_id": identifier, "ce_type": kind, "tenant": tenant, "actor": actor}
    if trace:
        headers["traceparent"] = trace
    return headers


def command_value(secret: bytes, target: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the value of a command's record. Raises ValueError for what JSON or UTF-8 cannot say."""
    return canonical.dumps({"secret": secret.hex(), "target": target, "parts": parts})


def decode_command(record: CommandRecord) -> Envelope:
    """Read a command. Raises Malformed with a text for its sender; no text of his is repeated in it."""
    try:
        identifier, tenant, actor = (record.headers[name] for name in ("ce_id", "tenant", "actor"))
        kind = COMMANDS[record.headers["ce_type"]]
        value = canonical.loads(record.value or b"")
        secret = bytes.fromhex(value["secret"])
        command = kind.model_validate({"target": value["target"], "parts": value["parts"]})
        slot = int(record.key)
    except KeyError as error:
        message = f"the record lacks or does not know {error}"
        raise Malformed(message) from None
    except ValidationError as error:
        raise Malformed(explain(error)) from None
    except (ValueError, TypeError, AttributeError) as error:
        message = f"the record cannot be read: {error}"
        raise Malformed(message) from None
    if len(secret) != _SECRET_BYTES or not identifier or not tenant or not actor:
        message = "a command has an id, a tenant, an actor and a secret of 32 bytes"
        raise Malformed(message)
    if len(identifier) > ID_LIMIT or len(tenant) > TENANT_LIMIT or len(actor) > NAME_LIMIT:
        message = f"an id has at most {ID_LIMIT} characters, a tenant {TENANT_LIMIT}, an actor {NAME_LIMIT}"
        raise Malformed(message)
    trace, proof = trace_of(record.headers.get("traceparent", "")), proof_of(record.headers, record.value)
    return Envelope(identifier, tenant, actor, slot, secret, command, trace, proof)


def explain(error: ValidationError) -> str:
    """Say what is wrong with the form of something, without repeating what was in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    steps = first["loc"]
    if first["type"] == "extra_forbidden":
        steps = steps[:-1]  # the name of an unknown field is the caller's text
    where = ".".join(str(step) for step in steps if step != "parts")
    return f"{where}: {first['msg']}" if where else first["msg"]


# ---- facts -----------------------------------------------------------------------------------------------------------


def seal(  # noqa: PLR0913 -- all that a fact is made of, by name
    draft: Draft,
    case: Case,
    *,
    time: int,
    version: int,
    ordinal: int,
    index: int,
    count: int,
    before: bytes,
    source: Position,
    trace: str,
) -> tuple[Fact, FactRecord]:
    """Turn a draft into a fact and its record: salt, digest, commitment, link, chain."""
    key = fact_key(draft.stream, version)
    salt = chain.salt(case.secret, key)
    part = None if draft.part is None else canonical_part(case.command.parts[draft.part])
    digest = b"" if part is None else chain.digest(salt, part)
    value = canonical.dumps({"salt": salt.hex(), "digest": digest.hex() or None, "body": sent(draft.payload)})
    rules = case.rules.hash
    sealed = (
        draft.payload.TYPE,
        to_text(time),
        draft.subject,
        case.tenant,
        draft.stream,
        str(version),
        str(case.slot),
        str(ordinal),
        case.id,
        str(index),
        str(count),
        case.actor,
        rules,
    )
    link = chain.link(sealed, chain.commitment(value))
    chained = chain.extend(before, link)
    headers = dict(zip(SEALED, sealed, strict=True))
    headers |= _CLOUD_EVENT
    headers |= {"ce_id": key, "source": str(source), "chain": chained.hex()}
    if trace:
        headers["traceparent"] = trace
    fact = Fact(
        draft.payload,
        time,
        draft.subject,
        case.tenant,
        draft.stream,
        version,
        case.slot,
        ordinal,
        case.id,
        index,
        count,
        case.actor,
        rules,
        salt,
        digest,
        link,
        chained,
        source,
    )
    return fact, FactRecord(key, headers, value, meant=fact)


def link_of(record: FactRecord) -> bytes:
    """Return the link of a fact's record, computed from its bytes."""
    return chain.link([record.headers[name] for name in SEALED], chain.commitment(record.value or b""))


def decode_fact(record: FactRecord, *, linked: bool = True) -> Fact:
    """Read a fact; without `linked` its link may stay empty, for those who need none.

    Raises Malformed; also for a type that this code does not know, which nobody may skip.
    """
    if not linked and isinstance(record.meant, Fact):
        return record.meant.at(record.offset)
    headers = record.headers
    try:
        kind = FACTS[headers["ce_type"]]
        value: dict[str, Any] = canonical.reread(record.value or b"")
        return Fact(
            kind.model_validate(value["body"]),
            from_text(headers["ce_time"]),
            headers["ce_subject"],
            headers["tenant"],
            headers["stream"],
            int(headers["version"]),
            int(headers["slot"]),
            int(headers["ordinal"]),
            headers["command"],
            int(headers["index"]),
            int(headers["count"]),
            headers["actor"],
            headers["rules"],
            bytes.fromhex(value["salt"]),
            bytes.fromhex(value["digest"] or ""),
            link_of(record) if linked else b"",
            bytes.fromhex(headers["chain"]),
            Position.parse(headers["source"]),
            record.offset,
        )
    except (KeyError, ValueError, TypeError) as error:
        message = f"the fact {record.key} at offset {record.offset} cannot be read: {error!r}"
        raise Malformed(message) from error


# ---- outcomes --------------------------------------------------------------------------------------------------------


def encode_outcome(outcome: Outcome) -> OutcomeRecord:
    """Write an outcome."""
    position = str(outcome.position)
    value: dict[str, Any]
    match outcome.result:
        case Accepted(facts=facts, repeated=repeated):
            landed = [
                {"stream": f.stream, "version": f.version, "subject": f.subject, "time": to_text(f.time)} for f in facts
            ]
            value = {"status": "accepted", "position": position, "repeated": repeated, "facts": landed}
        case Rejected(reason=reason, detail=detail, existing=existing):
            value = {"status": "rejected", "position": position, "reason": str(reason), "detail": detail}
            if existing is not None:
                value["existing"] = existing
    if outcome.source is not None:
        value["source"] = str(outcome.source)
    return OutcomeRecord(outcome.command, canonical.plain(value), outcome)


def is_rejection(record: OutcomeRecord) -> bool:
    """Tell whether an outcome is a rejection, by how `encode_outcome` begins it."""
    return record.value.startswith(b'{"status":"rejected"')


def is_repeat(record: OutcomeRecord) -> bool:
    """Tell whether an outcome repeats an earlier acceptance, by how `encode_outcome` begins it."""
    begins = record.value[:_OUTCOME_BEGINS]
    return begins.startswith(b'{"status":"accepted"') and b',"repeated":true,' in begins


def decode_outcome(record: OutcomeRecord) -> Outcome:
    """Read an outcome."""
    if isinstance(record.meant, Outcome):
        return record.meant
    value = canonical.loads(record.value)
    position = Position.parse(value["position"])
    source = Position.parse(value["source"]) if "source" in value else None
    if value["status"] == "rejected":
        rejected = Rejected(Reason(value["reason"]), value["detail"], value.get("existing"))
        return Outcome(record.key, rejected, position, source)
    landed = tuple(Landed(f["stream"], f["version"], f["subject"], from_text(f["time"])) for f in value["facts"])
    return Outcome(record.key, Accepted(landed, value["repeated"]), position, source)
