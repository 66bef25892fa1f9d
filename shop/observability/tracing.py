"""The trace context that travels with an event, so that one order is one trace across outbox, broker and retries."""

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_w3c = TraceContextTextMapPropagator()


def current_trace() -> str:
    """The W3C `traceparent` of the current span; empty when nothing is being traced."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get("traceparent", "")
