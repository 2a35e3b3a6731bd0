"""The contract for other languages says what the code does: schemas, the AsyncAPI document, routing vectors."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mnemolog.domain.catalogue import COMMANDS, FACTS
from mnemolog.domain.codec import decode_command, encode_outcome
from mnemolog.domain.decider import decide
from mnemolog.domain.outcomes import Accepted, Landed, Outcome, Reason, Rejected
from mnemolog.domain.record import START, CommandRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.times import from_text
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
GOLDEN = [*(ROOT / "tests/golden/commands").glob("*.json"), *(ROOT / "tests/golden/facts").glob("*.json")]


def document(path: str) -> Any:
    """Return a file of the contract."""
    return json.loads((ROOT / "docs" / path).read_text("utf-8"))


def refs(value: Any) -> Iterator[str]:
    """Yield every `$ref` in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from refs(inner)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_each_golden_record_is_valid_by_its_schema(path: Path) -> None:
    """The value by the schema of its type, the headers by the AsyncAPI message; a value with more or less is not."""
    record = json.loads(path.read_text("utf-8"))
    schema = document(f"schemas/{path.parent.name}/{path.stem}.json")
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    value = json.loads(record["value"])
    validator.validate(value)
    headers = document("asyncapi.json")["components"]["messages"][path.stem]["headers"]
    Draft202012Validator(headers).validate(record["headers"])
    for wrong in ({**value, "more": 1}, {k: v for k, v in value.items() if k != next(iter(value))}):
        with pytest.raises(ValidationError):
            validator.validate(wrong)


def prefixed(*parts: bytes) -> bytes:
    """Return parts, each preceded by its length, as docs/publishing.md says it."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def checked(public: str, message: bytes, signature: str) -> None:
    """Check a signature with a library, and none of our code."""
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)


def test_the_signature_vectors_are_what_the_documentation_says() -> None:
    """Messages put together by hand from the texts in the file; each signature holds, by the key that it names."""
    found = document("signature-vectors.json")
    for one in found["keys"].values():
        seed = bytes.fromhex(one["seed"])
        assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex() == one["public"]
    grant = json.loads(found["grant"]["text"])
    said = [grant[name].encode() for name in ("authority", "tenant", "actor", "id", "key", "ends")]
    assert b"mnemolog/grant/1" + prefixed(*said) == bytes.fromhex(found["grant"]["message"])
    assert (grant["authority"], grant["key"]) == (found["keys"]["authority"]["public"], found["keys"]["key"]["public"])
    checked(grant["authority"], bytes.fromhex(found["grant"]["message"]), grant["signature"])
    for command in found["commands"]:
        headers = command["headers"]
        digest = hashlib.sha256(command["value"].encode()).digest()
        texts = [headers[name].encode() for name in ("ce_id", "ce_type", "tenant", "actor", "ce_time")]
        message = b"mnemolog/command/1" + prefixed(*texts, digest)
        assert (digest.hex(), message.hex()) == (command["sha256"], command["message"])
        assert headers["signature"] == "ed25519:" + command["signature"]
        assert headers["grant"] == found["grant"]["text"]
        checked(grant["key"], message, command["signature"])
    renewal = found["renewal"]
    message = b"mnemolog/renewal/1" + prefixed(*(renewal[name].encode() for name in ("tenant", "id", "time")))
    assert message.hex() == renewal["message"]
    checked(grant["key"], message, renewal["signature"])


def test_the_signed_commands_of_the_vectors_are_accepted() -> None:
    """Under rules that name their authority and want all tenants to sign; their headers are as AsyncAPI says."""
    found = document("signature-vectors.json")
    rules = Rules(signers=("*",), authorities=(found["keys"]["authority"]["public"],))
    for command in found["commands"]:
        headers = command["headers"]
        schema = document("asyncapi.json")["components"]["messages"][headers["ce_type"]]["headers"]
        Draft202012Validator(schema).validate(headers)
        unplaced = decode_command(CommandRecord("0", headers, command["value"].encode()))
        slot = slot_of_command(unplaced.tenant, unplaced.id, unplaced.command)
        at = from_text(headers["ce_time"])
        envelope = unplaced._replace(slot=slot or 0)
        assert isinstance(decide(State(MemorySnapshot(bytes(32))), envelope, at, START, rules), list)


def test_no_file_is_left_of_a_type_that_is_gone() -> None:
    """In the folders of schemas lies what the catalogue declares, and nothing else."""
    for folder, declared in (("commands", COMMANDS), ("facts", FACTS)):
        assert {path.stem for path in (ROOT / "docs/schemas" / folder).iterdir()} == set(declared)


def test_the_asyncapi_document_leads_everywhere() -> None:
    """Every reference names something; every type is a message of its channel; operations name channels."""
    found = document("asyncapi.json")
    assert found["asyncapi"] == "3.0.0"
    for ref in refs(found):
        if ref.startswith("#/"):
            at = found
            for step in ref[2:].split("/"):
                at = at[step]
        else:
            assert (ROOT / "docs" / ref).exists(), ref
    assert set(found["channels"]["commands"]["messages"]) == set(COMMANDS)
    assert set(found["channels"]["facts"]["messages"]) == set(FACTS)
    assert {op["action"] for op in found["operations"].values()} == {"send", "receive"}


@pytest.mark.parametrize(
    "result",
    [
        Accepted((Landed("acme/memory/x", 0, "x", 1_795_000_000_123_456),)),
        Accepted((), repeated=True),
        *(Rejected(reason, "text", "id") for reason in Reason),
        Rejected(Reason.INVALID, "text"),
    ],
    ids=str,
)
def test_each_outcome_is_valid_by_its_schema(result: Accepted | Rejected) -> None:
    """Accepted, repeated, and rejected for each reason."""
    schema = document("asyncapi.json")["components"]["schemas"]["Outcome"]
    value = json.loads(encode_outcome(Outcome("id", result, Position(0, 1), Position(0, 0))).value)
    Draft202012Validator(schema).validate(value)


def test_the_routing_vectors_are_what_the_page_says() -> None:
    """Computed anew, with the rule in docs/publishing.md and none of our code."""
    found = document("routing-vectors.json")
    assert found["hashed"]
    for vector in found["hashed"]:
        raw = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in vector["parts"])
        slot = int.from_bytes(hashlib.sha256(raw).digest()[:8], "big") % 4096
        assert (vector["slot"], vector["partitions"]) == (slot, {n: slot % int(n) for n in vector["partitions"]})
    for vector in found["from an id"]:
        assert vector["slot"] == (uuid.UUID(vector["id"]).int >> 64) & 0xFFF
