"""What a server tells of itself while it works: figures, spans and a log, and in none of them what a caller wrote."""

from __future__ import annotations

import gzip
import json
import os
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mnemolog.runtime.process import ServerProcess
from tests.brokers import Kafka
from tests.killing.processes import Deployment
from tests.servers_redis import RedisServer
from tests.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
_PATIENCE = 30.0


class Collector:
    """A receiver of OTLP over HTTP."""

    def __init__(self) -> None:
        """Listen."""
        self.received: list[ExportTraceServiceRequest] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that lead here."""
        where = f"http://127.0.0.1:{self._server.server_port}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": where, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def spans(self, trace: str) -> dict[str, tuple[str, str, str]]:
        """Return service, own id and parent's id of each span of a trace, by name."""
        found = {}
        for request in list(self.received):
            for resource in request.resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.trace_id.hex() == trace:
                            found[span.name] = (service, span.span_id.hex(), span.parent_span_id.hex())
        return found

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a receiver of spans."""
    made = Collector()
    yield made
    made.close()


def environment(**more: str) -> dict[str, str]:
    """Return variables without what a developer has set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MNEMOLOG_", "OTEL_"))}
    return kept | {"MNEMOLOG_MODEL": "hashing"} | more


def memory(canary: str) -> dict[str, object]:
    """Return a memory whose every text is a canary."""
    return {"agentID": canary, "invokerID": canary, "content": canary, "metadata": {canary: canary}}


EXPECTED = ("POST /v1/memories", "decide memory.add-memory.v1", "projector memory.memory-added.v1")


def test_one_command_is_followed_from_the_request_to_the_index(collector: Collector, tmp_path: Path) -> None:
    """The request's span is a child of the caller's, and those of the workers are its children; sent at a stop, too."""
    server = ServerProcess(tmp_path / "data", "--no-auth", environment=environment(**collector.environment))
    try:
        server.wait_ready()
        headers = {"traceparent": CALLER}
        assert httpx.post(f"{server.url}/v1/memories", json=memory("tea"), headers=headers).status_code == 201
    finally:
        assert server.stop() == 0
    names = {*EXPECTED, "vectors memory.memory-added.v1"}
    spans = collector.spans(TRACE)
    assert set(spans) == names
    _, request, parent = spans.pop("POST /v1/memories")
    assert parent == "b7ad6b7169203331"
    assert {(service, parent) for service, _, parent in spans.values()} == {("mnemolog-embedded", request)}


def test_the_trace_goes_through_the_topics(
    kafka: Kafka, redis: RedisServer, collector: Collector, tmp_path: Path
) -> None:
    """Gateway, sequencer and projector are processes of their own, and the records carry the trace between them.

    The gateway keeps an index of its own, which waits for no partition that has no facts.
    """
    deployment = Deployment(kafka, redis, tmp_path, ("sequencer", "projector"))
    deployment.environment.update(collector.environment)
    sequencer, _, projector, _ = deployment.nodes
    (tmp_path / "gateway").mkdir()
    for node in (sequencer, projector):
        node.start()
    gateway = ServerProcess(tmp_path / "gateway" / "data", "--no-auth", environment=deployment.environment)
    try:
        gateway.wait_ready()
        until(lambda: all("works" in (node.partitions() or {}).values() for node in (sequencer, projector)))
        headers = {"traceparent": CALLER}
        added = httpx.post(f"{gateway.url}/v1/memories", json=memory("tea"), headers=headers, timeout=_PATIENCE)
        assert added.status_code == 201
        until(lambda: collector.spans(TRACE).keys() >= set(EXPECTED))
        figures = sequencer.metrics()
        assert 'mnemolog_commands_total{kind="memory.add-memory.v1",result="accepted"} 1.0' in figures
        assert 'mnemolog_batch_seconds_count{role="projector"}' in projector.metrics()
        lags = [f'mnemolog_lag_seconds{{partition="{number}",role="vectors"}}' for number in range(4)]
        until(lambda: all(lag in httpx.get(f"{gateway.url}/metrics", timeout=_PATIENCE).text for lag in lags))
    finally:
        gateway.stop()
        codes = [node.stop() for node in (sequencer, projector)]
    assert codes == [0, 0]
    spans = collector.spans(TRACE)
    request = spans["POST /v1/memories"]
    assert request[::2] == ("mnemolog-gateway", "b7ad6b7169203331")
    assert spans["decide memory.add-memory.v1"][::2] == ("mnemolog-sequencer", request[1])
    assert spans["projector memory.memory-added.v1"][::2] == ("mnemolog-projector", request[1])


def test_neither_the_log_nor_figures_nor_spans_hold_what_a_caller_wrote(collector: Collector, tmp_path: Path) -> None:
    """Good requests and bad ones, with a canary wherever a caller may write; at the most talkative level."""
    canary = f"canary-{uuid.uuid4().hex}"
    variables = environment(
        MNEMOLOG_LOG_FORMAT="json", MNEMOLOG_LOG_LEVEL="debug", MNEMOLOG_METRICS_TOKEN="t", **collector.environment
    )
    server = ServerProcess(tmp_path / "data", "--no-auth", environment=variables)
    try:
        server.wait_ready()
        with httpx.Client(base_url=server.url, headers={"tracestate": f"x={canary}"}) as client:
            added = client.post("/v1/memories", json=memory(canary), headers={"idempotency-key": canary})
            assert added.status_code == 201
            client.post("/v1/memories/search", json={"agentID": canary, "invokerID": canary, "query": canary})
            client.get("/v1/memories", params={"$filter": f"agentID eq '{canary}'"})
            client.get(f"/v1/{canary}", headers={"traceparent": canary})
            client.request(canary.upper(), "/v1/memories")
            client.post("/v1/memories", content=f'{{"{canary}": "\\ud800{canary}"')
            client.post("/v1/memories", json={canary: canary, "agentID": [canary]})
            client.patch(f"/v1/memories({added.json()['id']})", json={"content": canary + "2"})
            client.post("/api/v2/memory/", json={canary: canary})
            client.post("/oauth/token", data={"client_id": canary, "client_secret": canary})
            client.delete(f"/v1/memories({added.json()['id']})")
            figures = client.get("/metrics").text
    finally:
        assert server.stop() == 0
    lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    answered = [line for line in lines if line["logger"] == "mnemolog.requests" and line["route"] == "/v1/memories"]
    assert {"status", "ms", "trace_id", "command"} <= answered[0].keys()
    assert added.headers["mnemolog-command"] == answered[0]["command"]
    for text in (figures, json.dumps(lines), "".join(map(str, collector.received))):
        assert len(text) > 1_000
        assert canary not in text.lower()
        assert added.json()["id"] not in text
        assert '"local"' not in text  # the tenant
