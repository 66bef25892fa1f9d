"""Starts OpenTelemetry in this process, if spans are exported.

Spans go to OTEL_EXPORTER_OTLP_ENDPOINT, or into TRACE_FILE, one per line, for `manage.py trace`. With neither set,
nothing is imported or instrumented. Web servers, workers' children and relays each start it.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

SCHEDULE = 1000  # milliseconds between exports of a batch of spans
QUIET = "livez,readyz,metrics"  # requested every few seconds, by machines
# Only these kinds may start a trace. Other spans without a parent come from polling and timers.
BEGINS = ("SERVER", "INTERNAL")

_processor: Any = None


def start() -> None:
    """Start, once, if an exporter is configured."""
    if _processor is None and (settings.TRACE_FILE or settings.TRACES_SENT_TO):
        start_with(_exporter())


def start_with(exporter: Any) -> None:
    """Start with an SDK exporter."""
    global _processor
    from opentelemetry import propagate, trace
    from opentelemetry.instrumentation.utils import suppress_instrumentation
    from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
    from opentelemetry.propagators.composite import CompositePropagator
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    from shop.observability import tracing

    _processor = BatchSpanProcessor(exporter, schedule_delay_millis=SCHEDULE)
    own = settings.OTEL_SERVICE_NAME or f"shop-{settings.SHOP_SERVICE}".removesuffix("-").replace("shop-shop", "shop")
    # B3 and W3C headers are both read and written. If a request has both, W3C wins.
    propagate.set_global_textmap(
        CompositePropagator([B3MultiFormat(), B3SingleFormat(), TraceContextTextMapPropagator()])
    )
    trace.set_tracer_provider(_provider(own))
    tracing.started(cache(lambda service: _provider(f"shop-{service}").get_tracer("shop")), suppress_instrumentation)
    _instrument()


def flush() -> None:
    """Export recorded spans now, before a worker's child exits."""
    if _processor is not None:
        _processor.force_flush()


def _provider(name: str) -> Any:
    """A tracer provider for a service. One process may need several, as a step's spans belong to its service."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(resource=Resource.create({"service.name": name}), sampler=_sampler())
    provider.add_span_processor(_processor)
    return provider


@cache
def _sampler() -> Any:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult, TraceIdRatioBased

    share = TraceIdRatioBased(settings.TRACE_SAMPLING)

    class Requests(Sampler):
        def should_sample(self, parent_context: Any, trace_id: int, name: str, kind: Any = None, *rest: Any,
                          **more: Any) -> SamplingResult:  # fmt: skip
            chosen = share if kind is None or kind.name in BEGINS else ALWAYS_OFF
            return chosen.should_sample(parent_context, trace_id, name, kind, *rest, **more)

        def get_description(self) -> str:
            return f"Requests({settings.TRACE_SAMPLING})"

    return ParentBased(Requests())


def _exporter() -> Any:
    if settings.TRACE_FILE:
        return _file_exporter(Path(settings.TRACE_FILE))
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()  # reads OTEL_EXPORTER_OTLP_… itself


def _file_exporter(path: Path) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class FileExporter(SpanExporter):
        """Appends whole lines, so several processes can share one file."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            lines = "".join(f"{span.to_json(indent=None)}\n" for span in spans)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, lines.encode())
            finally:
                os.close(descriptor)
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            """Nothing to close."""

    return FileExporter()


def _instrument() -> None:
    from celery import signals
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    celery = CeleryInstrumentor()
    celery.instrument()
    # Without its publishing hooks: `tracing.headers_for` sets the header already, and after a failed publication, or
    # one to another service's task, they would leave their span open and current.
    signals.before_task_publish.disconnect(celery._trace_before_publish)
    signals.after_task_publish.disconnect(celery._trace_after_publish)
    inside = settings.MIDDLEWARE.index("shop.calls.headers.PassOn")  # inside the middleware that answers errors
    DjangoInstrumentor().instrument(excluded_urls=QUIET, middleware_position=inside)
    Psycopg2Instrumentor().instrument()
    RedisInstrumentor().instrument()


def traced(client: httpx.Client) -> httpx.Client:
    """Instrument the client for calls between services. Other HTTP clients of the process stay untraced."""
    if _processor is not None:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        HTTPXClientInstrumentor.instrument_client(client)
    return client
