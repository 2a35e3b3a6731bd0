"""`mnemolog retention` and `mnemolog erase` on a data folder on which no server runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnemolog.domain.codec import decode_fact
from mnemolog.domain.erasure import Erased
from tests import wishes
from tests.unit.runtime.commands import Run, bring, facts, made

pytestmark = pytest.mark.unit
SECRET = "a-text-to-be-forgotten"


def kinds(data: Path) -> list[str]:
    """Return the types of the facts that are left."""
    return [decode_fact(record).payload.TYPE for record in facts(data) if record.value is not None]


def bytes_in(data: Path) -> bytes:
    """Return all that lies in the files of a folder."""
    return b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


@pytest.fixture
def filled(data: Path, run: Run) -> Path:
    """Return a folder with two owners' memories and messages, and a session in a space, all decided."""
    for invoker in ("ann", "bob"):
        bring(data, wishes.add_memory(f"{SECRET} of {invoker}", invoker=invoker))
        bring(data, wishes.add_message(f"{SECRET} of {invoker}", invoker=invoker))
    bring(data, wishes.create_space("u1", description=SECRET))
    made(run("tokens", "create", "--tenant", "acme", "--user", "ann", "--json"))
    space = next(f.stream for f in map(decode_fact, facts(data)) if "/space/" in f.stream).rpartition("/")[2]
    bring(data, wishes.create_session(space))
    bring(data, wishes.set_retention(memory_days=0))
    made(run("tokens", "create", "--tenant", "acme", "--user", "bob", "--json"))
    return data


def test_a_sweep_deletes_and_a_dry_run_only_counts(filled: Path, run: Run) -> None:
    """By tenant and category; a second one finds nothing."""
    before = kinds(filled)
    counted = made(run("retention", "sweep", "--dry-run", "--json"))
    assert [(row["category"], row["count"]) for row in counted["records"]] == [("memories", 2)]
    assert kinds(filled) == before
    assert run("retention", "sweep", "--tenant", "other").out == "nothing was due\n"
    said = run("retention", "sweep")
    assert (said.code, said.out) == (0, "acme: 2 memories deleted\n")
    assert made(run("retention", "sweep", "--json"))["records"] == []


def test_a_sweep_of_the_future_can_only_be_counted(filled: Path, run: Run) -> None:
    """And a time that is none is refused with what it should be."""
    assert made(run("retention", "sweep", "--as-of", "2999-01-01T00:00:00Z", "--dry-run", "--json"))["records"]
    said = run("retention", "sweep", "--as-of", "2999-01-01T00:00:00Z")
    assert said.code == 1
    assert "--dry-run" in said.err
    assert run("retention", "sweep", "--as-of", "tomorrow").code == 2
    assert "memory.erased.v1" not in kinds(filled)


def test_guarantee_7_an_owner_is_erased_from_every_file(filled: Path, run: Run) -> None:
    """When the command ends, no byte of it is left in the folder; the other owner's is."""
    assert made(run("erase", "owner", "bot", "ann", "--tenant", "acme", "--dry-run", "--json"))["would_go"] == {
        "memories": 1,
        "messages": 1,
        "usage records": 0,
    }
    assert run("erase", "owner", "bot", "ann", "--tenant", "acme").out == "1 owner erased\n"
    left = bytes_in(filled)
    assert f"{SECRET} of ann".encode() not in left
    assert f"{SECRET} of bob".encode() in left
    assert run("erase", "owner", "bot", "ann", "--tenant", "acme").code == 1


def test_guarantee_7_a_tenant_is_erased_from_every_file(filled: Path, run: Run) -> None:
    """Owner by owner and space by space; of its streams with content only what erasure keeps is left."""
    counts = made(run("erase", "tenant", "acme", "--json"))["erased"]
    assert counts == {"owners": 2, "spaces": 1, "usage records": 0, "hidden before": 0}
    assert SECRET.encode() not in bytes_in(filled)
    left = [decode_fact(record) for record in facts(filled) if record.value is not None]
    kept = {"acme/access", "acme/policy"}
    assert all(isinstance(fact.payload, Erased) for fact in left if fact.stream not in kept)
    assert run("retention", "status").out.startswith("nothing")


def test_something_is_erased_by_its_id(filled: Path, run: Run) -> None:
    """A session, a space; what is not there is refused with exit code 1."""
    streams = [decode_fact(record).stream for record in facts(filled) if record.value is not None]
    session, space = (next(s for s in streams if f"/{kind}/" in s).rpartition("/")[2] for kind in ("session", "space"))
    said = json.loads(run("erase", "session", session, "--tenant", "acme", "--dry-run", "--json").out)
    assert said["would_go"] == {"session": 1}
    assert run("erase", "session", session, "--tenant", "acme").out == "1 session erased\n"
    assert run("erase", "session", session, "--tenant", "acme").code == 1
    assert run("erase", "space", space, "--tenant", "other").code == 1
    assert run("erase", "space", space, "--tenant", "acme").code == 0
    assert run("erase", "memory", "no id of ours", "--tenant", "acme").code == 1
