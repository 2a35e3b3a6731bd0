"""What a signature decides (ADR 0016): a command of a tenant that must sign is its actor's, or leaves no fact."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from mnemolog.domain.codec import Envelope, decode_command, encode_command
from mnemolog.domain.decider import Sealed, decide
from mnemolog.domain.fold import evolve
from mnemolog.domain.outcomes import Accepted, Reason, Rejected
from mnemolog.domain.proving import AHEAD, MARGIN
from mnemolog.domain.record import START, CommandRecord, Position
from mnemolog.domain.routing import slot_of_command
from mnemolog.domain.rules import Rules
from mnemolog.domain.schema import Command
from mnemolog.domain.signature import Key, instant, read_grant
from mnemolog.domain.times import DAY, SECOND
from tests.given import KEY, NOON
from tests.signing import ACTOR, AGENT, AUTHORITY, OTHER_AUTHORITY, granted, signed
from tests.wishes import add_memory, create_client, create_key, delete_session
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit

REQUIRED = Rules(signers=("acme",), authorities=(AUTHORITY.public,))


def said(command: Command | None = None, *, tenant: str = "acme", actor: str = ACTOR, nth: int = 0) -> Envelope:
    """Surround a command."""
    command = command or add_memory("likes tea")
    identifier = f"command-{nth}"
    return Envelope(identifier, tenant, actor, slot_of_command(tenant, identifier, command) or 0, KEY, command)


def decided(record: CommandRecord, rules: Rules = REQUIRED, at: int = NOON) -> Sealed | Accepted | Rejected:
    """Decide a record on a state that knows nothing."""
    return decide(State(MemorySnapshot(KEY)), decode_command(record), at, START, rules)


def refused(record: CommandRecord, rules: Rules = REQUIRED, at: int = NOON) -> str:
    """Decide a record, which must be refused as unsigned; return what is said."""
    result = decided(record, rules, at)
    assert isinstance(result, Rejected), result
    assert result.reason is Reason.UNSIGNED
    return result.detail


def test_guarantee_8_a_signed_command_leaves_the_facts_of_an_unsigned_one() -> None:
    """Keys, values and headers are byte-equal, but for the hash of the rules and the chain, which covers it."""
    result, plain = decided(signed(said())), decided(encode_command(said()), Rules())
    assert isinstance(result, list)
    assert isinstance(plain, list)
    for (_, one), (_, other) in zip(result, plain, strict=True):
        assert (one.key, one.value) == (other.key, other.value)
        assert {name for name in one.headers if one.headers[name] != other.headers[name]} == {"rules", "chain"}
        assert list(one.headers) == list(other.headers)


def test_guarantee_8_the_actor_in_the_fact_is_the_granted_one() -> None:
    """Whoever has a grant for one actor cannot speak as another."""
    result = decided(signed(said()))
    assert isinstance(result, list)
    assert result[0][0].actor == ACTOR
    assert "another actor" in refused(signed(said(actor="agent/other"), grant=granted()))


def flipped(record: CommandRecord) -> CommandRecord:
    """Change one letter of the text that was signed."""
    return replace(record, value=(record.value or b"").replace(b"tea", b"tex"))


WRONG: dict[str, tuple[Callable[[], CommandRecord], str]] = {
    "unsigned": (lambda: encode_command(said()), "must be signed"),
    "without a grant": (lambda: signed(said(), grant=""), "cannot be read"),
    "without a signature": (lambda: signed(said(), signature=""), "another algorithm"),
    "without a time": (lambda: signed(said(), ce_time=""), "ce_time"),
    "of another tenant": (lambda: signed(said(), grant=granted(tenant="evil")), "another tenant"),
    "of another actor": (lambda: signed(said(), grant=granted(actor="agent/x")), "another actor"),
    "by a grant that has ended": (lambda: signed(said(), grant=granted(ends=NOON)), "ended"),
    "by a grant without an end": (lambda: signed(said(), grant=endless()), "cannot be read"),
    "of an unknown authority": (lambda: signed(said(), grant=granted(authority=OTHER_AUTHORITY)), "does not count"),
    "by a grant that was changed": (
        lambda: signed(said(actor="agent/root"), grant=granted().replace(ACTOR, "agent/root")),
        "not signed by the authority",
    ),
    "by a grant that names itself": (lambda: signed(said(), grant=granted(authority=AGENT)), "does not count"),
    "by a key that was not granted": (lambda: signed(said(), key=Key(b"x" * 32)), "not that of the granted key"),
    "too long ago": (lambda: signed(said(), time=NOON - DAY + MARGIN), "too long ago"),
    "ahead of the log": (lambda: signed(said(), time=NOON + AHEAD + 1), "ahead"),
    "with another value": (lambda: flipped(signed(said())), "not that of the granted key"),
    "with another id": (lambda: signed(said(), ce_id="command-1"), "not that of the granted key"),
    "with another time": (lambda: signed(said(), ce_time="2026-11-18T12:00:00Z"), "not that of the granted key"),
    "by another algorithm": (lambda: signed(said(), signature="ed448:" + "0" * 128), "another algorithm"),
    "by no algorithm": (lambda: signed(said(), signature="none:"), "another algorithm"),
    "by half a signature": (lambda: signed(said(), signature="ed25519:" + "0" * 64), "not that of the granted key"),
    "by no hex": (lambda: signed(said(), signature="ed25519:x"), "not that of the granted key"),
}


def endless() -> str:
    """Return a grant whose end is missing."""
    grant = json.loads(granted())
    del grant["ends"]
    return json.dumps(grant)


@pytest.mark.parametrize(("record", "text"), WRONG.values(), ids=WRONG.keys())
def test_guarantee_8_what_is_not_proven_is_refused(record: Callable[[], CommandRecord], text: str) -> None:
    """One check fails at a time, and the outcome says which; it holds none of the caller's text."""
    detail = refused(record())
    assert text in detail
    assert "tea" not in detail


