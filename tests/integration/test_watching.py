"""Flower, traces and metrics of processes that run as they are deployed."""

import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace

from sagas.conf import choreography
from sagas.registry import STEPS, TIMERS
from shop.operations import doctor
from tests.support.otlp import receiving, unconnected
from tests.support.processes import Process, eventually
from tests.support.running_shop import Shop

PASSWORD = "admin:for-the-test"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# --- Flower --------------------------------------------------------------------------------------------------------
def flower(given: Mapping[str, str], port: int, log: Path, **environment: str) -> Process:
    command = [sys.executable, "-m", "celery", "-A", "shop", "flower", "--address=127.0.0.1", f"--port={port}"]
    return Process("flower", command, {**given, **environment}, log)


@pytest.fixture
def watched(running_shop: Shop, tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    port = free_port()
    process = flower(running_shop.processes.environment, port, tmp_path / "flower.log", FLOWER_BASIC_AUTH=PASSWORD)
    try:
        yield running_shop, f"http://127.0.0.1:{port}"
    finally:
        process.kill()


def answers(url: str, **options: Any) -> httpx.Response:
    try:
        return httpx.get(url, trust_env=False, **options)
    except httpx.TransportError:
        raise AssertionError("it does not answer yet") from None


def test_flower_shows_tasks_by_what_they_are_about_to_who_has_the_password(watched: tuple[Shop, str]):
    shop, url = watched
    auth = (*PASSWORD.split(":"),)
    assert eventually(lambda: answers(f"{url}/api/workers")).status_code == 401
    assert answers(f"{url}/api/workers", auth=("admin", "guess")).status_code == 401
    assert answers(f"{url}/healthcheck").status_code == 200  # for probes, to anybody
    assert answers(f"{url}/metrics").status_code == 401
    assert "flower_events_total" in answers(f"{url}/metrics", auth=auth).text

    def tasks() -> list[dict[str, Any]]:
        return list(answers(f"{url}/api/tasks", auth=auth).json().values())

    def both_tell() -> bool:
        shop.ends(shop.place())
        return len({task["worker"] for task in tasks()}) == 2

    eventually(both_tell)
    order_id = shop.place()
    shop.ends(order_id)

    def shown() -> bool:
        return ("inventory.reserve_stock", f"1 × OrderCreated (order {order_id})") in {
            (task["name"], task["args"]) for task in tasks()
        }

    eventually(shown)
    named = {task["name"] for task in tasks()} - {None}  # Flower does not know what began before it listened
    assert named <= set(STEPS)  # no timers, of which there would be many
    page = re.sub(r"<[^>]+>|\s+", " ", answers(f"{url}/broker", auth=auth).text)
    for service in choreography().services:
        assert re.search(rf" {service} +&mdash; +&mdash; +\d+ +2 ", page), page  # waiting messages, and workers
        assert re.search(rf" {service}\.dead +&mdash; +&mdash; +0 +0 ", page), page
    refused = httpx.post(f"{url}/api/task/revoke/{order_id}", auth=auth, trust_env=False)
    assert refused.status_code == 403


@pytest.mark.parametrize("password", ["", "admin:"])
def test_flower_does_not_start_without_a_password(tmp_path: Path, password: str):
    process = flower(os.environ, free_port(), tmp_path / "flower.log", FLOWER_BASIC_AUTH=password)
    assert process.ends() != 0
    assert "set FLOWER_BASIC_AUTH" in process.log


# --- The doctor ----------------------------------------------------------------------------------------------------
def test_the_doctor_finds_everything_in_order(running_shop: Shop):
    found = {finding.what: finding for finding in doctor.examine()}
    assert [finding for finding in found.values() if finding.well is False] == []
    assert found["broker"].detail.startswith("RabbitMQ ")
    for service in choreography().services:
        assert re.fullmatch(rf"\d+ waiting, 2 consumers, 0 in {service}\.dead", found[f"queue {service}"].detail)
    assert found["redis locks"].detail.startswith("Redis ")


# --- Traces and metrics --------------------------------------------------------------------------------------------
def test_one_order_is_one_trace_through_worker_and_relay_and_both_tell_their_metrics(shop: Shop, tmp_path: Path):
    context = trace.SpanContext(0x4BF9, 0xF067, is_remote=True, trace_flags=trace.TraceFlags(1))
    worker_port, relay_port = free_port(), free_port()
    with receiving() as receiver:
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
        worker = shop.processes.worker("traced", METRICS_PORT=str(worker_port), **told)
        relay = shop.processes.relay(METRICS_PORT=str(relay_port), **told)
        worker.says("ready.")
        relay.says("Relaying")
        with trace.use_span(trace.NonRecordingSpan(context)):  # the request's
            order_id = shop.place()
        shop.ends(order_id, meanwhile=TIMERS["delivery.advance_deliveries"])
        services = {"shop-orders", "shop-inventory", "shop-payments", "shop-delivery", "shop-notifications"}

        def complete() -> bool:  # a batch's span ends after those of its events
            spans = receiver.of_order(order_id)
            links = {link for span in spans for link in span.links}
            return {span.service for span in spans} >= services and links <= {span.id for span in spans}

        eventually(complete)
        counted = [
            httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text for port in (worker_port, relay_port)
        ]
        shop.processes.stop(worker, relay)

    spans = receiver.of_order(order_id)
    assert {span.trace for span in spans} == {f"{0x4BF9:032x}"}
    assert {span.parent for span in unconnected(spans)} == {f"{0xF067:016x}"}
    names = {span.name for span in spans}
    assert {"orders.relay", "inventory.reserve_stock", "payments.charge_payment", "delivery.start_delivery"} <= names
    assert "run/payments.charge_payment" in names
    batches = {span.id for span in spans if span.name.startswith("run/")}
    steps = [span for span in spans if span.attributes.get("shop.order_id") and not span.name.endswith(".relay")]
    assert [span.name for span in steps if not span.links or not set(span.links) <= batches] == []
    statements = [span for span in spans if "db.statement" in span.attributes]
    assert {span.parent for span in statements} & batches
    for text in counted:  # they share a directory
        assert 'shop_step_events_total{outcome="handled",step="payments.charge_payment"} 1.0' in text
        assert 'shop_relayed_events_total{service="orders"} 1.0' in text
