"""What the benchmarks of growth and of scaling out are made of; no figure is judged here."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.apps import apps
from django.conf import settings
from django.test import override_settings

from benchmarks import four, growth, history, measure, nodes, scaleout, steps
from benchmarks.link import HOST, Link, Near
from benchmarks.measure import Throughput
from benchmarks.surroundings import LIMIT, QUEUES, Unfit
from benchmarks.systems import Orders
from inventory.services import seed_stock
from orders.models import Inbox, Order
from sagas.registry import STEPS, local_services
from sagas.testing import Bus
from shop.contracts.events import DeliveryStarted, Line
from shop.return_saga import RETURN
from tests.support.ordering import place_order

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def measured(*, per_second: float = 100.0, **cpu: float) -> Throughput:
    return Throughput(orders=1000, seconds=10.0, per_second=per_second, cpu=cpu)


def test_messages_are_as_large_as_the_shops():
    assert settings.SAGAS.batch_limit == LIMIT


# --- Waiting for a backlog --------------------------------------------------------------------------------------------
class Paced:
    """A system whose orders are done one after the other, so many more each time it is looked at; and what was."""

    title, processes = "paced", None

    def __init__(self, pace: int, *, last_of_all: int = 0) -> None:
        self.pace, self.last_of_all = pace, last_of_all
        self.reached = 0
        self.looked_at: list[int] = []

    def done(self, orders: Orders) -> int:
        self.looked_at.append(orders.first)
        self.reached += self.pace
        late = orders.first <= self.last_of_all <= orders.last and self.reached < 4500
        return max(0, min(self.reached, orders.last) - orders.first + 1 - late)

    def verify(self) -> None:
        """Nothing is wrong but that nothing happens."""


@pytest.fixture
def unslept(monkeypatch):
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)


@pytest.fixture
def impatient(unslept, monkeypatch):
    """Whoever has not moved since the last look is stalled."""
    monkeypatch.setattr(measure, "STALLED", -1.0)


def test_a_portion_of_a_backlog_that_is_through_is_not_counted_again(unslept):
    system, shown = Paced(700), []
    measure.finish(system, Orders(1, 4500, 0.0), "waiting", lambda what, done, of: shown.append((done, of)))
    assert shown == sorted(shown)
    assert shown[-1] == (4500, 4500)
    assert system.looked_at == sorted(system.looked_at)
    assert {*system.looked_at} == {1, 1001, 2001, 3001, 4001}


def test_an_order_that_is_overtaken_by_the_others_is_waited_for(impatient):
    system, shown = Paced(700, last_of_all=5), []
    measure.finish(system, Orders(1, 4500, 0.0), "waiting", lambda what, done, of: shown.append((done, of)))
    assert shown[-1] == (4500, 4500)


def test_a_backlog_that_halts_is_given_up_with_what_was_done(impatient):
    system = Paced(0)
    system.reached = 1200
    with pytest.raises(Unfit, match="paced: 1200 of 4500 sagas are done and no more come"):
        measure.finish(system, Orders(1, 4500, 0.0), "waiting", lambda *shown: None)


# --- The cost of each step --------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=local_services())
@pytest.mark.usefixtures("bus", "no_waiting")
def test_every_step_of_a_return_is_measured(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(steps, "backend_seconds", lambda: 0.0)
    settings.DELIVERED_AFTER = 3600  # as in the benchmark, until the parcels are to arrive
    seed_stock({1: 10})
    for _ in range(4):
        place_order(user_id=1, lines=[Line(1, 1)])
    meter = steps.Meter()
    meter.drain()
    steps.have_arrive(steps.Meter())
    steps.return_some(meter, 2)
    assert {name: cost.events for name, cost in meter.costs.items() if name in RETURN.steps} == {
        "delivery.book_return": 4,
        "orders.mark_return_booked": 4,
        "delivery.cancel_return": 2,
        "orders.end_return": 2,
        "orders.mark_return_received": 2,
        "delivery.close_return": 2,
        "inventory.restock_return": 2,
        "orders.settle_return": 2,
        "notifications.notify_return": 18,
    }
    shown = steps.table(meter.costs, 800, 4, of="return")
    assert shown.row_count == len(meter.costs) + 1
    not_taken = {"orders.mark_return_lost", "orders.settle_exchange"}
    assert {str(cell) for cell in shown.columns[0].cells} >= RETURN.steps.keys() - not_taken


# --- The link of a node -----------------------------------------------------------------------------------------------
@asynccontextmanager
async def linked(link: Link, *, answered: bool = True) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
    """A connection over a link to a server that sends back what it gets, and hangs up when it has been hung up on."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(asyncio.current_task())
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    calls: list[Any] = []
    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    if not answered:
        server.close()
        await server.wait_closed()
    way_in = await asyncio.get_running_loop().create_server(lambda: Near(link, port), HOST, 0)
    reader, writer = await asyncio.open_connection(HOST, way_in.sockets[0].getsockname()[1])
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), *calls)
        way_in.close()
        server.close()


