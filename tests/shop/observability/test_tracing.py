"""Traces: one order is one trace, whatever its events travel with."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled, suppress_instrumentation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inventory.services import seed_stock
from sagas.events import encode
from sagas.execution import execute
from sagas.registry import STEPS
from sagas.testing import Bus
from shop.contracts.events import Line, OrderCompleted, OrderCreated
from shop.observability import tracing
from shop.observability.tracing import current_trace, headers_for, is_recorded
from tests.support.ordering import place_order

NOTIFY = STEPS["notifications.notify"]
TRACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PASSED_BY = f"{TRACED[:-2]}00"

every_database = pytest.mark.django_db(databases=list(settings.SERVICES))
Recorded = Callable[[], list[ReadableSpan]]


@pytest.fixture
def tracer_of() -> Iterator[Callable[[str], trace.Tracer]]:
    """The SDK in this process, without the instrumentations: these would stay for good."""
    exporter = InMemorySpanExporter()

    @cache
    def tracer_of(service: str) -> trace.Tracer:
        provider = TracerProvider(resource=Resource({"service.name": f"shop-{service}"}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return provider.get_tracer("tests")

    tracing.started(tracer_of)
    tracer_of.exporter = exporter  # type: ignore[attr-defined]
    try:
        yield tracer_of
    finally:
        tracing.started(None)


@pytest.fixture
def recorded(tracer_of: Any) -> Recorded:
    return lambda: list(tracer_of.exporter.get_finished_spans())


def service(span: ReadableSpan) -> str:
    return str(span.resource.attributes["service.name"])


def told(*traces: str) -> list[OrderCompleted]:
    return [OrderCompleted(order_id=number, user_id=1, trace=one) for number, one in enumerate(traces, 1)]


# --- Events --------------------------------------------------------------------------------------------------------
@every_database
def test_one_order_is_one_connected_trace_through_five_services(
    bus: Bus, no_waiting: None, tracer_of: Callable[[str], trace.Tracer], recorded: Recorded
):
    seed_stock({1: 10})
    with tracer_of("gateway").start_as_current_span("POST /orders"):
        order = place_order(user_id=1, lines=[Line(1, 1)], payment_gateway="TOSS_PAYMENTS")
    bus.drain()

    spans = recorded()
    assert len({span.context.trace_id for span in spans}) == 1
    assert {service(span) for span in spans} == {
        "shop-gateway", "shop-orders", "shop-inventory", "shop-payments", "shop-delivery", "shop-notifications",
    }  # fmt: skip
    known = {span.context.span_id for span in spans}
    assert [span.name for span in spans if span.parent is None] == ["POST /orders"]
    assert [span.name for span in spans if span.parent and span.parent.span_id not in known] == []
    assert {span.attributes["shop.order_id"] for span in spans if span.attributes} == {order.pk}

    by_id = {span.context.span_id: span for span in spans}
    (delivery,) = (span for span in spans if span.name == "delivery.start_delivery")
    chain = []
    while delivery.parent:
        delivery = by_id[delivery.parent.span_id]
        chain.append(delivery.name)
    assert chain == ["payments.charge_payment", "inventory.reserve_stock", "POST /orders"]


@every_database
def test_each_event_has_its_span_in_its_own_trace_linked_to_the_batch(
    bus: Bus, tracer_of: Callable[[str], trace.Tracer], recorded: Recorded
):
    other = TRACED.replace("4bf9", "5bf9")
    with tracer_of("notifications").start_as_current_span("run/notifications.notify") as batch:
        execute(NOTIFY, [encode(event) for event in told(TRACED, other, PASSED_BY, "")])

    spans = {span.attributes["shop.order_id"]: span for span in recorded() if span.attributes}
    assert {order: f"{span.context.trace_id:032x}" for order, span in spans.items()} == {
        1: TRACED[3:35],
        2: other[3:35],
    }
    assert {span.parent.span_id for span in spans.values() if span.parent} == {int(TRACED[36:52], 16)}
    assert [[link.context for link in span.links] for span in spans.values()] == [[batch.get_span_context()]] * 2


@every_database
def test_there_is_no_link_to_a_batch_that_is_not_recorded(bus: Bus, recorded: Recorded):
    context = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(context)):
        execute(NOTIFY, [encode(event) for event in told(TRACED)])

    (span,) = recorded()
    assert span.links == ()


@every_database
@pytest.mark.parametrize(
    ("traces", "chance", "enabled"),
    [
        ((PASSED_BY, ""), 0.0, False),
        ((TRACED,), 0.999, True),
        ((PASSED_BY, TRACED), 0.49, True),
        ((PASSED_BY, TRACED), 0.5, False),
    ],
)
def test_statements_of_a_batch_get_spans_as_often_as_its_events(
    bus: Bus, tracer_of: Any, monkeypatch: pytest.MonkeyPatch, traces: tuple[str, ...], chance: float, enabled: bool
):
    tracing.started(tracer_of, suppress_instrumentation)
    monkeypatch.setattr(tracing.random, "random", lambda: chance)
    within: list[bool] = []
    monkeypatch.setattr(NOTIFY, "function", lambda *_: within.append(is_instrumentation_enabled()) or [])
    execute(NOTIFY, [encode(event) for event in told(*traces)])
    assert (within, is_instrumentation_enabled()) == ([enabled], True)


@every_database
def test_a_step_that_fails_says_so_without_saying_what_it_was_told(
    bus: Bus, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
):
    def notify(*_: Any) -> list[Any]:
        raise ValueError("Kim, 서울")

    monkeypatch.setattr(NOTIFY, "function", notify)
    execute(NOTIFY, [encode(event) for event in told(TRACED)])

    (span,) = recorded()
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "ValueError")
    assert span.events == ()
    assert current_trace() == ""


@every_database
def test_what_follows_from_an_event_that_came_again_is_what_was_stored(bus: Bus, tracer_of: Any, recorded: Recorded):
    from tests.kernel.test_deferred import paid

    seed_stock({1: 10})
    created = OrderCreated(order_id=1, checkout=paid(1)[0].checkout, trace=TRACED)
    for _ in range(2):
        execute(STEPS["inventory.reserve_stock"], [encode(created)])
    first, _ = recorded()

    assert [(step, payload[0]["trace"]) for step, payload in bus.messages if step.startswith("payments.")] == [
        ("payments.charge_payment", f"{TRACED[:36]}{first.context.span_id:016x}-01")
    ] * 2


def test_without_the_sdk_nothing_is_added():
    (event,) = told(TRACED)
    with tracing.spans("x", "orders", [event]):
        assert (tracing.trace_after(event), current_trace()) == (TRACED, "")
    assert headers_for([encode(event)]) is None


def test_a_message_names_the_first_event_that_is_traced(tracer_of: Any):
    other = TRACED.replace("4bf9", "5bf9")
    assert headers_for([{"trace": PASSED_BY}, "?", {"trace": 3}, {"trace": TRACED}, {"trace": other}]) == {
        "traceparent": TRACED
    }
    assert headers_for([{"trace": PASSED_BY}, {}]) is None


@pytest.mark.parametrize(("flags", "is_so"), [("01", True), ("00", False), ("03", True), ("02", False)])
def test_the_lowest_flag_says_whether_a_trace_is_recorded(flags: str, is_so: bool):
    assert is_recorded(TRACED[:-2] + flags) is is_so
    assert not is_recorded("")


# --- Processes -----------------------------------------------------------------------------------------------------
WEB = """
from shop.wsgi import application
from django.db import connections
from django.test import Client
from opentelemetry import propagate, trace
from shop.observability import sdk

