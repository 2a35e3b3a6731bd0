"""The contract for other languages, made from the declarations: JSON Schemas, an AsyncAPI 3 document, routing vectors.

1. `docs/schemas/` holds a JSON Schema (2020-12) of the value of each command and each fact, by type.
2. `docs/asyncapi.json` says which topic carries what, with which headers and key, who writes and who reads it.
3. `docs/routing-vectors.json` holds worked slots and partitions, to test another implementation with, and
   `docs/signature-vectors.json` signed commands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mnemolog.domain.catalogue import COMMANDS, FACTS
from mnemolog.domain.fact import SEALED
from mnemolog.domain.ids import make_id, partition_of, slot_of
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.schema import ID_LIMIT, NAME_LIMIT, TENANT_LIMIT, Command, Payload
from mnemolog.domain.signature import ALGORITHM, GRANT, SIGNATURE, TIME
from mnemolog.domain.topics import TOPICS
from mnemolog.runtime.contract_signing import signature_vectors

Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_HEX = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TEXT = {"type": "string"}
_POSITION = {"type": "string", "pattern": "^[0-9]+:[0-9]+$", "description": "epoch:offset in the command topic"}
_PARTITIONS = (1, 4, 16, 4_096)
_OWN_HEADERS = {
    "content-type": {"const": "application/json"},
    "ce_specversion": {"const": "1.0"},
    "ce_source": {"type": "string", "description": "who wrote it; `mnemolog` for our own"},
}


def files() -> Mapping[str, str]:
    """Return every file of the contract: its path below `docs`, and its text."""
    found: dict[str, Any] = {"asyncapi.json": asyncapi(), "routing-vectors.json": vectors()}
    found |= {"signature-vectors.json": signature_vectors()}
    found |= {f"schemas/commands/{kind}.json": command_schema(model) for kind, model in COMMANDS.items()}
    found |= {f"schemas/facts/{kind}.json": fact_schema(model) for kind, model in FACTS.items()}
    return {path: json.dumps(document, ensure_ascii=False, indent=2) + "\n" for path, document in found.items()}


# ---- schemas ---------------------------------------------------------------------------------------------------------


def command_schema(model: type[Command]) -> Schema:
    """Return the schema of a command's value: a secret, what it is about, what its caller said item by item."""
    whole = model.model_json_schema()
    secret = {**_HEX, "description": "32 random bytes in hex, used for this command alone"}
    # On the topic every member is there, also `parts` of a command that has none.
    properties = {"secret": secret, **whole["properties"]}
    return _document(model.TYPE, whole, properties)


def fact_schema(model: type[Payload]) -> Schema:
    """Return the schema of a fact's value: salt, digest of the part that it came from, body."""
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})
    body = {name: part for name, part in whole.items() if name not in {"$defs", "title"}}
    digest = {**_HEX, "type": ["string", "null"], "description": "null where it came from no part of a command"}
    return _document(
        model.TYPE,
        {"$defs": definitions, "description": whole.get("description", "")},
        {"salt": _HEX, "digest": digest, "body": body},
    )


def _document(title: str, whole: Schema, properties: Schema) -> Schema:
    found: Schema = {"$schema": _DIALECT, "title": title, "description": whole["description"], "type": "object"}
    found |= {"properties": properties, "required": list(properties), "additionalProperties": False}
    if whole.get("$defs"):
        found["$defs"] = whole["$defs"]
    return found


# ---- AsyncAPI --------------------------------------------------------------------------------------------------------


def asyncapi() -> Schema:
    """Return the AsyncAPI 3 document."""
    messages = _messages()
    channels = {_short(topic.name): _channel(topic.name) for topic in TOPICS}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "mnemolog",
            "version": "1",
            "description": (
                "What travels on mnemolog's topics. Everyone who may write `memory.commands` is trusted with every"
                " tenant, but those whose commands must be signed. docs/publishing.md says how slot, partition and"
                " signature are made, with routing-vectors.json and signature-vectors.json to test it."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": {"Outcome": _outcome(), "DeadLetter": _dead_letter(), "Usage": _usage()},
        },
    }


