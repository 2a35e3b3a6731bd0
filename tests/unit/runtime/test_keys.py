"""`mnemolog keys`, and a data folder whose tenant must sign: everything of the service's own still works there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.ids import slot_of
from mnemolog.domain.outcomes import Reason
from mnemolog.domain.proving import flaw
from mnemolog.domain.signature import Key, proof_of, read_grant
from mnemolog.domain.times import SECOND, from_text
from mnemolog.runtime.cli import main
from mnemolog.runtime.config import BadConfiguration, Settings
from mnemolog.runtime.folder import now
from mnemolog.runtime.signing import Signatory
from producers.signing import KeyFile
from tests.given import NOON
from tests.signing import AUTHORITY, OTHER_AUTHORITY
from tests.unit.runtime.commands import Run, bring, facts, made
from tests.wishes import add_memory

pytestmark = pytest.mark.unit

SEED = (b"a" * 32).hex()
DAY = 86_400_000_000


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tenant acme sign."""
    monkeypatch.setenv("MNEMOLOG_AUTHORITIES", AUTHORITY.public)
    monkeypatch.setenv("MNEMOLOG_AUTHORITY_KEY", SEED)
    monkeypatch.setenv("MNEMOLOG_SIGNED_TENANTS", "acme")


def key(run: Run, tenant: str = "acme", actor: str = "agent/a", *options: str) -> dict[str, Any]:
    """Make a key."""
    return made(run("keys", "create", "--tenant", tenant, "--actor", actor, "--json", *options))


def published(run: Run, folder: Path, content: str, *options: str) -> dict[str, int]:
    """Publish one memory for acme; return the report."""
    file = folder / f"{content}.jsonl"
    target = {"agent": "a", "invoker": "i"}
    file.write_text(json.dumps({"type": "memory.add-memory.v1", "target": target, "parts": [{"content": content}]}))
    said = run("publish", str(file), "--tenant", "acme", "--json", *options)
    report: dict[str, int] = json.loads(said.out)
    return report