def test_guarantee_8_a_signature_of_one_type_is_none_of_another() -> None:
    """Two types may have equal values: the deletion that was signed does not become another command about the same."""
    thing = "01a1ee56-5e7b-82f6-9c3e-000000000000"
    record = signed(said(delete_session(thing, thing)))
    decided_as_signed = decided(record)
    assert isinstance(decided_as_signed, Rejected)
    assert decided_as_signed.reason is Reason.NOT_FOUND, "there is no such session, but the signature holds"
    other = replace(record, headers={**record.headers, "ce_type": "session.complete-extraction.v1"})
    assert "not that of the granted key" in refused(other)


def test_guarantee_8_an_authority_that_is_taken_out_of_the_rules_ends_all_its_grants() -> None:
    """At once, also those of keys that nobody has revoked; with two authorities, both count."""
    both = Rules(signers=("*",), authorities=(OTHER_AUTHORITY.public, AUTHORITY.public))
    assert isinstance(decided(signed(said()), both), list)
    assert "does not count" in refused(signed(said()), replace(both, authorities=(OTHER_AUTHORITY.public,)))
    assert "does not count" in refused(signed(said()), replace(both, authorities=()))


@pytest.mark.parametrize("at", [NOON - AHEAD - SECOND, NOON, NOON + DAY - SECOND - MARGIN - 1])
def test_a_signature_counts_for_a_day_whatever_the_clocks(at: int) -> None:
    """From five minutes before its time until ten minutes before the window ends: no copy outlives the window."""
    assert isinstance(decided(signed(said(), grant=granted(ends=NOON + 9 * DAY)), at=at), list)
    for late in (NOON - AHEAD - SECOND - 1, NOON + DAY - SECOND - MARGIN):
        refused(signed(said(), grant=granted(ends=NOON + 9 * DAY)), at=late)


