"""Traces are off unless the standard variables ask for them, and every span hangs on the traceparent in the record."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mnemolog.domain.codec import Envelope, encode_command
from mnemolog.domain.ids import slot_of
from mnemolog.domain.record import CommandRecord
from mnemolog.domain.rules import Rules
from mnemolog.runtime.condition import Condition
from mnemolog.runtime.config import BadConfiguration
from mnemolog.runtime.tracing import Off, Otel, tracing
from mnemolog.runtime.watching import Watch
from tests import wishes
from workers.sequencer import Sequencer
from workers.snapshot_memory import MemorySnapshot
from workers.state import State

pytestmark = pytest.mark.unit
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "a caller's own words"


def envelope(trace: str) -> Envelope:
    """Return a command that somebody has traced, or nobody."""
    return Envelope("id", "acme", "agent/x", slot_of("acme", "bot", "ann"), bytes(32), wishes.add_memory(), trace)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Return where spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def watch(spans: InMemorySpanExporter) -> Watch:
    """Return a watch that traces."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Watch(Otel(provider))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
    ],
    ids=str,
)
def test_nothing_is_traced_unless_it_is_asked_for(environment: dict[str, str]) -> None:
    """Neither without variables nor against them."""
    assert isinstance(tracing("gateway", environment), Off)


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "jaeger"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
    ids=str,
)
def test_what_cannot_be_had_is_refused_by_name(environment: dict[str, str]) -> None:
    """With the variable, at the start."""
    with pytest.raises(BadConfiguration, match="OTEL_TRACES_EXPORTER must be"):
        tracing("gateway", environment)


def test_a_request_continues_the_caller_s_trace(watch: Watch, spans: InMemorySpanExporter) -> None:
    """Its span is a child of the caller's, named by the route; what it causes carries the span's own traceparent."""
    request = watch.begun(CALLER, traced=True)
    request.answered("POST", "/v1/memories", 201, "the-command")
    (span,) = spans.get_finished_spans()
    assert span.name == "POST /v1/memories"
    assert span.parent is not None
    assert f"00-{span.context.trace_id:032x}-{span.parent.span_id:016x}-01" == CALLER
    assert request.trace == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/memories",
        "http.response.status_code": 201,
        "mnemolog.command": "the-command",
    }


@pytest.mark.parametrize("brought", ["", "00-" + "0" * 32 + "-b7ad6b7169203331-01", SECRET])
def test_without_a_caller_s_trace_a_request_begins_one(watch: Watch, spans: InMemorySpanExporter, brought: str) -> None:
    """What is no traceparent counts as none."""
    watch.begun(brought, traced=True).answered("GET", "/v1/memories", 200, "")
    assert spans.get_finished_spans()[0].parent is None


def test_a_command_is_followed_from_its_decision_to_the_projection(watch: Watch, spans: InMemorySpanExporter) -> None:
    """Facts carry the command's traceparent, so that each worker's span is a child of who sent the command."""
    sound = encode_command(envelope(CALLER))
    bare = encode_command(envelope(""))
    forged = CommandRecord(bare.key, {**bare.headers, "ce_id": "third", "traceparent": SECRET}, bare.value)
    taken = [
        CommandRecord(r.key, {**r.headers, "ce_id": f"c{n}"}, r.value, n, 1_795_000_000_000_000)
        for n, r in enumerate([sound, bare, forged])
    ]
    transaction = Sequencer(State(MemorySnapshot(bytes(32))), Rules()).sequence(taken)
    assert [fact.headers.get("traceparent") for fact in transaction.facts] == [CALLER, None, None]
    watch.committed(Condition(3), taken, transaction, 0.5)
    watch.applied("projector", Condition(3), transaction.facts, 0.25)
    decided, projected = spans.get_finished_spans()
    assert (decided.name, projected.name) == ("decide memory.add-memory.v1", "projector memory.memory-added.v1")
    for span in (decided, projected):
        assert span.parent is not None
        assert f"00-{span.context.trace_id:032x}-{span.parent.span_id:016x}-01" == CALLER
        assert (span.attributes or {})["mnemolog.command"] == "c0"
        assert (span.attributes or {})["messaging.destination.partition.id"] == "3"
        assert "likes tea" not in span.to_json()
    assert (decided.attributes or {})["mnemolog.result"] == "accepted"
    assert (decided.end_time or 0) - (decided.start_time or 0) == 500_000_000