def test_what_goes_over_a_link_arrives_later_whole_and_in_order():
    sent = b"".join(number.to_bytes(4) for number in range(200_000))

    async def play() -> tuple[float, bytes, bytes]:
        link = Link()
        link.delay = 0.02
        async with linked(link) as (reader, writer):
            writer.write(b"!")
            await reader.readexactly(1)
            began = time.monotonic()
            writer.write(b"?")
            await reader.readexactly(1)
            took = time.monotonic() - began
            writer.write(sent)
            echoed = await reader.readexactly(len(sent))
            writer.write_eof()
            return took, echoed, await reader.read()

    took, echoed, rest = asyncio.run(play())
    assert took >= 2 * 0.02
    assert echoed == sent
    assert rest == b""  # the server has heard the end, and its own has come back


def test_a_call_that_nobody_answers_is_hung_up():
    async def play() -> bytes:
        async with linked(Link(), answered=False) as (reader, _):
            return await reader.read()

    assert asyncio.run(play()) == b""


# --- Nodes ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def _servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://shop:secret@127.0.0.1:5433/")
    monkeypatch.setenv("BROKER_URL", "amqp://guest:guest@localhost/shop")
    monkeypatch.setenv("LOCKS_URL", "redis://127.0.0.1:6380/3")


@pytest.mark.usefixtures("_servers")
def test_a_node_is_linked_to_the_three_servers():
    assert nodes.server_ports() == [5433, 5672, 6380]


@pytest.mark.usefixtures("_servers")
def test_servers_elsewhere_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BROKER_URL", "amqp://guest:secret@mq.example.com/shop")
    with pytest.raises(Unfit, match=r"^BROKER_URL leads to mq\.example\.com\. "):
        nodes.server_ports()


