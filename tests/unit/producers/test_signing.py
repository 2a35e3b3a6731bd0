"""A publisher's signer: what it signs holds, its grant is renewed in time, what is wrong is said before it is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mnemolog.domain.codec import command_headers
from mnemolog.domain.proving import flaw
from mnemolog.domain.rules import Rules
from mnemolog.domain.signature import proof_of
from mnemolog.domain.times import DAY, SECOND
from producers import Away, Invalid, NotAllowed, Publisher
from producers.signing import KeyFile, Signer, spoken_as
from tests.given import NOON
from tests.signing import ACTOR, AGENT, AUTHORITY, granted

pytestmark = pytest.mark.unit

HOUR = 3_600 * SECOND
RULES = Rules(signers=("acme",), authorities=(AUTHORITY.public,))


def document(**fields: Any) -> dict[str, Any]:
    """Return a key file."""
    made = {"id": "k-1", "tenant": "acme", "actor": ACTOR, "key": (b"k" * 32).hex(), "grant": granted()}
    return {**made, **fields}


@dataclass
class Office:
    """Where grants are renewed, with a clock."""

    now: int = NOON
    away: bool = False
    asked: list[int] = field(default_factory=list)

    def renew(self, key: KeyFile) -> str:
        """Give the next grant, unless away."""
        del key
        self.asked.append(self.now)
        if self.away:
            message = "it rains"
            raise Away(message)
        return granted(ends=self.now + DAY)

    def signer(self, **fields: Any) -> Signer:
        """Return a signer that renews here."""
        return Signer(KeyFile(document(**fields)), renew=self.renew, clock=lambda: self.now)


def said(signer: Signer, at: int) -> str:
    """Sign a command, and return what the log finds wrong with it at a time."""
    headers, value = command_headers("id", "memory.add-memory.v1", "acme", ACTOR), b"{}"
    proof = proof_of({**headers, **signer.headers(headers, value)}, value)
    return flaw(("id", "memory.add-memory.v1", "acme", ACTOR), proof, at, RULES)


def test_what_is_signed_holds_for_as_long_as_a_publisher_lives() -> None:
    """The grant is renewed at half of its time, once a half: no command of a week is refused."""
    office = Office()
    signer = office.signer()
    for hour in range(24 * 7):
        office.now = NOON + hour * HOUR
        assert not said(signer, office.now)
    assert office.asked == [NOON + 12 * HOUR * n for n in range(1, 14)]


def test_while_the_server_is_away_the_grant_counts_until_its_end() -> None:
    """It is asked once a minute; at the end, nothing is signed, and the error says when and why."""
    office = Office(away=True)
    signer = office.signer()
    office.now = NOON + 13 * HOUR
    for _ in range(5):
        assert not said(signer, office.now)
    assert len(office.asked) == 1
    office.now = NOON + DAY
    with pytest.raises(NotAllowed, match=r"the grant of the key k-1 ended at 2026-.* it rains"):
        said(signer, office.now)
    office.away, office.now = False, NOON + DAY + 60 * SECOND
    assert not said(signer, office.now)


def test_without_a_server_the_end_of_the_grant_is_told() -> None:
    """With what to do."""
    office = Office(now=NOON + DAY)
    signer = Signer(KeyFile(document()), clock=lambda: office.now)
    with pytest.raises(NotAllowed, match="mnemolog keys renew"):
        signer.headers(command_headers("id", "x", "acme", ACTOR), b"")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"key": "00"}, "no key file"),
        ({"key": 7}, "no key file"),
        ({"grant": "{}"}, "cannot be read"),
        ({"key": (b"x" * 32).hex()}, "another key, tenant or actor"),
        ({"tenant": "other"}, "another key, tenant or actor"),
        ({"actor": "agent/x"}, "another key, tenant or actor"),
    ],
)
def test_a_key_file_that_cannot_sign_is_refused_at_once(fields: dict[str, Any], text: str) -> None:
    """Before anything is sent, and without the key in the text."""
    with pytest.raises(Invalid, match=text) as error:
        Office().signer(**fields)
    assert (b"k" * 32).hex() not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "7", '{"id": "k"}'])
def test_a_file_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    """Whatever lies there; also where nothing does."""
    file = tmp_path / "key.json"
    with pytest.raises(Invalid, match="cannot be read"):
        KeyFile.read(file)
    file.write_text(text)
    with pytest.raises(Invalid, match="key file"):
        KeyFile.read(file)


def test_a_publisher_that_signs_is_the_actor_of_its_key() -> None:
    """Tenant and actor need not be said, and nobody else's can be."""
    signer = Office().signer()
    assert spoken_as(signer, "", "") == spoken_as(signer, "acme", ACTOR) == ("acme", ACTOR)
    for tenant, actor in (("other", ""), ("", "agent/x")):
        with pytest.raises(Invalid, match="for nobody else"):
            spoken_as(signer, tenant, actor)


def test_over_http_nobody_signs(tmp_path: Path) -> None:
    """There the server does, and a key would be a mistake."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(document()))
    with pytest.raises(Invalid, match="signing: options of Kafka"):
        Publisher("http://127.0.0.1:1", token="t", signing=file)


def test_keys_of_tests_are_those_of_the_file() -> None:
    """The seed in the file is the key that grants name."""
    assert KeyFile(document()).key.public == AGENT.public