def _short(topic: str) -> str:
    return topic.removeprefix("memory.")


def _messages() -> Schema:
    found = {kind: _message(kind, f"schemas/commands/{kind}.json", _command_headers(kind)) for kind in COMMANDS}
    found |= {kind: _message(kind, f"schemas/facts/{kind}.json", _fact_headers(kind)) for kind in FACTS}
    found["outcome"] = {"payload": {"$ref": "#/components/schemas/Outcome"}, "summary": "what became of a command"}
    found["dead-letter"] = {
        "payload": {"$ref": "#/components/schemas/DeadLetter"},
        "summary": "a record that could not be read: where it lies and why, never its value",
    }
    found["usage"] = {
        "payload": {"$ref": "#/components/schemas/Usage"},
        "summary": "reads of one kind within an hour; it rolls, and the newest under its key counts",
    }
    return found


def _message(kind: str, schema: str, headers: Schema) -> Schema:
    model = {**COMMANDS, **FACTS}[kind]
    return {
        "name": kind,
        "summary": (model.__doc__ or "").strip().partition("\n")[0],
        "contentType": "application/json",
        "headers": headers,
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": {"$ref": schema}},
    }


def _command_headers(kind: str) -> Schema:
    properties = {
        **_OWN_HEADERS,
        "ce_id": {
            **_TEXT,
            "minLength": 1,
            "maxLength": ID_LIMIT,
            "description": "the command's id, the same for a repeat",
        },
        "ce_type": {"const": kind},
        "tenant": {**_TEXT, "minLength": 1, "maxLength": TENANT_LIMIT},
        "actor": {
            **_TEXT,
            "minLength": 1,
            "maxLength": NAME_LIMIT,
            "description": "the principal, such as agent/planner; never an end user's name",
        },
        "traceparent": {**_TEXT, "description": "W3C trace context"},
        TIME: {**_TEXT, "format": "date-time", "description": "the time of signing, where the command is signed"},
        GRANT: {**_TEXT, "description": "whose key has signed it, as the authority says: from `mnemolog keys`"},
        SIGNATURE: {
            **_TEXT,
            "pattern": f"^{ALGORITHM}[0-9a-f]{{128}}$",
            "description": "see docs/publishing.md",
        },
    }
    return {"type": "object", "properties": properties, "required": ["ce_id", "ce_type", "tenant", "actor"]}


def _fact_headers(kind: str) -> Schema:
    sealed = {name: dict(_TEXT) for name in SEALED} | {"ce_type": {"const": kind}}
    properties = {**sealed, **_OWN_HEADERS, "ce_id": {**_TEXT, "description": "stream@version, as the key"}}
    properties |= {"source": _POSITION, "chain": _HEX, "traceparent": _TEXT}
    return {"type": "object", "properties": properties, "required": [*SEALED, "ce_id", "source", "chain"]}


def _channel(topic: str) -> Schema:
    (declared,) = (one for one in TOPICS if one.name == topic)
    carried: Mapping[str, Sequence[str]] = {
        "memory.commands": list(COMMANDS),
        "memory.facts": list(FACTS),
        "memory.outcomes": ["outcome"],
        "memory.usage": ["usage"],
        "memory.dead-letters": ["dead-letter"],
    }
    found: Schema = {
        "address": topic,
        "description": f"Key: {declared.key}. Partition: {declared.partition}. Kept: {declared.kept}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried.get(topic, ())},
        "bindings": {"kafka": {"topic": topic, "topicConfiguration": _configuration(declared.settings)}},
    }
    return found


def _configuration(settings: Mapping[str, str]) -> Schema:
    """Return the settings that the Kafka binding has words for."""
    found: Schema = {"cleanup.policy": [settings["cleanup.policy"]]}
    for name in ("retention.ms", "delete.retention.ms", "max.message.bytes"):
        if name in settings:
            found[name] = int(settings[name])
    return found


