"""`mnemolog audit sign`, `verify --heads` and `prove-erasure` on a data folder; heads reach every place, in order."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from mnemolog.audit import verifier
from tests.unit.runtime.commands import Run, bring, facts
from tests.wishes import add_memory, delete_memory

pytestmark = pytest.mark.unit


@pytest.fixture
def memory(run: Run, data: Path) -> str:
    """Bring two memories; return the id of the first."""
    for text in ("a secret", "another"):
        bring(data, add_memory(text))
    run("clients", "create", "--tenant", "acme")
    return facts(data)[0].headers["ce_subject"]


@pytest.fixture
def signer(tmp_path: Path) -> tuple[str, ...]:
    """Return the options of an auditor with a key and a folder of his own."""
    return ("--key", str(tmp_path / "audit.key"), "--heads", str(tmp_path / "heads"))


def key_of(tmp_path: Path) -> str:
    """Return the public key that signed the newest head."""
    return str(verifier.read_heads(tmp_path / "heads")[-1]["key"])


def test_a_cut_off_tail_is_found_against_a_signed_head(
    run: Run, data: Path, tmp_path: Path, memory: str, signer: tuple[str, ...]
) -> None:
    """Also where nothing else is left that could tell."""
    assert run("audit", "sign", *signer).out.startswith("head 1: ")
    assert (tmp_path / "audit.key").stat().st_mode & 0o077 == 0
    heads = ("--heads", str(tmp_path / "heads"), "--trust", key_of(tmp_path))
    assert run("audit", "verify", *heads).code == 0
    database = sqlite3.connect(data / "mnemolog.db")
    database.execute('DELETE FROM facts WHERE "offset" = (SELECT max("offset") FROM facts)')
    database.execute("DELETE FROM commands")
    database.commit()
    database.close()
    said = run("audit", "verify", *heads)
    assert said.code == 1
    assert "its tail is gone" in said.out
    assert "does not hold together" in run("audit", "sign", *signer).err, "such a log is not signed"


def test_heads_follow_each_other_and_a_new_key_is_named(
    run: Run, data: Path, tmp_path: Path, memory: str, signer: tuple[str, ...]
) -> None:
    """The next head names the one before; another key is refused, unless the old one names it."""
    run("audit", "sign", *signer)
    first = key_of(tmp_path)
    bring(data, delete_memory(memory))
    run("clients", "create", "--tenant", "acme")
    run("audit", "sign", *signer)
    new = ("--key", str(tmp_path / "new.key"), *signer[2:])
    assert "signed by another key" in run("audit", "sign", *new).err
    assert run("audit", "sign", *new, "--old-key", signer[1]).code == 0
    verifier.check_heads(verifier.read_heads(tmp_path / "heads"), first)
    assert run("audit", "verify", "--heads", signer[3]).code == 2, "whom to trust is not in the folder"
    other = ("--heads", signer[3], "--trust", key_of(tmp_path))
    assert run("audit", "verify", *other).code == 1, "the trusted key must be the first one"
    assert run("audit", "verify", "--heads", signer[3], "--trust", first).code == 0


class Endpoint(HTTPServer):
    """Takes heads; refuses as long as it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.taken: list[dict[str, Any]] = []
        self.status = 503


class Taker(BaseHTTPRequestHandler):
    """One request."""

    server: Endpoint

    def do_POST(self) -> None:
        """Take a head."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.taken.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- so it is called there
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Give an endpoint that runs."""
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_place_gets_every_head_also_those_it_missed(
    run: Run, tmp_path: Path, memory: str, signer: tuple[str, ...], endpoint: Endpoint
) -> None:
    """In order, each once."""
    also = ("--also", f"http://127.0.0.1:{endpoint.server_port}/heads")
    for _ in range(2):
        said = run("audit", "sign", *signer, *also)
        assert (said.code, "has not taken a head" in said.err) == (1, True)
    endpoint.status = 200
    for _ in range(2):
        assert run("audit", "sign", *signer, *also).code == 0
    assert endpoint.taken == verifier.read_heads(tmp_path / "heads")
    assert "must hold http" in run("audit", "sign", *signer, "--also", "ftp://x").err


def test_guarantee_7_an_erasure_is_proved(
    run: Run, data: Path, tmp_path: Path, memory: str, signer: tuple[str, ...]
) -> None:
    """The receipt holds with the heads from before and after; while anything is left it says so and is no proof."""
    run("audit", "sign", *signer)
    assert "nothing of" in run("audit", "prove-erasure", memory, "--key", signer[1]).err
    bring(data, delete_memory(memory))
    run("clients", "create", "--tenant", "acme")
    run("audit", "sign", *signer)
    file = tmp_path / "receipt.json"
    said = run("audit", "prove-erasure", memory, "--key", signer[1], "--out", str(file))
    assert (said.code, said.err) == (0, f"not looked at: vectors: there is no vector index in {data / 'vectors'}\n")
    trust = ["--trust", key_of(tmp_path), "--heads", str(tmp_path / "heads")]
    assert verifier.main(["receipt", str(file), *trust]) == 0
    assert "a secret" not in file.read_text()
    database = sqlite3.connect(data / "mnemolog.db")
    database.execute("INSERT INTO view_rows (key, fields) VALUES (?, '{}')", (f"acme/memory/{memory}",))
    database.commit()
    database.close()
    assert run("audit", "prove-erasure", memory, "--key", signer[1], "--out", str(file)).code == 1
    assert verifier.main(["receipt", str(file), *trust]) == 1


def test_an_auditor_needs_a_key_and_a_folder(run: Run, tmp_path: Path, memory: str, signer: tuple[str, ...]) -> None:
    """What is missing is named, and what is no key is refused."""
    assert "MNEMOLOG_AUDIT_KEY" in run("audit", "sign", *signer[2:]).err
    assert "MNEMOLOG_AUDIT_HEADS" in run("audit", "sign", *signer[:2]).err
    (tmp_path / "audit.key").write_text("no key")
    assert run("audit", "sign", *signer).code == 2
    assert run("audit", "prove-erasure", "nothing", "--key", signer[1]).code == 2
