"""The format that is for ever: worked values, computed elsewhere, against the real code."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemolog.domain import chain, codec
from mnemolog.domain.codec import Envelope
from mnemolog.domain.decider import decide
from mnemolog.domain.decision import Case, Draft
from mnemolog.domain.fact import SEALED, Fact
from mnemolog.domain.fold import evolve
from mnemolog.domain.ids import hmac_sha256, length_prefixed, make_id, parse_id, partition_of, slot_in, slot_of
from mnemolog.domain.memory import MemoryAdded, MemoryUpdated
from mnemolog.domain.record import FactRecord, Position
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command, sent
from mnemolog.domain.times import from_text
from tests import wishes
from tests.given import KEY
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit

VECTORS = json.loads((Path(__file__).parents[2] / "golden" / "format-vectors.json").read_bytes())
FACTS = VECTORS["facts"]
SECRET = bytes.fromhex(VECTORS["ids"][0]["secret"])
SOURCE = Position(0, 7)


class ZeroRules(Rules):
    """Rules whose hash is that of the worked values."""

    @property
    def hash(self) -> str:
        """Return 64 zeros."""
        return "0" * 64


@pytest.mark.parametrize("vector", VECTORS["slots"], ids=lambda v: "/".join(v["parts"]))
def test_slots(vector: dict[str, Any]) -> None:
    """A slot is the first 8 bytes of SHA-256 over length-prefixed parts, modulo 4096."""
    digest = hashlib.sha256(length_prefixed(tuple(vector["parts"]))).digest()
    assert int.from_bytes(digest[:8], "big") == int(vector["H"])
    assert slot_of(*vector["parts"]) == vector["slot"]


@pytest.mark.parametrize("vector", VECTORS["ids"], ids=lambda v: str(v["n"]))
def test_ids(vector: dict[str, Any]) -> None:
    """An id is UUIDv8 of time, slot and 62 bits of the command's secret, and carries its slot."""
    secret = bytes.fromhex(vector["secret"])
    made = make_id(vector["milliseconds"] * 1_000 + 999, vector["slot"], secret, vector["n"])
    assert made == vector["id"]
    assert slot_in(made) == vector["slot"]
    assert parse_id(made.upper()) == made


def test_the_start_of_a_chain() -> None:
    """A stream's chain starts at a hash of its name."""
    vector = VECTORS["stream_start"]
    assert chain.start(vector["stream"]).hex() == vector["chain"]


@pytest.mark.parametrize("n", range(len(FACTS)))
def test_links_and_chains_of_the_worked_facts(n: int) -> None:
    """Commitment, sealed hash, link and chain come out of headers and value bytes alone."""
    vector = FACTS[n]
    value, sealed = vector["value"].encode(), vector["sealed_headers"]
    assert tuple(sealed) == SEALED
    assert chain.commitment(value).hex() == vector["commitment"]
    assert hashlib.sha256(length_prefixed(tuple(sealed.values()))).hexdigest() == vector["sealed_sha256"]
    record = FactRecord(vector["key"], sealed, value)
    assert codec.link_of(record).hex() == vector["link"]
    before = bytes.fromhex(FACTS[n - 1]["chain"] if n else VECTORS["stream_start"]["chain"])
    assert chain.extend(before, codec.link_of(record)).hex() == vector["chain"]


def commands() -> list[Command]:
    """Return the commands that the worked facts came from."""
    added, updated = (json.loads(vector["value"])["body"] for vector in FACTS)
    memory = FACTS[0]["sealed_headers"]["ce_subject"]
    return [
        wishes.add_memory(added["content"], agent=added["agent"], invoker=added["invoker"], metadata=added["metadata"]),
        wishes.update_memory(memory, **updated),
    ]


def test_sealing_and_deciding_give_the_worked_facts() -> None:
    """`seal`, then `decide`, write the worked records byte for byte: salts, digests, headers, values, links, chains.

    The first is sealed, as its stream bears the id of another moment; the second is decided upon it.
    """
    state = State(MemorySnapshot(KEY))
    first, second = FACTS
    sealed = first["sealed_headers"]
    slot, at, ordinal = int(sealed["slot"]), from_text(sealed["ce_time"]), int(sealed["ordinal"])
    added, updated = commands()
    draft = Draft(sealed["stream"], sealed["ce_subject"], MemoryAdded(**json.loads(first["value"])["body"]), 0)
    case = Case(sealed["command"], sealed["tenant"], sealed["actor"], slot, SECRET, added, at, ZeroRules())
    before = bytes.fromhex(VECTORS["stream_start"]["chain"])
    made = codec.seal(
        draft, case, time=at, version=0, ordinal=ordinal, index=0, count=1, before=before, source=SOURCE, trace=""
    )
    equals(*made, first)
    state.apply(evolve(state, made[0]))

    sealed = second["sealed_headers"]
    envelope = Envelope(sealed["command"], sealed["tenant"], sealed["actor"], slot, SECRET, updated)
    decided = decide(state, envelope, at, SOURCE, ZeroRules())
    assert isinstance(decided, list)
    (made,) = decided
    equals(*made, second)