def test_who_must_not_sign_is_not_disturbed() -> None:
    """Another tenant's unsigned commands are accepted; a signature that is there must hold all the same."""
    assert isinstance(decided(encode_command(said(tenant="free"))), list)
    assert isinstance(decided(signed(said(tenant="free"))), list)
    assert "another actor" in refused(signed(said(tenant="free"), grant=granted(tenant="free", actor="agent/x")))


def test_rules_without_signatures_look_at_none() -> None:
    """Under rules that say nothing of it, headers of any content change nothing: old logs give their old facts."""
    plain, junk = decided(encode_command(said()), Rules()), decided(signed(said(), grant="{", signature="x"), Rules())
    assert isinstance(plain, list)
    assert isinstance(junk, list)
    assert [record for _, record in plain] == [record for _, record in junk]


@pytest.mark.parametrize(
    ("signers", "tenant", "must"),
    [
        ((), "acme", False),
        (("acme",), "acme", True),
        (("acme",), "acme/sub", True),
        (("acme",), "acme2", False),
        (("acme/sub",), "acme", False),
        (("acme/sub",), "acme/sub", True),
        (("*",), "anyone", True),
    ],
)
def test_who_must_sign(signers: tuple[str, ...], tenant: str, must: bool) -> None:
    """Nobody, those that are listed with their subscribers, or all."""
    assert Rules(signers=signers).must_sign(tenant) is must


def test_rules_that_ask_for_no_signature_keep_their_hash() -> None:
    """The hash in every fact that was written before there were signatures; each member that is used changes it."""
    assert Rules().hash == "263ded3ac22f88ce041468aa22e9485d1b6424ab8117c09ef4604dfaa55b5927"
    several = [Rules(), Rules(signers=("a",)), Rules(signers=("b",)), Rules(authorities=("a",)), REQUIRED]
    assert len({rules.hash for rules in several}) == len(several)


@pytest.mark.parametrize("command", [create_client(), create_key("k-2")])
def test_guarantee_8_a_granted_key_makes_no_credential(command: Command) -> None:
    """Or it could make its own successor before it is revoked; an operator with a grant may."""
    assert "credentials" in refused(signed(said(command)))
    assert isinstance(decided(signed(said(command, actor="operator/cli"))), list)


def test_guarantee_3_a_repeat_is_signed_anew_and_gets_the_first_acceptance() -> None:
    """The time of signing is no part of what is compared; an unsigned repeat is refused."""
    state = State(MemorySnapshot(KEY))

    def tell(record: CommandRecord, nth: int) -> Sealed | Accepted | Rejected:
        return decide(state, decode_command(record), NOON + nth, Position(0, nth), REQUIRED)

    first = tell(signed(said()), 0)
    assert isinstance(first, list)
    for fact, _ in first:
        state.apply(evolve(state, fact))
    again = tell(signed(said(), time=NOON), 1)
    assert isinstance(again, Accepted)
    assert again.repeated
    assert isinstance(tell(encode_command(said()), 2), Rejected)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("2026-11-18T12:00:00Z", True),
        ("2026-11-18T12:00:00.123456789Z", True),
        ("2026-11-18 12:00:00Z", False),
        ("2026-11-18T12:00:00+00:00", False),
        ("2026-11-18T12:00:00", False),
        ("2026-02-30T12:00:00Z", False),
        ("20261118T120000Z", False),
        ("２026-11-18T12:00:00Z", False),  # noqa: RUF001 -- a digit that is none of ASCII's
        ("", False),
    ],
)
def test_an_instant_has_one_form(text: str, known: bool) -> None:
    """What a decision depends on must not depend on which times a Python can read."""
    assert (instant(text) is not None) is known


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"tenant": 1}', "[" * 300, "x" * 10_000, '"\\ud800"'])
def test_guarantee_10_a_grant_that_is_none_is_no_error(text: str) -> None:
    """Whatever stands in the header: it is no grant, and nothing is raised."""
    assert read_grant(text) is None
