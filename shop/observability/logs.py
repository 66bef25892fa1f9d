"""Log lines that name the current trace and orders, as text for people or as JSON for machines.

The DETAIL of PostgreSQL's errors, which quotes the row in question, is left out: it may contain personal data.
"""

import logging
import re
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry import trace

SHOWN = 5  # orders of a batch named in a line
# Matches up to the next part of the error or of the traceback, as the row's texts may contain line breaks.
DETAIL = re.compile(r"(DETAIL:  ).*?(?=\n(?:CONTEXT|HINT):|\n\n(?:The above|During handling of)|\Z)", re.DOTALL)

_events: ContextVar[Sequence[Any]] = ContextVar("events", default=())


@contextmanager
def about(events: Sequence[Any]) -> Iterator[None]:
    """Lines logged within the block name these events' orders."""
    token = _events.set(events)
    try:
        yield
    finally:
        _events.reset(token)


def where(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: adds the current trace and orders, if any."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace"] = f"{context.trace_id:032x}"
    if orders := [event.order_id for event in _events.get() if hasattr(event, "order_id")]:
        more = [f"+{len(orders) - SHOWN}"] if len(orders) > SHOWN else []
        line["orders"] = ",".join([*map(str, orders[:SHOWN]), *more])
    return line


def without_rows(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: removes the row that a database error quotes."""
    for part in ("event", "exception"):
        if "DETAIL:" in (said := str(line.get(part, ""))):
            line[part] = DETAIL.sub(r"\1…", said)
    return line


def _visible(text: str) -> str:
    """Escape control and format characters, so that no text can begin a new log line or control the terminal."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class _Text:
    """Renders `time level logger: message  trace=… orders=…`, then the traceback, indented."""

    def __call__(self, _logger: Any, _method: str, line: dict[str, Any]) -> str:
        said = "{timestamp} {level} {logger}: ".format(**line) + _visible(line["event"])
        told = "".join(f" {name}={line[name]}" for name in ("trace", "orders") if name in line)
        return "\n  ".join(
            [f"{said}{' ' if told else ''}{told}", *map(_visible, line.get("exception", "").splitlines())]
        )


def formatter(style: str = "text") -> logging.Formatter:
    """The formatter for the standard library's loggers; `style` is "text" or "json"."""
    render: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if style == "json" else _Text()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            where,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            without_rows,
            render,
        ],
    )
