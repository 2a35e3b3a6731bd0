"""`/audit/…`: the past over HTTP, for auditors, of their own tenant only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mnemolog.audit.answers import LogAudits
from mnemolog.audit.reading import Facts
from mnemolog.domain.ports import Scope
from mnemolog.domain.streams import single
from mnemolog.domain.times import to_text
from projections.embedding import HashingEmbedder
from projections.projector import project
from tests.given import NOON
from tests.unit.gateway.fakes import API_TOKEN, Server, World, client_row, sha256, token_row
from tests.unit.pipeline import Pipeline
from tests.wishes import add_memory, create_client, delete_memory, set_retention, update_memory

pytestmark = pytest.mark.unit


def served(line: Pipeline, *, roles: tuple[str, ...] = ("auditor",), tenant: str = "acme") -> Server:
    """Return a server over a log, whose client has these roles."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Facts]:
        yield line.log

    world = World()
    world.clients_by_id = {"planner": [client_row(roles=list(roles), tenant=tenant)]}
    world.tokens = {sha256(API_TOKEN): token_row(tenant) | {"roles": list(roles)}}
    return Server(world, LogAudits(opened, line.partitions, project, HashingEmbedder()))


def got(server: Server, path: str, **asked: str) -> Any:
    """Return the answer to a question, which must be one."""
    answer = server.sap("GET", f"/audit/{path}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def line() -> Pipeline:
    """Give a log of two partitions with a memory that changed, one that was erased, and another tenant's."""
    line = Pipeline(2)
    line.memory = line.say(add_memory("likes tea in the morning"))  # type: ignore[attr-defined]
    line.say(update_memory(line.memory, content="likes coffee at night"))  # type: ignore[attr-defined]
    line.gone = line.say(add_memory("a secret"))  # type: ignore[attr-defined]
    line.say(delete_memory(line.gone))  # type: ignore[attr-defined]
    line.other = line.say(add_memory("of bolt"), tenant="bolt")  # type: ignore[attr-defined]
    line.say(create_client(), set_retention(memory_days=3))
    for partition in range(2):
        line.log.compact(partition, nulls=True)
    return line


def test_a_history_over_http(line: Any) -> None:
    """Of a memory, of an owner, of a command; what was erased as such."""
    server = served(line)
    first, second = got(server, "history", stream=line.memory)["entries"]
    assert (first["what"], second["changes"][0]["after"]) == ("memory-added", "likes coffee at night")
    owner = got(server, "history", agentID="bot", invokerID="ann")
    assert [entry["what"] for entry in owner["entries"]] == ["memory-added", "memory-updated"]
    assert owner["unknownStreams"] == 1
    (done,) = got(server, "history", command="command-2")["entries"]
    assert done["changes"] == [
        {"field": "content", "before": "likes tea in the morning", "after": "likes coffee at night"}
    ]
    gone, erased = got(server, "history", stream=line.gone)["entries"]
    assert (gone["erased"]["command"], erased["took"]) == ("command-4", 1)


def test_a_state_and_a_search_of_the_past(line: Any) -> None:
    """As of a time: the text of then is found, and what was erased since is reported as erased."""
    server = served(line)
    then = to_text(NOON + 3_000)
    state = got(server, "state", agentID="bot", invokerID="ann", asOf=to_text(NOON + 1_000))
    assert [row["content"] for row in state["rows"]] == ["likes tea in the morning"]
    asked = {"agentID": "bot", "invokerID": "ann", "query": "likes tea in the morning", "threshold": 0.9}
    early = server.sap("POST", "/audit/search", json=asked | {"asOf": to_text(NOON + 1_000)}).json()
    assert [(hit["id"], round(hit["similarity"], 3)) for hit in early["value"]] == [(line.memory, 1.0)]
    assert early["model"] == HashingEmbedder().model
    late = server.sap("POST", "/audit/search", json=asked | {"asOf": then}).json()
    assert late["value"] == []
    assert [lost["stream"] for lost in late["erased"]] == [f"acme/memory/{line.gone}"]
    everything = got(server, "state", asOf="2100-01-01")
    assert {row["kind"] for row in everything["rows"]} == {"memory", "client", "policy"}
    assert "sha256" not in str(everything)


def test_only_auditors_ask(line: Any) -> None:
    """A client or a token without the role is refused; an auditor's token is as good as his client."""
    plain = served(line, roles=())
    token = {"authorization": f"Token {API_TOKEN}"}
    for path in ("/audit/history?stream=x", "/audit/state?asOf=2026-01-01"):
        assert plain.sap("GET", path).status_code == 403
        assert plain.send("GET", path, headers=token).status_code == 403
        assert plain.send("GET", path).status_code == 401
    assert plain.sap("POST", "/audit/search", json={}).status_code in {400, 403}
    assert served(line).send("GET", f"/audit/history?stream={line.memory}", headers=token).status_code == 200


def test_guarantee_8_an_auditor_sees_his_own_tenant_only(line: Any) -> None:
    """Whatever is named: another tenant's stream, id, owner, command or credentials give nothing at all."""
    server = served(line, tenant="bolt")
    assert [row["content"] for row in got(server, "state", asOf="2100-01-01")["rows"]] == ["of bolt"]
    names = [line.memory, line.gone, f"acme/memory/{line.memory}", single("acme", "access")]
    for name in names:
        assert got(server, "history", stream=name)["entries"] == []
        assert got(server, "state", stream=name, asOf="2100-01-01") == {"rows": [], "erased": []}
    assert got(server, "history", command="command-2")["entries"] == []
    owner = got(server, "history", agentID="bot", invokerID="ann")
    assert [entry["stream"] for entry in owner["entries"]] == [f"bolt/memory/{line.other}"]
    assert owner["unknownStreams"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "/audit/history",
        "/audit/history?agentID=bot",
        "/audit/history?stream=x&command=y",
        "/audit/state",
        "/audit/state?asOf=yesterday",
        "/audit/state?asOf=2026-01-01&command=y",
    ],
)
def test_guarantee_10_a_question_that_is_none_is_400(line: Any, path: str) -> None:
    """With a sentence that says how to ask."""
    answer = served(line).sap("GET", path)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_who_asks_for_lines_is_told_how_far_it_is(line: Any) -> None:
    """Progress first, what was found last: the very answer that others get; a question that is none is an error."""
    server = served(line)
    accept = {"accept": "application/x-ndjson"}
    asked = {"agentID": "bot", "invokerID": "ann", "query": "a cup of tea", "asOf": to_text(NOON + 1_500)}

    def lines(method: str, path: str, **request: Any) -> list[Any]:
        answer = server.sap(method, f"/audit/{path}", headers=accept, **request)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        return [json.loads(text) for text in answer.text.splitlines()]

    *before, last = lines("POST", "search", json=asked | {"threshold": 0.0})
    assert last == {"result": server.sap("POST", "/audit/search", json=asked | {"threshold": 0.0}).json()}
    assert {"progress": {"what": "embedding", "done": 1, "of": 1}} in before
    assert lines("GET", "state", params={"asOf": "soon"})[-1]["error"]["code"] == "400"


class Counting(HashingEmbedder):
    """Counts the texts that it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Any:
        """Embed, and remember what."""
        self.texts += texts
        return super().embed(texts)


def test_a_text_is_embedded_once() -> None:
    """Vectors are kept by commitment: a second search embeds the query only; equal texts are embedded once."""
    line = Pipeline()
    for text in ("likes tea", "likes tea", "likes cats"):
        line.say(add_memory(text))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Facts]:
        yield line.log

    embedder = Counting()
    audits = LogAudits(opened, line.partitions, project, embedder)

    async def search() -> Any:
        return await audits.search(Scope("acme", "bot", "ann"), "who likes tea", 0.0, 10, to_text(NOON + 9_000))

    async def twice() -> None:
        assert await search() == await search()

    asyncio.run(twice())
    assert sorted(embedder.texts) == ["likes cats", "likes tea", "who likes tea", "who likes tea"]
