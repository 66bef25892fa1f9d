"""Metrics and logs: what is counted, that several processes add up, and that what watches names what exists."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from notifications.models import DeadLetter
from orders.models import Order, Outbox, Unsent
from providers import REQUESTS
from sagas.events import Event, encode, uuid7
from sagas.execution import execute
from sagas.registry import STEPS
from sagas.testing import Bus
from shop.contracts.events import CustomerErased, OrderCancelled, OrderCompleted, PaymentRefunded
from shop.observability import logs
from shop.observability.metrics import as_text, counted
from shop.operations import gauges
from shop.operations.gauges import Databases

DATABASES = list(settings.SERVICES)
NOTIFY = STEPS["notifications.notify"]


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def scraped(databases: Databases) -> dict[str, float]:
    lines = as_text(databases).decode().splitlines()
    return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


# --- Counting ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=DATABASES)
def test_a_batch_is_counted_by_what_came_of_it(bus: Bus):
    events = [OrderCompleted(order_id=number, user_id=1) for number in (1, 2, 3)]
    before = {outcome: value("shop_step_events_total", step=NOTIFY.name, outcome=outcome) for outcome in OUTCOMES}
    batches, repeated = counts()

    execute(NOTIFY, [encode(event) for event in events])
    execute(NOTIFY, [encode(events[0])])

    after = {outcome: value("shop_step_events_total", step=NOTIFY.name, outcome=outcome) for outcome in OUTCOMES}
    assert {name: after[name] - before[name] for name in OUTCOMES} == {"handled": 4, "failed": 0, "dead": 0}
    assert counts() == (batches + 2, repeated + 1)


@pytest.mark.django_db(databases=DATABASES)
def test_an_event_that_cannot_be_handled_is_counted_apart_from_its_batch(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    def notify(events: Sequence[Any], *_answer: Any) -> list[Any]:
        if any(event.order_id == 2 for event in events):
            raise ValueError
        return []

    monkeypatch.setattr(NOTIFY, "function", notify)
    before = {outcome: value("shop_step_events_total", step=NOTIFY.name, outcome=outcome) for outcome in OUTCOMES}
    events = [OrderCancelled(order_id=number, user_id=1, reason="") for number in (1, 2, 3)]

    execute(NOTIFY, [encode(event) for event in events])

    after = {outcome: value("shop_step_events_total", step=NOTIFY.name, outcome=outcome) for outcome in OUTCOMES}
    assert {name: after[name] - before[name] for name in OUTCOMES} == {"handled": 2, "failed": 3 + 2, "dead": 1}


def test_what_is_interrupted_is_not_counted_as_handled():
    labels = {"step": "a.step", "outcome": "interrupted"}
    with pytest.raises(KeyboardInterrupt), counted("a.step", [OrderCompleted(order_id=1, user_id=1)]):
        raise KeyboardInterrupt
    assert (value("shop_step_events_total", **labels), value("shop_step_delay_seconds_count", step="a.step")) == (1, 0)


OUTCOMES = ("handled", "failed", "dead")


def counts() -> tuple[float, float]:
    labels = {"step": NOTIFY.name}
    return value("shop_batch_events_count", **labels), value("shop_step_repeated_total", **labels)


@pytest.mark.django_db(databases=["orders"])
def test_an_order_is_timed_until_it_is_paid(bus: Bus, django_capture_on_commit_callbacks: Any):
    from shop.contracts.events import PaymentCompleted
    from tests.kernel.test_deferred import paid

    order = Order.objects.create(user_id=1, currency="KRW", total_price=1, payment_gateway="X")
    event: PaymentCompleted = paid(1)[0]
    before = value("shop_saga_seconds_count", status="PAYMENT_COMPLETED")
    with django_capture_on_commit_callbacks(using="orders", execute=True):
        for _ in range(2):  # the second time it is paid already
            STEPS["orders.mark_paid"]([type(event)(order_id=order.pk, checkout=event.checkout)])

    assert value("shop_saga_seconds_count", status="PAYMENT_COMPLETED") == before + 1


# --- Asking the databases ------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=DATABASES)
def test_databases_tell_what_waits(settings: Any):
    long_ago = timezone.now() - timedelta(seconds=500)
    order: dict[str, Any] = {"user_id": 1, "currency": "KRW", "total_price": 1, "look_at": timezone.now()}
    Order.objects.create(**order)
    Order.objects.create(**order, status="COMPLETED", progress_at=long_ago)
    Order.objects.create(**order, status="CANCELLING", progress_at=long_ago, capture="FAILED")
    Order.objects.create(**order | {"look_at": None}, status="CANCELLED", capture="FAILED")
    Order.objects.create(**order | {"look_at": None}, status="COMPLETED")
    Order.objects.create(**order, status="UNPAID", progress_at=long_ago, capture="FAILED")
    event = Outbox.objects.create(event_id=uuid7(), event_type="X", correlation_id=1, payload={}, created_at=long_ago)
    Unsent.objects.create(outbox=event)
    DeadLetter.objects.create(step="notifications.notify", payload="x", error="x")
    DeadLetter.objects.create(step="notifications.notify", payload="x", error="x", resolved_at=long_ago)

    found = scraped(Databases())

    assert {name: number for name, number in found.items() if name.startswith("shop_orders_")} == {
        'shop_orders_open{status="PENDING"}': 1,
        'shop_orders_open{status="COMPLETED"}': 1,
        'shop_orders_open{status="CANCELLING"}': 1,
        'shop_orders_open{status="UNPAID"}': 1,
        "shop_orders_stalled": 1,
        "shop_orders_unpaid": 2,
    }
    assert found['shop_outbox_lag_seconds{service="orders"}'] == pytest.approx(500, abs=60)
    assert found['shop_outbox_lag_seconds{service="delivery"}'] == 0
    assert (found['shop_outbox_unsent{service="orders"}'], found['shop_dead_letters{service="notifications"}']) == (
        1,
        1,
    )
    assert {found[f'shop_database_up{{service="{service}"}}'] for service in DATABASES} == {1}


@pytest.mark.django_db(databases=DATABASES)
def test_databases_are_asked_once_in_a_while(monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any):
    now = [100.0]
    monkeypatch.setattr(gauges.time, "monotonic", lambda: now[0])
    databases = Databases()
    with django_assert_num_queries(3, using="orders"):  # messages, unpaid orders, open orders
        scraped(databases)
        now[0] += gauges.FRESH_FOR - 0.1
        scraped(databases)
    now[0] += 0.2
    with django_assert_num_queries(3, using="orders"):
        scraped(databases)


@pytest.mark.django_db(databases=DATABASES)
def test_a_database_that_is_away_costs_its_own_part_only(monkeypatch: pytest.MonkeyPatch):
    from django.db import OperationalError

    def backlog(service: str, *, most: int) -> Any:
        if service == "payments":
            raise OperationalError("away")
        return asked(service, most=most)

    asked = gauges.backlog
    monkeypatch.setattr(gauges, "backlog", backlog)
    monkeypatch.setattr(gauges.connections["payments"], "close", lambda: None)
    found = scraped(Databases())

    assert found['shop_database_up{service="payments"}'] == 0
    assert 'shop_dead_letters{service="payments"}' not in found
    assert found['shop_database_up{service="orders"}'] == 1


# --- Several processes ---------------------------------------------------------------------------------------------
PROCESSES = """
import os, sys
import django
django.setup()
from shop.locks import WITHOUT_LOCK
from shop.observability.metrics import as_text
from shop.calls.breaker import STATE

