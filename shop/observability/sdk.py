"""Starts OpenTelemetry in this process, where spans are to go somewhere.

To OTEL_EXPORTER_OTLP_ENDPOINT, or into TRACE_FILE, one span a line, for `manage.py trace`. Unless one of them is set
nothing is imported and nothing is wrapped. Started in each process that works: web server, worker's child, relay.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings

SCHEDULE = 1000  # milliseconds that a span waits for others before they are sent
QUIET = "livez,readyz,metrics"  # asked every few seconds, by machines
# A trace begins with a request. What else has no parent is a look at an empty table, or a timer's.
BEGINS = ("SERVER", "INTERNAL")

_processor: Any = None


def start() -> None:
    """Start, once, if there is somewhere for spans to go."""
    if _processor is None and (settings.TRACE_FILE or settings.TRACES_SENT_TO):
        start_with(_exporter())


def start_with(exporter: Any) -> None:
    """Start with an exporter of the SDK's."""
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
    # Both ways of saying it are read and written; where a request brings both, W3C's counts.
    propagate.set_global_textmap(
        CompositePropagator([B3MultiFormat(), B3SingleFormat(), TraceContextTextMapPropagator()])
    )
    trace.set_tracer_provider(_provider(own))
    tracing.started(cache(lambda service: _provider(f"shop-{service}").get_tracer("shop")), suppress_instrumentation)
    _instrument()


def flush() -> None:
    """Send what has been recorded: a worker's child ends without another chance."""
    if _processor is not None:
        _processor.force_flush()


def _provider(name: str) -> Any:
    """The spans of a service. In one process there may be several: each step's are its own service's."""
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

    return OTLPSpanExporter()  # which reads OTEL_EXPORTER_OTLP_… itself


def _file_exporter(path: Path) -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class FileExporter(SpanExporter):
        """Appends whole lines: several processes may write to one file."""

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
            """Nothing is kept open."""

    return FileExporter()


def _instrument() -> None:
    from celery import signals
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor

    celery = CeleryInstrumentor()
    celery.instrument()
    # Whose message it is says its header already (`tracing.headers_for`), and a publication that fails, or is for
    # another service's task, would leave its span open and current.
    signals.before_task_publish.disconnect(celery._trace_before_publish)
    signals.after_task_publish.disconnect(celery._trace_after_publish)
    inside = settings.MIDDLEWARE.index("shop.calls.headers.PassOn")  # of what answers for errors
    DjangoInstrumentor().instrument(excluded_urls=QUIET, middleware_position=inside)
    Psycopg2Instrumentor().instrument()
    RedisInstrumentor().instrument()


def traced(client: httpx.Client) -> httpx.Client:
    """The client of calls between services. Others, as a demonstration's in the same process, are left alone."""
    if _processor is not None:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        HTTPXClientInstrumentor.instrument_client(client)
    return client
