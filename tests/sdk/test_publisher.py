"""`Publisher` over HTTP, and the chat example, on every runtime: what it was told is true at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from mnemolog.domain.outcomes import Accepted, Outcome
from mnemolog.runtime.cli import main
from producers import NotAllowed, NotPublished, Publisher
from tests.examples import run_example
from tests.sdk.servers import Server

pytestmark = pytest.mark.sdk
CHAT = Path(__file__).parents[2] / "examples" / "chat.txt"


def made(outcome: Outcome) -> str:
    """Return the id of what a command has made."""
    assert isinstance(outcome.result, Accepted), outcome
    return outcome.result.facts[0].subject


def bearer(server: Server, tenant: str) -> tuple[str, str, str]:
    """Return a client's id, secret and a token of it."""
    client = server.client(tenant)
    form = {"grant_type": "client_credentials", "client_id": client.id, "client_secret": client.secret}
    answer = httpx.post(f"{server.url}/oauth/token", data=form, trust_env=False)
    return client.id, client.secret, answer.json()["access_token"]


def test_guarantee_5_what_a_publisher_was_told_reads_show(server: Server, tenant: str) -> None:
    """Sessions, events, memories: with the outcome's position, a read sees them; counts are whole."""
    client_id, secret, token = bearer(server, tenant)
    user = server.token(tenant, "ann")
    headers = {"Authorization": f"Token {user}"}
    with (
        Publisher(server.url, tenant=tenant, token=user, client_id=client_id, client_secret=secret) as agent,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as reader,
    ):
        space = made(agent.outcome(agent.create_space(user="ann")))
        session = made(agent.outcome(agent.create_session(user="ann", space_id=space, participant="ann")))
        said = [{"body": {"content": "hi"}, "emitter": {"type": "user", "id": "ann"}}]
        where = {"user": "ann", "space_id": space, "session_id": session}
        receipts = [agent.append_events(**where, events=said) for _ in range(40)]
        outcomes = agent.outcomes(receipts, 120)
        position = {"Mnemolog-Position": receipts[-1].position(outcomes[-1])}
        path = f"/api/v2/memory/{space}/sessions/{session}/events/"
        assert reader.get(path, headers=headers | position).json()["total"] == 40
        assert [made(outcome) for outcome in outcomes] == [f"event/{n}" for n in range(40)]
        memory = agent.add_memory(agent="a", invoker="i", content="x", key="once")
        kept = agent.outcome(memory)
        again = agent.outcome(agent.add_memory(agent="a", invoker="i", content="x", key="once"))
        assert (made(again), isinstance(again.result, Accepted) and again.result.repeated) == (made(kept), True)
        asked = {"Authorization": f"Bearer {token}", "Mnemolog-Position": memory.position(kept)}
        assert reader.get(f"/v1/memories({made(kept)})", headers=asked).json()["content"] == "x"


def test_guarantee_8_a_publisher_reaches_no_other_tenant(server: Server, tenant: str) -> None:
    """Another tenant in the events, another user's space, another tenant's memory: refused, or not there."""
    client_id, secret, _ = bearer(server, tenant)
    other_id, other_secret, _ = bearer(server, f"{tenant}-b")
    with Publisher(server.url, client_id=other_id, client_secret=other_secret) as other:
        theirs = made(other.outcome(other.add_memory(agent="a", invoker="i", content="x")))
    with Publisher(server.url, client_id=client_id, client_secret=secret) as agent:
        refused = agent.outcome(agent.update_memory(memory_id=theirs, content="mine"))
        assert getattr(refused.result, "reason", None) == "not-found"
    agent = Publisher(server.url, tenant=f"{tenant}-b", client_id=client_id, client_secret=secret)
    with pytest.raises(NotAllowed, match="another tenant"):
        agent.add_memory(agent="a", invoker="i", content="x").placed()
    with pytest.raises(NotPublished):
        agent.close()


def test_the_command_line_publishes_over_http(
    server: Server, tenant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the files that the operator's commands printed: each command goes with the credential that opens it."""
    credentials = []
    for name, made in (
        ("client", server.operate("clients", "create", "--tenant", tenant)),
        ("token", server.operate("tokens", "create", "--tenant", tenant, "--user", "ann")),
    ):
        (tmp_path / name).write_text(json.dumps(made), "utf-8")
        credentials += ["--credentials", str(tmp_path / name)]
    owner = {"agent": "a", "invoker": "i"}
    said: list[dict[str, Any]] = [
        {"type": "memory.add-memory.v1", "target": owner, "parts": [{"content": f"n {n}"}]} for n in range(30)
    ]
    said.append({"type": "space.create-space.v1", "target": {"user": "ann"}, "parts": [{}]})
    file = tmp_path / "in.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in said), "utf-8")
    for accepted in (31, 0):
        assert main(["publish", str(file), "--to", server.url, *credentials, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["accepted"], report["repeated"]) == (accepted, 31 - accepted)


def test_the_chat_example_remembers(server: Server, tenant: str) -> None:
    """It finds by meaning what it was told in the same conversation."""
    client_id, secret, token = bearer(server, tenant)
    options = ["--server", server.url, "--client", client_id, secret, "--bearer", token]
    said = run_example("chat_agent.py", *options, said=CHAT.read_text("utf-8"))
    assert "I remember: My dog is called Bruno." in said
    assert "I remember: I prefer dark mode and metric units." in said
