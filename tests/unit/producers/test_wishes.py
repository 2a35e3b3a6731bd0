"""What a publisher says: validated before it leaves, and written as the log reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnemolog.domain.catalogue import COMMANDS
from mnemolog.domain.codec import canonical_part, command_headers, command_value, decode_command
from mnemolog.domain.ids import make_id
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.schema import Command
from producers import Invalid
from producers.wishes import Entropy, parsed, slot_for, wish_of, wished

pytestmark = pytest.mark.unit
GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "commands").glob("*.json"))
OWNER = {"agent": "a", "invoker": "i"}
ADD = "memory.add-memory.v1"


def golden(path: Path) -> Command:
    """Return the command in a golden file."""
    file = json.loads(path.read_text("utf-8"))
    return decode_command(CommandRecord(file["key"], file["headers"], file["value"].encode())).command


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_command_is_written_as_the_log_reads_it(path: Path) -> None:
    """What a caller said, sent as it is, decodes to the same command with the same canonical parts."""
    command = golden(path)
    said = wish_of(command)
    wish = parsed({"type": command.TYPE, "target": said.target, "parts": said.parts, "key": "k"})
    headers = command_headers("id", wish.command.TYPE, "acme", "agent/x")
    read = decode_command(CommandRecord("7", headers, command_value(bytes(32), wish.target, wish.parts)))
    assert read.command == wish.command == command
    assert [canonical_part(part) for part in read.command.parts] == [canonical_part(part) for part in command.parts]
    assert (read.id, read.tenant, read.actor, wish.key) == ("id", "acme", "agent/x", "k")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "a command is a JSON object"),
        ({"type": "memory.forget.v1"}, "type: names no command"),
        ({"type": ADD, "target": {"agent": "a"}, "parts": [{"content": "x"}]}, "target.invoker: Field required"),
        ({"type": ADD, "target": OWNER, "parts": [{"content": ""}]}, "content: String should have at least 1"),
        ({"type": ADD, "target": OWNER, "parts": []}, "Field required"),
        ({"type": ADD, "target": OWNER, "parts": "text"}, "Input should be a valid tuple"),
        ({"type": ADD, "target": {**OWNER, "secret text": 1}, "parts": [{"content": "x"}]}, "Extra inputs"),
        ({"type": ADD, "target": OWNER, "parts": [{"content": "x"}], "tenant": "b"}, "1 other fields"),
        ({"type": ADD, "target": OWNER, "parts": [{"content": "x"}], "key": 7}, "key: must be a text"),
        ({"type": ADD, "target": OWNER, "parts": [{"content": "x"}], "key": "k" * 129}, "key: at most 128"),
        ({"type": ADD, "target": OWNER, "parts": [{"content": "x"}], "key": "  "}, "not blank"),
    ],
)
def test_guarantee_10_what_is_not_valid_is_refused_before_it_leaves(document: object, says: str) -> None:
    """The error says where the mistake is, and repeats no text of the caller's."""
    with pytest.raises(Invalid) as refused:
        parsed(document)
    assert says in str(refused.value)
    assert "secret text" not in str(refused.value)


def test_what_cannot_exist_is_refused_before_it_leaves() -> None:
    """An id that is none of ours, and two ids of different slots, name nothing."""
    here, there = (make_id(1_795_000_000_000_000, slot, bytes(32), 0) for slot in (7, 8))
    kind = COMMANDS["session.delete-session.v1"]
    fine = wished(kind, {"space": here, "user": "u", "session": here})
    assert slot_for("acme", "id", fine.command) == 7
    for target in ({"space": here, "session": there}, {"space": "x", "session": here}):
        with pytest.raises(Invalid, match=r"none of mnemolog's"):
            slot_for("acme", "id", wished(kind, {"user": "u", **target}).command)


def test_no_random_byte_is_given_twice() -> None:
    """Ids and secrets are cut from a store of random bytes, which is filled anew in time; ids are UUIDv4."""
    entropy = Entropy()
    secrets = [entropy.take(32) for _ in range(4_000)]
    ids = [entropy.new_id() for _ in range(4_000)]
    assert len(set(secrets)) == len(set(ids)) == 4_000
    assert all(len(secret) == 32 for secret in secrets)
    assert all(i[14] == "4" and i[19] in "89ab" and len(i) == 36 for i in ids)
