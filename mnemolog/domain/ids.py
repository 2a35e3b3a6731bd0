"""Ids that route themselves: UUIDv8 of 48-bit milliseconds, a 12-bit slot and 62 secret-derived bits.

An id alone tells which partition holds it, because some requests carry nothing else (wire contract §2).

1. `slot_of` hashes length-prefixed parts, so ("a", "bc") and ("ab", "c") differ.
2. `partition_of` is slot modulo N, N a power of two up to 4096 (design §3).
3. `make_id` takes its random bits from the command's secret: the same command log gives the same ids (design §5).
4. `parse_id` accepts any spelling of a UUID and returns None for anything that no id of ours can be.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Sequence

SLOTS = 4096
_VERSION = 8
_VARIANT = 0b10
_RANDOM_BITS = 62
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LENGTHS = [size.to_bytes(4, "big") for size in range(512)]
_ASCII_LENGTHS = ["\0\0\0" + chr(size) for size in range(128)]
_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_COMMAND_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "mnemolog/command")


def length_prefixed(parts: Sequence[str]) -> bytes:
    """Return the parts as UTF-8, each preceded by its length (4 bytes, big-endian)."""
    try:
        text = "".join([_ASCII_LENGTHS[len(part)] + part for part in parts])
        if text.isascii():  # nearly always, and then a character is a byte
            return text.encode()
    except IndexError:  # a long one
        pass
    pieces: list[bytes] = []
    for part in parts:
        raw = part.encode()
        size = len(raw)
        pieces += (_LENGTHS[size] if size < len(_LENGTHS) else size.to_bytes(4, "big"), raw)
    return b"".join(pieces)


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA-256 by its definition (RFC 2104), for keys up to a block of 64 bytes.

    OpenSSL 3 looks its algorithm up anew for each, which takes several times as long as the hashing.
    """
    inner, outer = _padded(key)
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


def keyed_sha256(key: bytes) -> Callable[[bytes], bytes]:
    """Return `hmac_sha256` for one key: what depends on the key alone is hashed once."""
    inner, outer = map(hashlib.sha256, _padded(key))

    def keyed(message: bytes) -> bytes:
        one, two = inner.copy(), outer.copy()
        one.update(message)
        two.update(one.digest())
        return two.digest()

    return keyed


def _padded(key: bytes) -> tuple[bytes, bytes]:
    block = key.ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


def slot_of(*parts: str) -> int:
    """Return H(parts) modulo 4096: the first 8 bytes, big-endian, of SHA-256 (design §3, `format-vectors.json`)."""
    return int.from_bytes(hashlib.sha256(length_prefixed(parts)).digest()[:8], "big") % SLOTS


def partition_of(slot: int, partitions: int) -> int:
    """Return the partition of a slot. Raises ValueError unless `partitions` is a power of two up to 4096."""
    if partitions < 1 or partitions > SLOTS or partitions & (partitions - 1):
        message = f"the number of partitions must be a power of two up to {SLOTS}, not {partitions}"
        raise ValueError(message)
    return slot % partitions


def make_id(at: int, slot: int, secret: bytes, n: int) -> str:
    """Return the n-th id that a command makes: `at` in µs, `secret` the command's 32 bytes (RFC 9562 §5.8)."""
    mac = hmac_sha256(secret, b"id" + n.to_bytes(4, "big"))
    random = int.from_bytes(mac[:8], "big") >> 2
    digits = f"{(at // 1000) << 80 | _VERSION << 76 | slot << 64 | _VARIANT << _RANDOM_BITS | random:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_id(text: str) -> str | None:
    """Return the canonical spelling of an id of ours, None if `text` is not one."""
    if _CANONICAL.fullmatch(text):
        return text
    try:
        value = uuid.UUID(text)
    except ValueError:
        return None
    if value.version != _VERSION:
        return None
    return str(value)


def slot_in(identifier: str) -> int:
    """Return the slot that an id of ours, canonically spelled, carries."""
    return int(identifier[15:18], 16)


def command_id(tenant: str, principal: str, idempotency_key: str) -> str:
    """Return the id of a command with an `Idempotency-Key`: the same for the same caller and key (design §5)."""
    name = length_prefixed((tenant, principal, idempotency_key)).hex()
    return str(uuid.uuid5(_COMMAND_NAMESPACE, name))


def proposal_id(*parts: str) -> str:
    """Return the id of a worker's proposal: the same proposal made twice is one command (design §7)."""
    return str(uuid.uuid5(_COMMAND_NAMESPACE, "proposal" + length_prefixed(parts).hex()))