def test_without_iproute_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unfit, match="apt-get install iproute2"):
        nodes.refuse_without_namespaces()


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "ip").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Unfit, match="run this with sudo"):
        nodes.refuse_without_namespaces()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--nodes", "0"], "0 is not a whole number above 0"),
        (["--nodes", "two"], "two is not a whole number above 0"),
        (["--orders", "1.5"], "1.5 is not a whole number above 0"),
        (["--round-trips", "1", "-5"], "none is below 0"),
    ],
)
def test_senseless_wishes_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        scaleout.parse(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_what_scaling_out_has_shown_is_kept(tmp_path: Path):
    points = [
        scaleout.Point(count, away, away + 0.1, [measured(per_second=100.0 * count, workers=2.0, links=0.5, load=0.1)])
        for away in (0.0, 5.0)
        for count in (1, 4)
    ]
    on = {"date": "2026-11-26", "cores": 2, "processor": "?", "postgresql": {"server_version": "15"}}
    scaleout.keep(points, on, 1, tmp_path)

    record = json.loads((tmp_path / "scaleout.json").read_text())
    assert [(one["nodes"], one["round_trip_ms"], one["sagas_per_second"]) for one in record["points"]] == [
        (1, 0.0, [100.0]), (4, 0.0, [400.0]), (1, 5.0, [100.0]), (4, 5.0, [400.0])
    ]  # fmt: skip
    assert record["points"][1]["cores"] == pytest.approx(2.6 * 400 / 1000)
    assert (tmp_path / "scaleout.md").read_text().splitlines()[-1] == (
        "| 5 | 5.10 | 4 | 400 | 2.00 | 0.00 | 0.00 | 0.50 | 1.0 |"
    )
    curves = (tmp_path / "scaleout.svg").read_text()
    assert {"1", "4", "0 ms round trip", "5 ms round trip"} <= set(texts(curves))
    assert curves.count("<polyline") == 2
    assert {"5 ms, 4 nodes", "links", "2.5"} <= set(texts((tmp_path / "scaleout-cpu.svg").read_text()))


# --- Growth -----------------------------------------------------------------------------------------------------------
def test_of_the_rounds_of_a_point_the_median_counts():
    rounds = [measured(workers=cpu, PostgreSQL=1.0, load=9.0) for cpu in (1.0, 5.0, 2.0)]

    assert growth.medians(rounds) == {"workers": 2.0, "PostgreSQL": 1.0, "RabbitMQ": 0.0}
    assert growth.rows("products", [("1", rounds), ("10", [measured(workers=4.5)])]) == [
        ("products", "sagas/s", "workers", "PostgreSQL", "RabbitMQ", "together", "of the first"),
        ("1", "100", "2.00", "1.00", "0.00", "3.00", "1.00"),
        ("10", "100", "4.50", "0.00", "0.00", "4.50", "1.50"),
    ]


def test_a_part_is_kept_beside_the_others(tmp_path: Path):
    on = {"date": "2026-11-26"}
    growth.keep("lines", "lines of an order", [("1", [measured(workers=1.0)])], on, tmp_path)
    growth.keep("hot", "share", [("0%", [measured(workers=1.0)]), ("50%", [measured(workers=1.5)])], on, tmp_path)
    growth.keep("lines", "lines of an order", [("1", [measured(workers=3.0)])], on, tmp_path)

    record: dict[str, Any] = json.loads((tmp_path / "growth.json").read_text())
    assert set(record) == {"lines", "hot"}
    assert record["lines"]["points"]["1"]["cpu_ms_per_order"] == {"workers": 3.0, "PostgreSQL": 0.0, "RabbitMQ": 0.0}
    assert {"0%", "50%", "1.5"} <= set(texts((tmp_path / "growth-hot.svg").read_text()))


# --- Four steps -------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=local_services())
def test_an_order_ends_after_four_steps(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(STEPS["orders.complete_order"], "hears", STEPS["orders.complete_order"].hears)
    for name in four.LACKING:
        monkeypatch.setattr(DeliveryStarted, name, None, raising=False)  # taken away again at the end
    four.Four("benchmarks", four).ready()
    seed_stock({1: 10})
    with override_settings(SAGAS=four.SAGAS):
        order = place_order(user_id=1, lines=[Line(1, 1)])
        bus.drain()

    assert Order.objects.get(pk=order.pk).status == "COMPLETED"
    assert {one.step for one in Inbox.objects.all()} == {"orders.complete_order"}


# --- History ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def ended(bus: Bus, no_waiting: None, db: None) -> int:
    """Orders of every kind that history is made of, all at their end; how many."""
    seed_stock({1: 1000, 2: 1000})
    for number in range(3):
        place_order(user_id=1, lines=[Line(1, 1 + number), Line(2, 1)])
    bus.drain()
    return history.end()


def rows_of_orders() -> dict[str, int]:
    found = {}
    for service in QUEUES:
        for model in apps.get_app_config(service).get_models():
            if model.__name__ not in history.NOT_OF_ORDERS:
                found[model._meta.label] = model._default_manager.using(service).count()
    return found


@pytest.mark.django_db(databases=local_services())
def test_history_is_copies_of_what_has_ended(ended: int, monkeypatch: pytest.MonkeyPatch):
    before = rows_of_orders()
    assert ended == 3
    assert before["orders.Order"] == before["payments.Payment"] == before["delivery.Delivery"] == 3

    place_order(user_id=1, lines=[Line(1, 1)])  # later orders are not copied
    monkeypatch.setattr(history, "PORTION", 3)  # so that four copies take two statements
    history.copy(4)

    added = {
        "orders.Order": 1,
        "orders.OrderLine": 1,
        "orders.TimelineEntry": 1,
        "orders.Outbox": 1,
        "orders.Unsent": 1,
    }
    assert rows_of_orders() == {name: 5 * count + added.get(name, 0) for name, count in before.items()}