def equals(fact: Fact, record: FactRecord, vector: dict[str, Any]) -> None:
    """Compare a fact and its record with a worked one, and the fact with what is read back."""
    assert record.key == vector["key"]
    assert {name: record.headers[name] for name in SEALED} == vector["sealed_headers"]
    assert [name for name in record.headers if name in SEALED] == list(SEALED)
    assert record.value == vector["value"].encode()
    assert fact.link.hex() == vector["link"]
    assert record.headers["chain"] == vector["chain"] == fact.chain.hex()
    assert record.headers["source"] == str(SOURCE)
    assert codec.decode_fact(record) == fact


def test_digests_cover_one_part_as_the_caller_sent_it() -> None:
    """The digest is over salt and the part's canonical JSON: neither ids nor owners are in it."""
    for vector, command in zip(FACTS, commands(), strict=True):
        value = json.loads(vector["value"])
        part = codec.canonical_part(command.parts[0])
        assert chain.digest(bytes.fromhex(value["salt"]), part).hex() == value["digest"]
    assert codec.canonical_part(commands()[0].parts[0]) == b'{"content":"likes tea","metadata":{"a":null,"b":1}}'


def test_sealing_is_the_same_whatever_else_is_carried() -> None:
    """Source and trace are transport: another run's differ, and link and value stay."""
    case = Case("c", "acme", "client/sb", 758, SECRET, commands()[0], 0, ZeroRules())
    memory = FACTS[0]["sealed_headers"]["ce_subject"]
    drafts = Draft(f"acme/memory/{memory}", memory, MemoryAdded(agent="a", invoker="b", content="c"), 0)

    def sealed(source: Position, trace: str) -> tuple[Fact, FactRecord]:
        return codec.seal(
            drafts, case, time=1, version=0, ordinal=0, index=0, count=1, before=b"", source=source, trace=trace
        )

    (one, plain), (other, traced) = sealed(Position(0, 1), ""), sealed(Position(3, 9), "00-ab-cd-01")
    assert one._replace(source=other.source) == other
    assert plain.value == traced.value
    assert codec.link_of(plain) == codec.link_of(traced)
    assert set(traced.headers) - set(plain.headers) == {"traceparent"}


def test_a_fact_says_only_what_was_sent() -> None:
    """An absent field is absent in the value, a null one null: an update of one must not look like one of the other."""
    assert sent(MemoryUpdated(metadata=None)) == {"metadata": None}
    assert sent(MemoryUpdated(content="x")) == {"content": "x"}


@pytest.mark.parametrize(("slot", "partitions", "partition"), [(758, 1, 0), (758, 8, 6), (4095, 4096, 4095)])
def test_partitions(slot: int, partitions: int, partition: int) -> None:
    """A partition is the slot modulo their number."""
    assert partition_of(slot, partitions) == partition


@pytest.mark.parametrize("partitions", [0, 3, 8192, -1])
def test_impossible_numbers_of_partitions(partitions: int) -> None:
    """The number of partitions is a power of two up to 4096."""
    with pytest.raises(ValueError, match="power of two"):
        partition_of(1, partitions)


@pytest.mark.parametrize(
    "text", ["", "x", "01a1ee56-5e7b-72f6-9107-b841a9b0cc2c", "01a1ee56-5e7b-82f6-1107-b841a9b0cc2c"]
)
def test_what_is_no_id_of_ours(text: str) -> None:
    """Other texts and other kinds of UUID name nothing."""
    assert parse_id(text) is None


@given(st.binary(max_size=64), st.binary(max_size=200))
def test_our_hmac_is_hmac(key: bytes, message: bytes) -> None:
    """Written out for speed, it gives what the standard library gives."""
    assert hmac_sha256(key, message) == hmac.digest(key, message, "sha256")
