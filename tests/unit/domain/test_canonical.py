"""JSON: kept verbatim, compared canonically, refused where it could not be written again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemolog.domain.canonical import NESTING_LIMIT, canonical, dumps, headers, loads, plain, text
from mnemolog.domain.codec import Envelope, decode_command, encode_command
from tests.wishes import add_memory

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
WHOLE = st.integers(-(10**30), 10**30)
NUMBERS = WHOLE | st.floats(allow_nan=False, allow_infinity=False)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


VALUES = _nested(st.none() | st.booleans() | NUMBERS | TEXT)
PLAIN = _nested(st.none() | st.booleans() | WHOLE | TEXT)


@given(value=VALUES)
@settings(max_examples=100, deadline=None, print_blob=True)
def test_what_is_read_can_be_written_again(value: Any) -> None:
    """Bytes to value to bytes is the identity, for both spellings."""
    assert loads(dumps(value)) == value
    assert dumps(loads(dumps(value))) == dumps(value)
    assert canonical(loads(canonical(value))) == canonical(value)
    assert text(value).encode() == dumps(value)


@given(value=PLAIN)
@settings(max_examples=200, deadline=None, print_blob=True)
def test_both_encoders_spell_what_has_no_fractions_alike(value: Any) -> None:
    """The faster one may stand for the other there: the same bytes."""
    assert plain(value) == dumps(value)


def test_neither_encoder_writes_half_a_surrogate_pair() -> None:
    """A ValueError from both."""
    for encode in (plain, dumps):
        with pytest.raises(ValueError, match="surrogate"):
            encode({"ce_id": "\ud800"})


@given(fields=st.dictionaries(TEXT, VALUES, min_size=2), data=st.data())
@settings(max_examples=50, deadline=None, print_blob=True)
def test_the_order_of_keys_is_kept_and_not_compared(fields: dict[str, Any], data: st.DataObject) -> None:
    """Compact text has the caller's order, canonical bytes have none."""
    other = {key: fields[key] for key in data.draw(st.permutations(list(fields)))}
    assert canonical(other) == canonical(fields)
    assert list(loads(dumps(other))) == list(other)


def test_the_spellings() -> None:
    """No spaces, no escapes, keys sorted by code point."""
    assert dumps({"b": "é\u2028", "a": [1, None]}) == '{"b":"é\u2028","a":[1,null]}'.encode()
    assert canonical({"é": 1, "z": {"b": 1, "a": 2}, "Z": 1}) == '{"Z":1,"z":{"a":2,"b":1},"é":1}'.encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"nul", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b'"\\ud800"', b'{"\\udc00":1}', b'"\xff"',
        b"\xef\xbb\xbf{}", b"{} {}", b"'x'", b"[1,]", b"1" * 5_000,
    ],
    ids=repr,
)  # fmt: skip
def test_guarantee_10_what_cannot_be_written_again_is_refused(raw: bytes) -> None:
    """No JSON, no number, half a surrogate pair, no UTF-8: a ValueError with a text."""
    with pytest.raises(ValueError, match=r"\w"):
        loads(raw)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_guarantee_10_nesting_has_a_limit_of_its_own(opening: str, closing: str) -> None:
    """It is the same for every interpreter and caller, so a decision cannot depend on either."""

    def nested(levels: int) -> str:
        return opening * levels + "1" + closing * levels

    assert loads(nested(NESTING_LIMIT)) is not None
    for levels in (NESTING_LIMIT + 1, 5_000, 200_000):
        with pytest.raises(ValueError, match="nested more than"):
            loads(nested(levels))
    assert len(loads("[" + "[]," * 999 + "[]]")) == 1_000


def test_headers_that_somebody_has_broken_are_read_as_they_are() -> None:
    """An audit says what is wrong with them; reading is no place to fail."""
    assert headers('{"stream":"s","ce_id":"\\ud800"}') == {"stream": "s", "ce_id": "\ud800"}
    with pytest.raises(ValueError, match="Expecting"):
        headers("{")


def test_what_may_be_read_may_be_carried_by_a_command() -> None:
    """The deepest metadata that a command may bring survives being written and read."""
    metadata = loads('{"a":' * (NESTING_LIMIT - 3) + "1" + "}" * (NESTING_LIMIT - 3))
    envelope = Envelope("c", "acme", "client/sb", 1, bytes(32), add_memory(metadata=metadata))
    assert decode_command(encode_command(envelope)) == envelope