def _operations() -> Schema:
    def one(action: str, channel: str, summary: str) -> Schema:
        return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}

    return {
        "publishCommands": one("send", "commands", "An agent publishes a command to partition slot % N."),
        "hearOutcomes": one("receive", "outcomes", "An agent hears what became of its commands, read committed."),
        "readFacts": one("receive", "facts", "A projection or an auditor reads what happened, read committed."),
        "readUsage": one("receive", "usage", "An auditor reads who read what."),
        "readDeadLetters": one("receive", "dead-letters", "An operator reads what could not be read."),
    }


def _outcome() -> Schema:
    time = {**_TEXT, "format": "date-time"}
    landed = {"stream": _TEXT, "version": {"type": "integer"}, "subject": _TEXT, "time": time}
    common = {
        "position": {**_POSITION, "description": "a read that has come so far sees all of it"},
        "source": {**_POSITION, "description": "where the command stands"},
    }
    fact = {"type": "object", "properties": landed, "required": list(landed)}
    accepted = {
        "status": {"const": "accepted"},
        "repeated": {"type": "boolean", "description": "an earlier command with this id was accepted; nothing changed"},
        "facts": {"type": "array", "items": fact},
    }
    rejected = {
        "status": {"const": "rejected"},
        "reason": {"enum": [str(reason) for reason in Reason]},
        "detail": {**_TEXT, "description": "what is wrong and what to do"},
        "existing": {**_TEXT, "description": "the id that holds a taken key"},
    }
    return {
        "description": "The key is the command's id.",
        "oneOf": [
            {"type": "object", "properties": {**accepted, **common}, "required": [*accepted, "position"]},
            {
                "type": "object",
                "properties": {**rejected, **common},
                "required": ["status", "reason", "detail", "position"],
            },
        ],
    }


def _dead_letter() -> Schema:
    return {
        "description": "The key is topic@partition@epoch:offset of the record.",
        "type": "object",
        "properties": {"reason": _TEXT},
        "required": ["reason"],
    }


def _usage() -> Schema:
    time, number = {**_TEXT, "format": "date-time"}, {"type": "integer"}
    scope = {
        "agent": _TEXT,
        "invoker": _TEXT,
        "stream": {**_TEXT, "description": "session/{id}, space/{id}, or what an audit named"},
    }
    properties = {
        "tenant": _TEXT,
        "actor": {**_TEXT, "description": "the principal who read"},
        "action": {"enum": ["read", "list", "count", "search", "audit"]},
        "scope": {"type": "object", "properties": scope, "description": "empty is the whole tenant"},
        "first": time,
        "last": time,
        "calls": {**number, "description": "how often"},
        "found": {**number, "description": "how many things these reads showed in all"},
    }
    queries = {
        "type": "array",
        "items": _TEXT,
        "description": "texts of searches, only where the deployment keeps them",
    }
    return {
        "description": "The key is an id: the time of the first read, the scope's slot, random bits.",
        "type": "object",
        "properties": {**properties, "queries": queries},
        "required": list(properties),
    }


# ---- vectors ---------------------------------------------------------------------------------------------------------


def vectors() -> Schema:
    """Return worked slots and partitions."""
    at, secret = 1_795_000_000_123_456, bytes(range(32))
    identifier = make_id(at, 758, secret, 0)
    hashed = [
        ("memory.add-memory.v1, message.add-message.v1: tenant, agent, invoker", ("acme", "support-bot", "user-é")),
        ("space.create-space.v1 with a deduplication key: tenant, user, key", ("acme", "ann", "K1")),
        (
            "space.create-space.v1 without one: tenant, user, command id",
            ("acme", "ann", "3aebeb15-d66e-597a-891d-000000000000"),
        ),
        ("policy.set-retention.v1: tenant", ("acme",)),
        ("parts are told apart", ("a", "bc")),
        ("parts are told apart", ("ab", "c")),
        ("text is UTF-8", ("tenant", "ünï", "☕")),
    ]
    return {
        "hashed": [{"for": what, "parts": list(parts), **_placed(slot_of(*parts))} for what, parts in hashed],
        "from an id": [
            {"for": "everything that exists: the 12 bits behind the version digit", "id": identifier, **_placed(758)}
        ],
    }


def _placed(slot: int) -> Schema:
    return {"slot": slot, "partitions": {str(n): partition_of(slot, n) for n in _PARTITIONS}}
