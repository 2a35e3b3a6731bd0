"""Traces in OpenTelemetry's terms: one command, from the request through the topics to the projection (design §4).

Off unless the standard variables ask for it: `OTEL_TRACES_EXPORTER` (otlp, console) or `OTEL_EXPORTER_OTLP_ENDPOINT`.
`OTEL_SDK_DISABLED`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_TRACES_SAMPLER` mean what they always do.

1. The request's span is a child of the caller's; every other span is a child of it, by the traceparent in the records.
2. A span carries kinds, ids and positions, never content, a tenant or an error's text.
3. Without a traceparent a record leaves no span: whoever publishes decides what is traced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mnemolog.runtime.config import BadConfiguration

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Attributes = Mapping[str, str | int | float]
_NAME = "mnemolog"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SECOND = 1_000_000_000


class Open(Protocol):
    """A span that has begun."""

    @property
    def trace(self) -> str:
        """Its traceparent, for what it causes."""
        ...

    def end(self, name: str, attributes: Attributes, *, failed: bool = False) -> None:
        """Name it and end it."""
        ...


class Tracing(Protocol):
    """Where spans go."""

    def begin(self, trace: str) -> Open | None:
        """Begin the span of a request that brought a traceparent, or none; None where nothing is traced."""
        ...

    def record(self, name: str, trace: str, seconds: float, attributes: Attributes) -> None:
        """Leave a span that has just ended and took so long, as a child of a traceparent."""
        ...

    def close(self) -> None:
        """Send what has not been sent."""
        ...


class Off:
    """Nothing is traced."""

    def begin(self, trace: str) -> Open | None:
        """Begin nothing."""
        del trace
        return None

    def record(self, name: str, trace: str, seconds: float, attributes: Attributes) -> None:
        """Leave nothing."""

    def close(self) -> None:
        """Send nothing."""


class Otel:
    """Spans through OpenTelemetry's SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        """Take where they go."""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)
        self._context = TraceContextTextMapPropagator()

    def begin(self, trace: str) -> Open | None:
        """Begin the span of a request."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span("request", self._context.extract({"traceparent": trace}), SpanKind.SERVER)
        return _Span(span)

    def record(self, name: str, trace: str, seconds: float, attributes: Attributes) -> None:
        """Leave a finished span."""
        from opentelemetry.trace import SpanKind

        if not trace:
            return
        end = time.time_ns()
        parent = self._context.extract({"traceparent": trace})
        span = self._tracer.start_span(
            name, parent, SpanKind.CONSUMER, attributes, start_time=end - int(seconds * _SECOND)
        )
        span.end(end)

    def close(self) -> None:
        """Send what waits, within the exporter's own time."""
        self._provider.shutdown()


class _Span:
    def __init__(self, span: object) -> None:
        from opentelemetry.trace import Span

        assert isinstance(span, Span)  # noqa: S101 -- for the type checker: the SDK is imported lazily
        self._span = span

    @property
    def trace(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(self, name: str, attributes: Attributes, *, failed: bool = False) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def tracing(role: str, environment: Mapping[str, str] = os.environ) -> Tracing:
    """Return what the standard variables ask for. Raises BadConfiguration where it cannot be had."""
    wanted = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or wanted == "none":
        return Off()
    if not wanted and not any(environment.get(name) for name in _ENDPOINTS):
        return Off()
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(wanted or "otlp", environment)
    except ImportError as error:
        message = f"the OTEL_* variables ask for traces, which need the extra mnemolog[tracing]: {error}"
        raise BadConfiguration(message) from error
    service = {} if environment.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: f"{_NAME}-{role}"}
    provider = TracerProvider(resource=Resource.create(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Otel(provider)


def _exporter(wanted: str, environment: Mapping[str, str]) -> SpanExporter:
    if wanted == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if wanted != "otlp" or protocol not in {None, "", "http/protobuf"}:
        message = (
            f"OTEL_TRACES_EXPORTER must be otlp, console or none, and OTEL_EXPORTER_OTLP_PROTOCOL http/protobuf,"
            f" not {wanted!r} and {protocol!r}"
        )
        raise BadConfiguration(message)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