for state in (1, 2):
    if not (child := os.fork()):
        WITHOUT_LOCK.labels("timeout").inc()
        STATE.labels("catalog").set(state)
        os._exit(0)
    os.waitpid(child, 0)
WITHOUT_LOCK.labels("timeout").inc()
STATE.labels("catalog").set(0)
sys.stdout.buffer.write(as_text())
"""


def test_processes_that_share_a_directory_add_up_and_only_the_living_have_a_state(tmp_path: Path):
    directory = tmp_path / "metrics"  # which is made
    variables = {"DJANGO_SETTINGS_MODULE": "shop.settings", "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", PROCESSES],
        env=os.environ | variables,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert 'shop_lock_unavailable_total{why="timeout"} 3.0' in done.stdout
    assert 'shop_breaker_state{name="catalog"} 0.0' in done.stdout


# --- What watches --------------------------------------------------------------------------------------------------
def expressions() -> dict[str, str]:
    """Every expression of alerts and dashboards, by where it is."""
    rules = yaml.safe_load((settings.BASE_DIR / "deploy/prometheus/rules.yml").read_text())
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    found = {f"alert {rule['alert']}": rule["expr"] for rule in every if "alert" in rule}
    found |= {f"{rule['record']} {rule['labels']}": rule["expr"] for rule in every if "record" in rule}
    for path in (settings.BASE_DIR / "deploy/grafana/dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']}"] = target["expr"]
    return found


@pytest.mark.django_db(databases=DATABASES)
def test_alerts_and_dashboards_name_metrics_that_exist(client: Client):
    text = client.get("/metrics").content.decode()
    known = set(re.findall(r"^# TYPE (\w+) (?!histogram)", text, re.MULTILINE))
    for name in re.findall(r"^# TYPE (\w+) histogram", text, re.MULTILINE):
        known |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    wrong = [
        (where, name)
        for where, expression in expressions().items()
        for name in re.findall(r"\bshop_\w+", expression)
        if name not in known
    ]
    assert wrong == []
    assert len(known & set(re.findall(r"\bshop_\w+", " ".join(expressions().values())))) >= 12


@pytest.mark.django_db(databases=DATABASES)
def test_every_metric_is_explained(client: Client):
    text = client.get("/metrics").content.decode()
    ours = set(re.findall(r"^# TYPE (shop_\w+?)(?<!_created) ", text, re.MULTILINE))
    page = (settings.BASE_DIR / "docs/howto/observability.md").read_text()
    table = {
        name for line in page.splitlines() if line.startswith("| `shop_") for name in re.findall(r"`(shop_\w+)`", line)
    }
    assert REQUESTS.describe()[0].name in ours  # which only processes have that ask providers
    assert ours <= table
    assert table <= ours | {"shop_internal_replay_unchecked_total"}  # of a service alone


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((settings.BASE_DIR / "deploy/prometheus/rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in ("page", "ticket")


PROMETHEUS = settings.BASE_DIR / "deploy/prometheus"


def promtool(*arguments: str, given: bytes = b"", cwd: Path = PROMETHEUS) -> str:
    """What promtool says when it is content."""
    done = subprocess.run(["promtool", *arguments], input=given, cwd=cwd, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_prometheus_takes_its_configuration_and_alerts(tmp_path: Path):
    rules = [
        rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]
    ]
    assert f"{len(rules)} rules found" in promtool("check", "rules", "rules.yml")
    text = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(PROMETHEUS))
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)


def test_every_alert_tells_of_what_it_is_for_and_of_nothing_else():
    files = ("rules_test.yml", "slo_test.yml")
    promtool("test", "rules", *files)
    stories = [story for file in files for story in yaml.safe_load((PROMETHEUS / file).read_text())["tests"]]
    told = {one["alertname"] for story in stories for one in story.get("alert_rule_test", ()) if one["exp_alerts"]}
    assert told == {name.removeprefix("alert ") for name in expressions() if name.startswith("alert ")}


@pytest.mark.django_db(databases=DATABASES)
def test_metrics_are_named_as_prometheus_wants_them(client: Client):
    promtool("check", "metrics", given=client.get("/metrics").content)


# --- Logs ----------------------------------------------------------------------------------------------------------
def line(style: str, message: str, *arguments: Any, error: bool = False, why: str = "why") -> str:
    try:
        if error:
            raise ValueError(why)
        info = None
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("shop.x", logging.WARNING, __file__, 1, message, arguments, info)
    return logs.formatter(style).format(record)


def events_of(*order_ids: int) -> list[Event]:
    return [PaymentRefunded(order_id=order_id, reason="r") for order_id in order_ids]


def test_a_line_names_the_orders_it_is_about():
    with logs.about(events_of(7)):
        assert re.fullmatch(r"\S+Z warning shop\.x: hello you  orders=7", line("text", "hello %s", "you"))
    with logs.about([CustomerErased(user_id=1, order_ids=()), *events_of(*range(1, 9))]):
        assert line("text", "x").endswith("orders=1,2,3,4,5,+3")
    assert line("text", "x").endswith("shop.x: x")


def test_what_a_client_sends_neither_begins_a_line_nor_reaches_the_terminal():
    evil = "a\r\n2026-01-01 error shop.x: forged \x1b[2J\x9b \u202e무슨 일"
    shown = r"a\r\n2026-01-01 error shop.x: forged \x1b[2J\x9b \u202e무슨 일"
    assert line("text", "got %s", evil).splitlines()[0].endswith(f"shop.x: got {shown}")
    assert len(line("text", "got %s", evil).splitlines()) == 1
    failed = line("text", "x", error=True, why=evil).splitlines()
    assert all(one.startswith("  ") for one in failed[1:])
    assert failed[-1] == f"  2026-01-01 error shop.x: forged {shown.partition('forged ')[2]}"


def test_a_line_of_json_is_one_line_with_its_traceback():
    with logs.about(events_of(7)):
        said = json.loads(line("json", "무슨 %s", "일", error=True))
    assert (said["event"], said["orders"], said["level"], said["logger"]) == ("무슨 일", "7", "warning", "shop.x")
    assert said["exception"].endswith("ValueError: why")
    assert "ValueError: why" in line("text", "x", error=True).splitlines()[-1]
