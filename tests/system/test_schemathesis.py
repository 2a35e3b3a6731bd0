"""Requests of every form that the server's own OpenAPI document allows, and of many that it does not, by Schemathesis.

Its examples, the edges of every parameter and body, and random ones, against a real server. No answer is a 5xx, and
each has the form that the document says. The ids in paths are of things that exist, so that requests come further than
to a 404. More of them: `SCHEMATHESIS_EXAMPLES=500`, and `SCHEMATHESIS_SEED` for a failure's seed, which it prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mnemolog.runtime.process import ServerProcess, run_json
from tests.signing import AUTHORITY
from tests.system.test_faults import Api

pytestmark = pytest.mark.system

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
ENDS = ("/api/v2/memory/{space}/", "/api/v2/memory/{space}/sessions/{session}/")
"""Paths whose DELETE would leave nothing for the rest."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start a server that embeds by hashing, and grants keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNEMOLOG_MODEL", "hashing")
        patch.setenv("MNEMOLOG_AUTHORITIES", AUTHORITY.public)
        patch.setenv("MNEMOLOG_AUTHORITY_KEY", (b"a" * 32).hex())
        started = ServerProcess(tmp_path_factory.mktemp("openapi") / "data").wait_ready()
    yield started
    started.stop()


def described(server: ServerProcess, path: Path, ids: dict[str, list[Any]]) -> Path:
    """Write the server's document to a file, with these ids in its paths."""
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=20) as answer:  # noqa: S310 -- our own
        document = json.loads(answer.read())
    for name, methods in document["paths"].items():
        if name in ENDS:
            methods.pop("delete", None)
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path" and parameter["name"] in ids:
                    parameter["schema"] = {"enum": ids[parameter["name"]]}
    path.write_text(json.dumps(document))
    return path


def tried(server: ServerProcess, document: Path, authorization: str, paths: str) -> None:
    """Expect that no request fails a check."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", str(document), "--url", server.url,
        "--header", f"Authorization: {authorization}", "--include-path-regex", paths,
        "--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--request-timeout", "30",
        "--max-examples", os.environ.get("SCHEMATHESIS_EXAMPLES", "3"),
        "--seed", os.environ.get("SCHEMATHESIS_SEED", "1"), "--suppress-health-check", "all", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=document.parent, timeout=280)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout


def test_guarantee_10_no_request_to_v1_is_a_server_error(server: ServerProcess, tmp_path: Path) -> None:
    """SAP's face, commands and the auditor's pages, by a client who may do all of it."""
    made = run_json("clients", "create", "--tenant", "acme", "--role", "auditor", "--data", str(server.data))
    form = f"grant_type=client_credentials&client_id={made['id']}&client_secret={made['secret']}"
    with urllib.request.urlopen(f"{server.url}/oauth/token", form.encode(), timeout=20) as answer:  # noqa: S310 -- ours
        api = Api(server.url, json.loads(answer.read())["access_token"])
    ids = [api.add(number).body["id"] for number in range(8)]
    document = described(server, tmp_path / "openapi.json", {"id": ids})
    tried(server, document, f"Bearer {api.token}", "^/v1|^/commands|^/audit|^/health|^/docs|^/openapi")


def test_guarantee_10_no_request_to_v2_is_a_server_error(server: ServerProcess, tmp_path: Path) -> None:
    """DataRobot's face, by a user with a space, a session and its events."""
    made = run_json("tokens", "create", "--tenant", "acme", "--user", "ann", "--data", str(server.data))
    api = Api(server.url, made["token"])
    space = api("POST", "/api/v2/memory/new/", {}).body["memorySpaceId"]
    session = api("POST", f"/api/v2/memory/{space}/sessions/", {"participants": ["ann"]}).body["id"]
    said = {"body": {"content": "hi"}, "emitter": {"type": "user", "id": "ann"}}
    for _ in range(4):
        assert api("POST", f"/api/v2/memory/{space}/sessions/{session}/events/", said).status == 201
    ids: dict[str, list[Any]] = {"space": [space], "session": [session], "sequence": ["0", "1", "2", "3"]}
    tried(server, described(server, tmp_path / "openapi.json", ids), f"Token {api.token}", "^/api/v2")
