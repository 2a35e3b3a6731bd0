"""Golden files: an example of every type of fact and command ever released stays readable, and stays the same."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mnemolog.domain import canonical, chain
from mnemolog.domain.catalogue import COMMANDS, FACTS
from mnemolog.domain.codec import decode_command, decode_fact, encode_command, link_of
from mnemolog.domain.errors import Malformed
from mnemolog.domain.fact import SEALED
from mnemolog.domain.record import CommandRecord, FactRecord
from tests.golden import make

pytestmark = pytest.mark.unit

FACT_FILES = sorted((make.HERE / "facts").glob("*.json"))
COMMAND_FILES = sorted((make.HERE / "commands").glob("*.json"))


def fact_record(path: Path) -> tuple[FactRecord, dict[str, Any]]:
    """Return a golden fact's record, and the whole file."""
    file = json.loads(path.read_bytes())
    return FactRecord(file["key"], file["headers"], file["value"].encode()), file


def command_record(path: Path) -> CommandRecord:
    """Return a golden command's record."""
    file = json.loads(path.read_bytes())
    return CommandRecord(file["key"], file["headers"], file["value"].encode())


def test_every_type_has_a_golden_file_and_every_file_a_type() -> None:
    """A released type can neither lack its example nor leave the catalogue."""
    assert {path.stem for path in FACT_FILES} == set(FACTS)
    assert {path.stem for path in COMMAND_FILES} == set(COMMANDS)


@pytest.mark.parametrize("path", FACT_FILES, ids=lambda path: path.stem)
def test_a_golden_fact_is_read_and_verified(path: Path) -> None:
    """It decodes to its type; link and chain recomputed from its bytes are the stored ones."""
    record, file = fact_record(path)
    fact = decode_fact(record)
    assert type(fact.payload) is FACTS[path.stem]
    assert link_of(record).hex() == file["link"] == fact.link.hex()
    assert chain.extend(bytes.fromhex(file["before"]), link_of(record)).hex() == file["chain"] == fact.chain.hex()
    assert set(SEALED) <= set(file["headers"])
    assert record.key == f"{fact.stream}@{fact.version}" == file["headers"]["ce_id"]


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: path.stem)
def test_a_golden_command_is_read_and_written_again(path: Path) -> None:
    """It decodes to its type, and encodes to the same bytes."""
    record = command_record(path)
    envelope = decode_command(record)
    assert type(envelope.command) is COMMANDS[path.stem]
    assert encode_command(envelope) == record


def test_the_same_story_gives_the_same_bytes() -> None:
    """Deciding the fixed story again gives every golden file, byte for byte, headers in their order."""
    for path, text in make.golden().items():
        assert text == path.read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("path", FACT_FILES, ids=lambda path: path.stem)
def test_old_code_reads_facts_with_new_fields(path: Path) -> None:
    """A schema grows by addition within a version: what is unknown is ignored, at every level of ours."""
    record, _ = fact_record(path)
    value = canonical.loads(record.value or b"")
    for holder in (value, value["body"], *value["body"].get("took", ())):
        holder["something_new"] = {"a": 1}
    newer = decode_fact(FactRecord(record.key, {**record.headers, "new": "x"}, canonical.dumps(value)))
    assert newer.payload == decode_fact(record).payload


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: path.stem)
def test_guarantee_10_commands_with_unknown_fields_are_refused(path: Path) -> None:
    """A misspelt field must not be lost silently; its name, which is the caller's text, is not told."""
    record = command_record(path)
    value = canonical.loads(record.value or b"")
    for where in (-1, *range(len(value["parts"]))):
        changed = copy.deepcopy(value)
        (changed["target"] if where < 0 else changed["parts"][where])["surplus"] = 1
        with pytest.raises(Malformed, match="not permitted") as refused:
            decode_command(CommandRecord(record.key, record.headers, canonical.dumps(changed)))
        assert "surplus" not in str(refused.value)


@pytest.mark.parametrize("path", FACT_FILES, ids=lambda path: path.stem)
def test_one_changed_byte_breaks_the_link(path: Path) -> None:
    """Each sealed header and the value are covered; transport headers are not."""
    record, file = fact_record(path)
    assert link_of(FactRecord(record.key, record.headers, (record.value or b"") + b" ")).hex() != file["link"]
    for name in SEALED:
        forged = {**record.headers, name: record.headers[name] + "0"}
        assert link_of(FactRecord(record.key, forged, record.value)).hex() != file["link"], name
    moved = {**record.headers, "source": "7:7", "ce_source": "elsewhere"}
    assert link_of(FactRecord(record.key, moved, record.value)).hex() == file["link"]


def test_a_golden_file_is_never_overwritten(tmp_path: Path) -> None:
    """Formats are for ever: missing files are written, others refuse everything, and stay as they are."""
    old, new = tmp_path / "facts" / "old.json", tmp_path / "facts" / "new.json"
    assert make.write({old: "released\n"}) == 1
    assert make.write({old: "released\n"}) == 0
    with pytest.raises(FileExistsError, match=r"old\.json"):
        make.write({new: "new\n", old: "changed\n"})
    assert old.read_text(encoding="utf-8") == "released\n"
    assert not new.exists()
    assert make.write({new: "new\n", old: "released\n"}) == 1


def test_an_unknown_type_of_fact_stops_the_reader() -> None:
    """It is never skipped: what it says may be what a decision needs."""
    record, _ = fact_record(FACT_FILES[0])
    with pytest.raises(Malformed, match="cannot be read"):
        decode_fact(FactRecord(record.key, {**record.headers, "ce_type": "session.forked.v1"}, record.value))
