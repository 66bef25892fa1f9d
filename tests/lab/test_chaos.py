"""A short run of `manage.py chaos`, on servers of its own; and that its plan comes from the seed alone."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from django.conf import settings

from lab.chaos import faults
from lab.chaos.client import Client
from lab.chaos.faults import FAULTS, Fired, World
from lab.chaos.plan import PlannedFault, make_plan
from lab.chaos.verdict import endings, recovery
from lab.charts import over_time, stretches
from lab.orders import HOT_PRODUCT, KINDS, KINDS_AT_PROVIDERS, SECOND_THOUGHTS
from lab.rig.servers import until
from orders.models import Order

# One of every part that can fail; a whole run has all kinds.
SHORT = (
    "worker child killed",
    "provider killed",
    "queue purged",
    "database restarted",
    "web killed",
    "Redis stopped",
    "broker restarted",
    "broker wiped",
)
PROVIDERS = ("KAKAO", "NAVER", "STRIPE", "TOSS")
COMMAND = [sys.executable, str(settings.BASE_DIR / "manage.py"), "chaos"]


def plan(seed, **changes):
    wanted = {"orders": 400, "faults": 40, "kinds": list(FAULTS), "gaps": (2.0, 10.0)} | changes
    return make_plan(seed, **wanted)


def test_the_seed_is_the_plan():
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)
    assert {one.kind for one in plan(7).orders} == {*KINDS, *SECOND_THOUGHTS}


def test_every_kind_of_fault_comes_before_one_comes_again():
    kinds = [one.kind for one in plan(7).faults]
    assert set(kinds[: len(FAULTS)]) == set(kinds[len(FAULTS) : 2 * len(FAULTS)]) == set(FAULTS)
    assert all(2 <= one.gap <= 10 for one in plan(7).faults)


def test_orders_are_spread_over_the_providers_whose_customers_pay_on_pages():
    made = plan(7, gateways=PROVIDERS)
    assert {one.kind for one in made.orders} == {*KINDS_AT_PROVIDERS, *SECOND_THOUGHTS}
    assert {one.body["paymentGateway"] for one in made.orders} == set(PROVIDERS)
    assert {one.body["paymentGateway"] for one in made.orders if "paymentToken" in one.body} == {"STRIPE"}
    assert plan(7, gateways=PROVIDERS) == made


def test_the_hot_product_sells_out_and_the_others_do_not():
    made = plan(7)
    wanted = dict.fromkeys(made.stock, 0)
    for order in made.orders:
        for line in order.body["items"]:
            wanted[line["productId"]] += line["quantity"]
    assert [product for product, pieces in wanted.items() if pieces > made.stock[product]] == [HOT_PRODUCT]


def test_a_client_that_is_told_so_places_no_more():
    client = Client(["http://127.0.0.1:1"], ["token"], plan(7).orders, rate=1000)
    client.enough()
    client.start(threads=2)
    until(lambda: not client.busy, "the end of the load", seconds=10, pause=0.01)
    assert client.placed == 0


def test_one_order_is_placed_even_if_the_shop_is_behind():
    client = Client(["http://127.0.0.1:1"], ["token"], plan(7).orders, rate=1000)
    client.hold_back(len(plan(7).orders))
    client.crowded, client.began = True, time.time()
    client.one_now()
    client.one_now()
    assert client._take() == plan(7).orders[0]
    client.stop()
    assert client._take() is None


def test_a_queue_that_is_empty_is_not_purged_before_orders_have_filled_it(monkeypatch: pytest.MonkeyPatch):
    class Broker:
        messages = -2  # the stopped worker is sent two first

        def waiting(self, queue: str) -> int:
            return max(self.messages, 0)

        def purge(self, queue: str) -> int:
            purged, self.messages = self.messages, 0
            return purged

        def order(self) -> None:
            self.messages += 1

    monkeypatch.setattr(faults, "LULL", 0.0)
    broker, planned = Broker(), PlannedFault("queue purged", gap=0, choice=1)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as worker:
        processes = SimpleNamespace(hearing=lambda queue: worker)
        fired = faults.fire(1, planned, World(None, broker, None, processes, broker.order))
        assert psutil.Process(worker.pid).status() != psutil.STATUS_STOPPED
        worker.kill()
    assert (fired.failure, fired.proof.split(" ")[0], broker.messages) == ("", "1", 0)


def test_no_line_is_drawn_across_a_time_without_samples():
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, 1.0), (60.0, 5.0), (61.0, 5.0)]
    assert list(stretches(points, longest_gap=3.0)) == [points[:3], points[3:]]
    assert list(stretches(points, longest_gap=60.0)) == [points]


def test_points_a_second_apart_are_a_line_however_short_the_run():
    second_by_second = [(0.5 + second, 3.0) for second in range(8)]
    drawn = over_time("orders", {"sent": second_by_second}, end=8.0)
    (line,) = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert len(line.split()) == 8
    drawn = over_time("orders", {"sent": [*second_by_second, (60.5, 3.0), (61.5, 3.0)]}, end=62.0)
    assert [len(line.split()) for line in re.findall(r'<polyline points="([^"]*)"', drawn)] == [8, 2]


NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL = {"PENDING": -2, "PAYMENT_COMPLETED": -1, "DELIVERY_STARTED": 4, "COMPLETED": 90}  # seconds after the fault's end
SERVED = {"PENDING": 1, "DELIVERY_STARTED": 3, "COMPLETED": 9}


@pytest.mark.django_db(databases=["orders"])
@pytest.mark.parametrize(
    ("kind", "lives", "seconds"),
    [
        ("worker killed", [WELL, SERVED], 4),
        ("beat killed", [WELL, SERVED], 9),
        ("worker killed", [WELL, SERVED, {"PENDING": -9, "CANCELLED": 30}], 30),
        ("worker killed", [{"PENDING": -9, "DELIVERY_STARTED": -5, "COMPLETED": 70}, SERVED], 3),
        ("worker killed", [WELL, SERVED, {"PENDING": -9, "CANCELLING": 30}], None),  # one is not at rest yet
        ("worker killed", [{"PENDING": -9, "CANCELLED": 30}, {"PENDING": 1}], None),  # nobody is served yet
    ],
)
def test_recovery_is_when_the_last_order_is_at_rest_and_the_next_is_served(kind, lives, seconds):
    for life in lives:
        order = Order.objects.create(user_id=1, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
        Order.objects.filter(pk=order.pk).update(created_at=NOW + timedelta(seconds=life["PENDING"]))
        for status, at in life.items():
            entry = order.timeline.create(service="orders", event="X", status=status)
            order.timeline.filter(pk=entry.pk).update(at=NOW + timedelta(seconds=at))

    fired = Fired(1, kind, NOW.timestamp() - 5, NOW.timestamp(), witness=FAULTS[kind].witness)
    assert recovery(fired) == seconds


@pytest.mark.django_db(databases=["orders"])
def test_an_order_ends_once_whatever_comes_after():
    order = Order.objects.create(user_id=1, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
    Order.objects.filter(pk=order.pk).update(created_at=NOW)
    for event, after in (("OrderCompleted", 3), ("ReturnRequested", 60), ("ReturnCompleted", 90)):
        entry = order.timeline.create(service="orders", event=event, status="COMPLETED")
        order.timeline.filter(pk=entry.pk).update(at=NOW + timedelta(seconds=after))
    assert endings() == [(NOW.timestamp(), NOW.timestamp() + 3)]


@pytest.mark.chaos
@pytest.mark.integration
@pytest.mark.soak
def test_nothing_is_lost_or_done_twice(tmp_path):
    report = tmp_path / "report.html"
    options = [
        "--providers",
        "--orders=150",
        "--seed=11",
        "--fast",
        f"--kinds={','.join(SHORT)}",
        "--json",
        f"--report={report}",
    ]
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, cwd=settings.BASE_DIR, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert {fault["kind"] for fault in figures["faults"] if fault["proof"] and not fault["failure"]} == set(SHORT)
    assert all(fault["recovered_after"] is not None for fault in figures["faults"])
    assert figures["wrong"]
    assert not any(figures["wrong"].values())
    assert sum(figures["kinds"].values()) == 150
    assert {one["gateway"] for one in figures["books"] if one["captured"]} == set(PROVIDERS)
    assert any(one["refunded"] for one in figures["books"])
    assert figures["operations"]["change ok"]
    assert sum(figures["returns"].values()) == figures["operations"]["return ok"]
    assert set(figures["statuses"]) == {"COMPLETED", "CANCELLED"}
    assert figures["restarts"] >= 1
    page = report.read_text()
    assert page.count("<svg") == 3
    assert page.count('class="marked"') == 3 * len(figures["faults"])
    assert not [part for part in ("src=", "href=", "url(", "<script") if part in page]  # it needs nothing else


@pytest.mark.chaos
@pytest.mark.integration
def test_ctrl_c_leaves_nothing_behind(tmp_path):
    environment = os.environ | {"TMPDIR": str(_reachable(tmp_path))}
    process = subprocess.Popen(
        [*COMMAND, "--orders=50", "--seed=1"],
        cwd=settings.BASE_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        # As from a terminal: what a shell runs in the background, as `make test` does with this half, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    started: set[int] = set()
    for line in process.stdout:
        started |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        if "RabbitMQ on port" in line:
            break
    assert started
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=60)  # read to its end: a reader that is gone would be an error of its own
    except subprocess.TimeoutExpired:  # Python ignores an interrupt that finds it in a callback, as imports have them
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    give_up_at = time.monotonic() + 10
    while any(map(psutil.pid_exists, started)) and time.monotonic() < give_up_at:
        os.sched_yield()
    assert not [pid for pid in started if psutil.pid_exists(pid)]
    assert not list(tmp_path.glob("shop-chaos-*"))


def test_a_missing_server_is_told(tmp_path):
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run([*COMMAND], capture_output=True, text=True, env=environment, cwd=Path("/"))
    assert done.returncode == 2
    assert "redis-server is not installed" in done.stderr
    assert "make services" in done.stderr


def _reachable(path: Path) -> Path:
    """PostgreSQL may run as another account, which must get to its data."""
    for part in (path, *path.parents):
        if part == Path(tempfile.gettempdir()):
            break
        part.chmod(part.stat().st_mode | 0o011)
    return path
