"""The trace context that travels with an event, so that an order is one trace across outbox, broker and retries.

A trace starts with a request. The event that the request emits stores the trace context; each step that handles an
event adds a span of its service, and passes the context on with the events it emits. Work for the whole batch
(statements, locks) belongs to the batch's span, which Celery's instrumentation creates in the trace of the batch's
first traced event; the events' spans link to it. docs/adr/0011-a-span-per-event.md has the reasons. Until
`shop.observability.sdk` has started, all of this costs nothing.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from sagas import Event

RECORDED = tuple("13579bdf")

_w3c = TraceContextTextMapPropagator()
_tracer_of: Callable[[str], trace.Tracer] | None = None  # per service; None until the SDK has started
_unrecorded: Callable[[], AbstractContextManager[None]] = nullcontext
_handed_on: ContextVar[Mapping[UUID, str] | None] = ContextVar("handed_on", default=None)


def started(
    tracer_of: Callable[[str], trace.Tracer] | None,
    unrecorded: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Tell this module that the SDK has started: events get spans from now on. None turns that off.

    `unrecorded()` suppresses the spans of instrumentation, for the statements of batches that are not sampled.
    """
    global _tracer_of, _unrecorded
    _tracer_of, _unrecorded = tracer_of, unrecorded


def current_trace() -> str:
    """The W3C `traceparent` of the current span; empty without one."""
    return _context_of(trace.get_current_span())


def trace_after(event: "Event") -> str:
    """The context for events caused by this one: that of its span while it is handled, else the event's own."""
    handed_on = _handed_on.get()
    return handed_on.get(event.event_id, event.trace) if handed_on else event.trace


def headers_for(payload: Sequence[Any]) -> dict[str, str] | None:
    """The headers of a message: the context of its first traced event. None if no event is traced."""
    if _tracer_of is None:
        return None
    traces = (one.get("trace") if isinstance(one, dict) else getattr(one, "trace", "") for one in payload)
    first = next((one for one in traces if isinstance(one, str) and is_recorded(one)), "")
    return {"traceparent": first} if first else None


def is_recorded(traceparent: str) -> bool:
    """Whether the sampled flag of a W3C `traceparent` is set."""
    return traceparent[-1:] in RECORDED


@contextmanager
def spans(name: str, service: str, events: Iterable["Event"]) -> Iterator[None]:
    """Over the block, a span for each traced event, in the event's trace, linked to the batch's span."""
    if _tracer_of is None:
        yield
        return
    every = list(events)
    traced = [event for event in every if is_recorded(event.trace)]
    # Sample a batch's statements in proportion to its traced events: with 5 % traced, nearly every large batch has one.
    chosen = random.random() * len(every) < len(traced)
    with nullcontext() if chosen else _unrecorded():
        if traced:
            with _opened(_tracer_of(service), name, traced):
                yield
        else:
            yield


@contextmanager
def _opened(tracer: trace.Tracer, name: str, traced: Sequence["Event"]) -> Iterator[None]:
    batch = trace.get_current_span().get_span_context()
    links = [trace.Link(batch)] if batch.trace_flags.sampled else []
    opened = {event.event_id: _open(tracer, name, event, links) for event in traced}
    token = _handed_on.set({event_id: _context_of(span) for event_id, span in opened.items()})
    try:
        yield
    except BaseException as error:
        for span in opened.values():  # only the type: the message may contain personal data
            span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        _handed_on.reset(token)
        for span in opened.values():
            span.end()


def _open(tracer: trace.Tracer, name: str, event: "Event", links: Sequence[trace.Link]) -> trace.Span:
    order = {"shop.order_id": order_id} if (order_id := getattr(event, "order_id", None)) else {}
    return tracer.start_span(
        name,
        context=_w3c.extract({"traceparent": event.trace}),
        kind=trace.SpanKind.CONSUMER,
        links=links,
        attributes={**order, "shop.event": type(event).__name__},
    )


def _context_of(span: trace.Span) -> str:
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")
