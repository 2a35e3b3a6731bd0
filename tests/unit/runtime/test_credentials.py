"""`mnemolog clients` and `tokens`: JSON that programs can rely on, and no secret shown twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.unit.runtime.commands import Run, made

pytestmark = pytest.mark.unit


def test_a_client_is_printed_once_as_json(run: Run, data: Path) -> None:
    """Id, secret and tenant, nothing more; the folder keeps a hash and is for its owner alone."""
    client = made(run("clients", "create", "--tenant", "acme", "--id", "sb", "--json"))
    assert client.keys() == {"id", "secret", "tenant"}
    assert (client["id"], client["tenant"]) == ("sb", "acme")
    assert len(client["secret"]) >= 32
    stored = b"".join(path.read_bytes() for path in data.iterdir())
    assert client["secret"].encode() not in stored
    assert hashlib.sha256(client["secret"].encode()).hexdigest().encode() in stored
    assert {path.stat().st_mode & 0o077 for path in data.iterdir()} == {0}


def test_a_token_is_printed_once_as_json(run: Run) -> None:
    """Id, token, tenant and user, nothing more; each has an id and a secret of its own."""
    one, two = (made(run("tokens", "create", "--tenant", "acme", "--user", "ann", "--json")) for _ in range(2))
    assert one.keys() == {"id", "token", "tenant", "user"}
    assert (one["tenant"], one["user"]) == ("acme", "ann")
    assert (one["id"], one["token"]) != (two["id"], two["token"])
    assert one["token"] not in {two["token"], one["id"]}


def test_for_people_there_is_a_line_to_paste(run: Run) -> None:
    """The SAP SDK's variables, with the address and the identity zone that were given."""
    said = run("clients", "create", "--tenant", "acme", "--identityzone", "prov", "--url", "http://m:1")
    secret = next(line.split()[1] for line in said.out.splitlines() if line.startswith("secret"))
    (line,) = (line for line in said.out.splitlines() if "_UAA=" in line)
    binding = json.loads(line.split("=", 1)[1].strip("'"))
    assert (binding["url"], binding["clientsecret"], binding["identityzone"]) == ("http://m:1", secret, "prov")


@pytest.mark.parametrize(
    ("kind", "options", "secret"), [("clients", (), "secret"), ("tokens", ("--user", "ann"), "token")]
)
def test_lists_never_show_secrets(kind: str, options: tuple[str, ...], secret: str, run: Run) -> None:
    """Neither the secret nor its hash, for people or programs; what was revoked is gone from the list."""
    assert run(kind, "list") == (0, "none yet\n", "")
    one = made(run(kind, "create", "--tenant", "acme", *options, "--role", "auditor", "--json"))
    two = made(run(kind, "create", "--tenant", "globex", *options, "--json"))
    for shown in (run(kind, "list"), run(kind, "list", "--json")):
        assert (shown.code, shown.err) == (0, "")
        for row in (one, two):
            assert row["id"] in shown.out
            assert row[secret] not in shown.out
            assert hashlib.sha256(row[secret].encode()).hexdigest() not in shown.out
        assert "sha256" not in shown.out
    rows = json.loads(run(kind, "list", "--json").out)
    assert [(row["id"], row["tenant"], row["roles"]) for row in rows] == [
        (one["id"], "acme", ["auditor"]),
        (two["id"], "globex", []),
    ]
    assert made(run(kind, "revoke", one["id"], "--json")) == {"revoked": one["id"], "tenant": "acme"}
    assert [row["id"] for row in json.loads(run(kind, "list", "--json").out)] == [two["id"]]
    assert run(kind, "revoke", one["id"]).code == 1


def test_what_is_not_there_cannot_be_revoked(run: Run) -> None:
    """An unknown id is named; one that two tenants have needs the tenant; another tenant's does not count."""
    said = run("clients", "revoke", "nobody")
    assert said == (1, "", "mnemolog: clients: there is none with the id nobody\n")
    assert run("tokens", "revoke", "nobody").code == 1
    for tenant in ("acme", "globex"):
        run("clients", "create", "--tenant", tenant, "--id", "sb")
    assert "name one with --tenant" in run("clients", "revoke", "sb").err
    assert run("clients", "revoke", "sb", "--tenant", "initech").code == 1
    assert made(run("clients", "revoke", "sb", "--tenant", "globex", "--json"))["tenant"] == "globex"
    assert [row["tenant"] for row in json.loads(run("clients", "list", "--json").out)] == ["acme"]


def test_a_client_that_is_there_is_refused(run: Run) -> None:
    """A refusal by the sequencer is exit code 1 and a sentence, and the client stays as it was."""
    first = made(run("clients", "create", "--tenant", "acme", "--id", "sb", "--json"))
    said = run("clients", "create", "--tenant", "acme", "--id", "sb")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("mnemolog: ")
    assert first["secret"] not in said.err
    assert len(json.loads(run("clients", "list", "--json").out)) == 1