client = Client(SERVER_NAME="localhost")
ids = {"b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"}
client.get("/api/v1/nowhere", headers=ids)
client.get("/api/v1/nowhere", headers={"traceparent": "TRACED"} | ids)
client.get("/api/v1/nowhere", headers={"traceparent": "PASSED_BY"})
client.get("/livez", headers=ids)
with connections["orders"]._nodb_cursor() as cursor:
    cursor.execute("SELECT 1")  # no request's
tracer = trace.get_tracer("test")
with tracer.start_as_current_span("request", kind=trace.SpanKind.SERVER):
    headers = {}
    propagate.inject(headers)
    print(headers["traceparent"][3:35], headers["x-b3-traceid"], headers["b3"][:32])
    with connections["orders"]._nodb_cursor() as cursor:
        cursor.execute("SELECT %s", ["secret"])
sdk.flush()
"""


def test_a_web_server_reads_and_writes_both_kinds_of_headers(tmp_path: Path):
    path = tmp_path / "traces" / "spans.jsonl"
    variables = {"TRACE_FILE": str(path), "ALLOWED_HOSTS": "localhost", "DJANGO_SETTINGS_MODULE": "shop.settings"}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:shop",
            "-c",
            WEB.replace("TRACED", TRACED).replace("PASSED_BY", PASSED_BY),
        ],
        env=os.environ | variables,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1

    spans = [json.loads(line) for line in path.read_text().splitlines()]
    requests = [span for span in spans if span["attributes"].get("http.method") == "GET"]
    assert [(span["context"]["trace_id"], span["parent_id"]) for span in requests] == [
        ("0x80f198ee56343ba864fe8b2a57d3eff7", "0xe457b5a2e4d86bd1"),
        (f"0x{TRACED[3:35]}", f"0x{TRACED[36:52]}"),
    ]
    statements = [span for span in spans if span["attributes"].get("db.system") == "postgresql"]
    assert [span["attributes"]["db.statement"] for span in statements][-1:] == ["SELECT %s"]
    assert {span["parent_id"] for span in statements} == {spans[-1]["context"]["span_id"]}
    assert "secret" not in path.read_text()
    assert {span["resource"]["attributes"]["service.name"] for span in spans} == {"shop"}
    assert path.stat().st_mode & 0o777 == 0o600


# --- manage.py trace -----------------------------------------------------------------------------------------------
def written(name: str, span_id: str, parent: str | None, begin: int, end: int, **attributes: Any) -> str:
    times = {"start_time": f"2026-01-01T00:00:00.{begin:03}000Z", "end_time": f"2026-01-01T00:00:00.{end:03}000Z"}
    span = {
        "name": name,
        "context": {"trace_id": "0xabc", "span_id": span_id},
        "parent_id": parent,
        "status": {"status_code": "ERROR" if attributes.pop("failed", False) else "UNSET"},
        "attributes": attributes,
        "resource": {"attributes": {"service.name": f"shop-{name.partition('.')[0]}"}},
    }
    return json.dumps(span | times)


def test_trace_draws_an_orders_spans_as_a_tree(settings: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings.TRACE_FILE = str(tmp_path / "spans")
    lines = [
        written("payments.charge", "0x3", "0x2", 500, 900, **{"shop.order_id": 7, "shop.event": "InventoryReserved"}),
        written("web.POST", "0x1", None, 0, 100),
        written("inventory.reserve", "0x2", "0x1", 200, 400, **{"shop.order_id": 7}),
        written("inventory.SELECT", "0x4", "0x2", 250, 260, **{"db.system": "postgresql", "db.statement": "SELECT 1"}),
    ]
    Path(settings.TRACE_FILE).write_text("\n".join(lines) + "\n")

    call_command("trace", "7")
    text = capsys.readouterr().out
    assert text.splitlines()[0] == "order 7, trace abc"
    assert re.search(r"0\.0 ms +100\.0 ms +shop-web +web\.POST +█+ *\n", text)
    assert re.search(r"200\.0 ms +200\.0 ms +shop-inventory +   inventory\.reserve +█+ *\n", text)
    assert re.search(r"500\.0 ms +400\.0 ms +shop-payments +     payments\.charge InventoryReserved", text)
    assert "SELECT" not in text

    call_command("trace", "7", "--statements")
    assert "SELECT 1" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no trace of order 8"):
        call_command("trace", "8")
    settings.TRACE_FILE = ""
    with pytest.raises(CommandError, match="Set TRACE_FILE"):
        call_command("trace", "7")


def test_a_line_that_is_being_written_is_waited_for_and_another_file_is_refused(tmp_path: Path, settings: Any):
    file = tmp_path / "traces"
    settings.TRACE_FILE = str(file)
    file.write_text('{"na')
    with pytest.raises(CommandError, match="holds no trace of order 1"):
        call_command("trace", "1")
    file.write_text("name,age\n1,2\n")
    with pytest.raises(CommandError, match="is no span"):
        call_command("trace", "1")