def test_an_authority_is_made_and_kept_nowhere(run: Run, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both settings are printed, the second is the public half of the first."""
    assert main(["keys", "authority"]) == 0
    lines = dict(line.split("=") for line in capsys.readouterr().out.splitlines())
    assert lines["MNEMOLOG_AUTHORITIES"] == Key(bytes.fromhex(lines["MNEMOLOG_AUTHORITY_KEY"])).public
    assert not data.exists()
    assert run("keys", "create", "--tenant", "acme", "--actor", "agent/a").code == 2, "there is none in force"


@pytest.mark.usefixtures("signed")
def test_a_key_is_printed_once_with_a_grant_that_ends(run: Run, data: Path) -> None:
    """Its public half is a fact, the key itself is nowhere; it is listed until it is revoked."""
    before = now()
    one = key(run, "acme", "agent/a", "--url", "http://m:1")
    assert one.keys() == {"id", "tenant", "actor", "key", "grant", "url"}
    grant = read_grant(one["grant"])
    assert grant is not None
    public = KeyFile(one).key.public
    assert grant[:5] == (AUTHORITY.public, "acme", "agent/a", one["id"], public)
    assert before + DAY <= from_text(grant.ends) <= now() + DAY
    stored = b"".join(path.read_bytes() for path in data.iterdir())
    assert one["key"].encode() not in stored
    (row,) = json.loads(run("keys", "list", "--json").out)
    assert (row["id"], row["tenant"], row["actor"], row["public_key"]) == (one["id"], "acme", "agent/a", public)
    assert "actor=agent/a" in run("keys", "list").out
    assert made(run("keys", "revoke", one["id"], "--json")) == {"revoked": one["id"], "tenant": "acme"}
    assert run("keys", "list").out == "none yet\n"
    assert [f.headers["ce_type"] for f in facts(data)] == ["access.key-created.v1", "access.key-revoked.v1"]


@pytest.mark.usefixtures("signed")
def test_no_key_is_made_for_a_part_of_the_service(run: Run) -> None:
    """The sentence says which actors are taken, and no grant is printed."""
    said = run("keys", "create", "--tenant", "acme", "--actor", "operator/cli")
    assert (said.code, said.out) == (1, "")
    assert "operator/" in said.err


@pytest.mark.usefixtures("signed")
def test_guarantee_8_where_a_tenant_must_sign_only_what_is_signed_counts(run: Run, data: Path, tmp_path: Path) -> None:
    """An unsigned record is refused; what the operator, a key, retention and the eraser say is not; all is verified."""
    assert published(run, tmp_path, "one")["accepted"] == 1, "the operator signs by the settings"
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key(run)))
    assert published(run, tmp_path, "two", "--signing", str(file))["accepted"] == 1
    bring(data, add_memory("unsigned"))
    assert run("erase", "owner", "--tenant", "acme", "a", "i").code == 0
    assert published(run, tmp_path, "three", "--signing", str(file))["accepted"] == 1
    policy = tmp_path / "policy.jsonl"
    policy.write_text('{"type": "policy.set-retention.v1", "target": {}, "parts": [{"memory_days": 0}]}')
    assert run("publish", str(policy), "--tenant", "acme").code == 0
    assert run("retention", "sweep").out == "acme: 1 memories deleted\n"
    assert run("tokens", "create", "--tenant", "other", "--user", "ann").code == 0, "who must not sign does not notice"
    shown = [json.loads(line) for line in run("outcomes", "tail", "--json").out.splitlines()]
    assert [one["reason"] for one in shown if one["status"] == "rejected"] == [Reason.UNSIGNED]
    actors = {fact.headers["actor"] for fact in facts(data) if fact.value is not None}
    assert {"operator/publish", "operator/cli", "worker/eraser", "worker/retention"} <= actors
    said = run("audit", "verify")
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing differs"), said


def test_an_audit_knows_who_had_to_sign_before(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """What was accepted before anybody signed is decided again; what was refused then, by the rules that are named."""
    bring(data, add_memory("before"))
    assert run("tokens", "create", "--tenant", "acme", "--user", "ann").code == 0
    request.getfixturevalue("signed")
    bring(data, add_memory("refused"))
    assert published(run, tmp_path, "signed")["accepted"] == 1
    said = json.loads(run("audit", "verify", "--json").out)
    assert (said["differences"], said["folded"]) == (0, 0), said
    former = tmp_path / "former.jsonl"
    former.write_text(run("config", "rules").out)
    monkeypatch.setenv("MNEMOLOG_SIGNED_TENANTS", "nobody")
    bring(data, add_memory("free again"))
    assert run("tokens", "create", "--tenant", "acme", "--user", "bob").code == 0
    assert "neither there nor erased" in run("audit", "verify").out
    monkeypatch.setenv("MNEMOLOG_FORMER_RULES", str(former))
    assert run("audit", "verify").out.splitlines()[-1] == "nothing differs"
    former.write_text('{"signers": "acme"}')
    said_of_file = run("audit", "verify")
    assert said_of_file.code == 2
    assert "signers is of another type" in said_of_file.err


@pytest.mark.usefixtures("signed")
def test_a_key_signs_for_its_own_tenant_alone(run: Run, tmp_path: Path) -> None:
    """The command line says so before anything is sent."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key(run, "other")))
    said = run("publish", str(file), "--tenant", "acme", "--signing", str(file), "--json")
    assert "for nobody else" in said.err


def test_without_the_authority_nothing_is_signed_and_that_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server refuses to start, a command that writes is refused, one that reads is not."""
    monkeypatch.setenv("MNEMOLOG_AUTHORITIES", AUTHORITY.public)
    monkeypatch.setenv("MNEMOLOG_SIGNED_TENANTS", "*")
    for command in (("serve", "--port", "0"), ("tokens", "create", "--tenant", "acme", "--user", "ann")):
        said = run(*command)
        assert said.code == 2
        assert "MNEMOLOG_AUTHORITY_KEY is not set" in said.err
    assert run("tokens", "list").code == 0
    assert "MNEMOLOG_AUTHORITY_KEY is not set" in run("config", "check").out


def test_a_process_grants_itself_what_it_speaks_as() -> None:
    """For each tenant and actor, anew at half of the time; who need not sign is not signed for, and all of it holds."""
    clock = [NOON]
    settings = Settings(signed_tenants="acme", authorities=AUTHORITY.public, authority_key=SEED, grant_hours=2)
    signatory = Signatory(settings, lambda: clock[0])
    grants = []
    for minutes in (0, 59, 60, 119, 300):
        clock[0] = NOON + minutes * 60 * SECOND
        envelope = Envelope("c", "acme", "client/sb", slot_of("acme", "a", "i"), bytes(32), add_memory())
        record = signatory.encode(envelope)
        said = (envelope.id, envelope.command.TYPE, "acme", "client/sb")
        assert not flaw(said, proof_of(record.headers, record.value), clock[0], settings.rules())
        grants.append(record.headers["grant"])
    assert len(set(grants)) == 3
    assert signatory.encode(envelope._replace(actor="worker/eraser")).headers["grant"] not in grants
    free = envelope._replace(tenant="free")
    assert signatory.encode(free) == encode_command(free)


def test_an_authority_whose_grants_do_not_count_is_noticed() -> None:
    """The key's public half must be among those that count, or every command would be refused."""
    settings = Settings(authorities=OTHER_AUTHORITY.public, authority_key=SEED)
    with pytest.raises(BadConfiguration, match=f"its public half is {AUTHORITY.public}"):
        Signatory(settings)
