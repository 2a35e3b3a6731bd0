"""Records that nobody should publish: random bytes, and sound commands bent in every way that we could think of."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "commands").glob("*.json"))
_TEXTS = ["", " ", "\x00", "é" * 90, "x" * 5_000, "../..", "acme/policy", "01a1ee56-5e7b-82f6-9107-b841a9b0cc2c", "☕"]
_VALUES: list[Any] = [None, True, 0, -1, 10**30, 1.5, 1e308, "", "text", [], {}, [[]], {"a": None}, ["x"] * 300]
_TYPES = ["", "memory.add-memory.v2", "memory.add-memory", "session.event-appended.v1", "MEMORY.ADD-MEMORY.V1"]


class Record(NamedTuple):
    """A record as it is produced."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int

    @property
    def named(self) -> bool:
        """Whether it names a command, which then must get an outcome."""
        return bool(dict(self.headers).get("ce_id"))


def records(seed: int, count: int, partitions: int) -> Iterator[Record]:
    """Yield so many records: a tenth are sound, a fifth random bytes, the others mutated; the same for a seed."""
    chance = random.Random(seed)
    golden = [json.loads(path.read_text("utf-8")) for path in _GOLDEN]
    for number in range(count):
        sound = chance.choice(golden)
        headers = {name: text.encode() for name, text in sound["headers"].items()}
        headers["ce_id"] = f"fuzz-{number}".encode()
        slot = int(sound["key"])
        record = Record(sound["key"].encode(), sound["value"].encode(), list(headers.items()), slot % partitions)
        dice = chance.random()
        if dice < 0.2:
            record = _random(chance, number, partitions)
        elif dice < 0.9:
            for _ in range(chance.randint(1, 3)):
                record = _bent(chance, record, partitions)
        yield record


def _random(chance: random.Random, number: int, partitions: int) -> Record:
    name = [("ce_id", f"fuzz-{number}".encode())] if chance.random() < 0.5 else []
    headers = [(chance.choice(["ce_type", "tenant", "actor", "x"]), chance.randbytes(8)) for _ in range(3)]
    key = chance.choice([None, b"7", chance.randbytes(6)])
    value = chance.choice([None, b"", chance.randbytes(chance.randint(1, 400)), b"[" * 50_000, b"{}", b"null"])
    if key is None and value is None:
        key = b""
    return Record(key, value, name + headers, chance.randrange(partitions))


def _bent(chance: random.Random, record: Record, partitions: int) -> Record:
    """Change one thing."""
    match chance.randrange(10):
        case 0:
            return record._replace(partition=chance.randrange(partitions))
        case 1:
            return record._replace(key=chance.choice([b"", b"-1", b"4096", b"7.5", b"\xff", b"0" * 5_000, b"758"]))
        case 2:
            return record._replace(headers=[h for h in record.headers if h[0] != chance.choice(record.headers)[0]])
        case 3:
            chosen = chance.choice(["ce_type", "tenant", "actor", "ce_id", "traceparent"])
            text = chance.choice([*_TEXTS, *_TYPES]).encode() if chance.random() < 0.8 else chance.randbytes(9)
            return record._replace(headers=[*(h for h in record.headers if h[0] != chosen), (chosen, text)])
        case 4:
            raw = bytearray(record.value or b"{}")
            raw[chance.randrange(len(raw))] = chance.randrange(256)
            return record._replace(value=bytes(raw))
        case 5:
            return record._replace(value=(record.value or b"")[: chance.randint(0, len(record.value or b""))])
        case 6:
            return record._replace(value=json.dumps(chance.choice(_VALUES)).encode())
        case _:
            return record._replace(value=_changed(chance, record.value or b"{}"))


def _changed(chance: random.Random, raw: bytes) -> bytes:
    """Return JSON with one value, somewhere in it, replaced, removed or added."""
    try:
        document = json.loads(raw)
    except ValueError:
        return raw
    at: Any = document
    while isinstance(at, dict | list) and at:
        key: Any = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if not isinstance(at[key], dict | list) or not at[key] or chance.random() < 0.3:
            _put(chance, at, key)
            break
        at = at[key]
    return json.dumps(document).encode()


def _put(chance: random.Random, at: Any, key: Any) -> None:
    if chance.random() < 0.2:
        del at[key]
    elif chance.random() < 0.2 and isinstance(at, dict):
        at[chance.choice(_TEXTS)] = chance.choice(_VALUES)
    else:
        at[key] = chance.choice([*_VALUES, *_TEXTS])


def ids(several: Sequence[Record]) -> list[str]:
    """Return the ids that records name, as the log reads them."""
    return [dict(record.headers)["ce_id"].decode("utf-8", "replace") for record in several if record.named]
