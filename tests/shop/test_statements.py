"""A batch of a hundred costs as many statements as a batch of one, in every step, forward and back; none reads a whole
table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext

from delivery.models import ReturnParcel
from delivery.reports import take_carrier_event
from inventory.services import seed_stock
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import Order, Return
from orders.refunds import request_refund
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return, withdraw
from payments.captures import write_off
from payments.models import Payment
from sagas.db import prepared
from sagas.saga import service_of
from sagas.testing import Bus
from shop.contracts.events import Line
from shop.return_saga import RETURN
from shop.saga import ORDER
from tests.conftest import SERVICES
from tests.support.flushing import tables
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting", "one_gateway_holds")]

# Ways through the saga that together take every step: wishes, and whether the customer cancels before the carrier.
WAYS = {
    "completed": ({}, False),
    "held": ({"payment_gateway": "KAKAO_PAY"}, False),
    "held, and not taken": ({"payment_gateway": "KAKAO_PAY", "payment_token": "tok_hold_lost"}, False),
    "declined": ({"payment_token": "tok_declined"}, False),
    "refused at the door": ({"address": "addr_refused_by_recipient"}, False),
    "cancelled": ({}, True),
    "changed": ({}, False),
    "sent elsewhere, and changed": ({}, False),
    "several, one refused": ({"address": "addr_second_refused"}, False),
    "several, cancelled": ({}, True),
    "several, changed": ({}, False),
}


def seed(way: str) -> None:
    """So that an order of both products comes from two locations, if it is to be sent in several shipments."""
    seed_stock({1: 1000})
    seed_stock({2: 1000}, "EAST" if way.startswith("several") else "")


class CountingBus(Bus):
    """Counts the statements that each message costs, by step and event type."""

    def __init__(self) -> None:
        super().__init__(SAGA_TIMERS)
        self.statements: dict[tuple[str, str, int], int] = {}

    def deliver(self, position: int = 0, *, keep: bool = False) -> None:
        step, payload = self.messages[position]
        with ExitStack() as stack:
            captured = [stack.enter_context(CaptureQueriesContext(connections[alias])) for alias in SERVICES]
            super().deliver(position, keep=keep)
        statements = [query for one in captured for query in one.captured_queries if "SAVEPOINT" not in query["sql"]]
        self.statements[step, payload[0]["type"], len(payload)] = len(statements)


@pytest.fixture
def bus(bus: Bus) -> CountingBus:
    from sagas import publisher

    publisher.transport = counting = CountingBus()  # the fixture `bus` puts the broker back
    return counting


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_costs_what_one_event_costs(bus: CountingBus, way: str):
    wishes, cancelled = WAYS[way]
    seed(way)
    for size in (1, 100):
        placed = [place_order(user_id=1, lines=[Line(1, 1), Line(2, 1)], **wishes).pk for _ in range(size)]
        if cancelled:
            bus.drain(timers=False)
            for order_id in placed:
                request_cancellation(order_id)
        if way.endswith("changed"):
            bus.drain(timers=False)
            for order_id in placed:
                elsewhere = "2 Low Street" if "elsewhere" in way else ""
                request_change(order_id, key="k", quantities={2: 0}, address=elsewhere)
        bus.drain()
        write_off(Payment.objects.filter(status="UNPAID").values_list("pk", flat=True), "for this test")
        bus.drain()

    # Of several shipments, a batch of one order has two events of some kinds, and one of a hundred two hundred.
    one = {key: count for key, count in bus.statements.items() if key[2] <= 2}
    hundred = {key: bus.statements[*key[:2], 100 * key[2]] for key in one}
    assert hundred == one
    assert {key[:2] for key in one} == {key[:2] for key in bus.statements}
    assert max(one.values()) <= 16


def refunded(bus: CountingBus, returns: list[int]) -> None:
    bus.drain()
    for pk in returns:
        decisions.inspect(pk, {1: decisions.Found(1, 0, 0), 2: decisions.Found(0, 1, 0)})


def rejected(bus: CountingBus, returns: list[int]) -> None:
    bus.drain()
    for pk in returns:
        decisions.inspect(pk, {1: decisions.Found(0, 0, 1), 2: decisions.Found(0, 0, 1)})


def withdrawn(bus: CountingBus, returns: list[int]) -> None:
    bus.drain(timers=False)
    for pk in returns:
        withdraw(pk)


def lost(bus: CountingBus, returns: list[int]) -> None:
    bus.drain(timers=False)
    for parcel in ReturnParcel.objects.filter(return_id__in=returns):
        number = parcel.tracking_number or ""
        take_carrier_event(carrier=parcel.account, event_id=number, tracking_number=number, status="FAILED", reason="")


def exchanged(bus: CountingBus, returns: list[int]) -> None:
    refunded(bus, returns)


def exchange_cancelled(bus: CountingBus, returns: list[int]) -> None:
    refunded(bus, returns)
    bus.drain(timers=False)
    for order_id in Order.objects.filter(exchange_for__in=returns).values_list("pk", flat=True):
        request_cancellation(order_id)


@pytest.mark.parametrize("way", [refunded, rejected, withdrawn, lost, exchanged, exchange_cancelled])
def test_a_batch_of_returns_costs_what_one_costs(bus: CountingBus, way: Callable[[CountingBus, list[int]], None]):
    seed_stock({1: 1000, 2: 1000})
    for size in (1, 100):
        lines = [Line(1, 1), Line(2, 1)]
        placed = [place_order(user_id=1, lines=lines).pk for _ in range(size)]
        bus.drain()
        kind = Return.Kind.EXCHANGE if way in (exchanged, exchange_cancelled) else Return.Kind.REFUND
        returns = [request_return(order_id, Wanted(lines=lines, kind=kind)).pk for order_id in placed]
        for pk in returns:
            decisions.approve(pk)
        way(bus, returns)
        bus.drain()
    steps = {(step, event) for step, event, _ in bus.statements}
    one = {key: bus.statements[*key, 1] for key in steps}
    hundred = {key: bus.statements[*key, 100] for key in steps}
    assert hundred == one
    assert max(one.values()) <= 16
    hears = {(step, event.__name__) for event, steps in RETURN.heard_by.items() for step in steps}
    heard = {refunded: 11, rejected: 11, withdrawn: 8, lost: 5, exchanged: 13, exchange_cancelled: 13}
    assert len(steps & hears) >= heard[way]


def test_the_ways_take_every_step(bus: CountingBus):
    """…but for the turns that need a race: a refusal for lack of stock, a parcel already with the carrier."""
    seed("several")
    for way, (wishes, cancelled) in WAYS.items():
        lines = [Line(1, 1), Line(2, 1)] if way.startswith("several") else [Line(1, 1)]
        order_id = place_order(user_id=1, lines=lines, **wishes).pk
        if cancelled:
            bus.drain(timers=False)
            request_cancellation(order_id)
        bus.drain()

    write_off(Payment.objects.filter(status="UNPAID").values_list("pk", flat=True), "for this test")
    place_order(user_id=1, lines=[Line(1, 1)], payment_token="tok_action")
    bus.drain(timers=False)  # it waits for its customer
    order_id = place_order(user_id=1, lines=[Line(1, 1)]).pk
    bus.drain()
    for key, amount in (("a part", 1), ("too much", 10**6)):
        request_refund(order_id, key=key, amount=amount, reason="a scratch")
    bus.drain()
    for spent in (1, 2000):  # what is left is enough for the change, and is not
        order_id = place_order(user_id=1, lines=[Line(1, 2)]).pk
        bus.drain(timers=False)
        request_refund(order_id, key="k", amount=spent, reason="a scratch")
        bus.drain(timers=False)
        request_change(order_id, key="k", quantities={1: 1})
        bus.drain()
    taken = {(step, event) for step, event, _ in bus.statements}
    table = {(step, event.__name__) for event, steps in ORDER.heard_by.items() for step in steps}
    assert table - taken == {
        ("orders.cancel_order", "InventoryReservationFailed"),
        ("orders.resume_order", "DeliveryCancellationRefused"),
        ("orders.refuse_change", "DeliveryHoldRefused"),
    }


def test_no_plan_reads_a_whole_table(bus: CountingBus, monkeypatch: pytest.MonkeyPatch):
    """…be the tables as good as empty: a plan is kept, and must do for what they hold an hour later."""
    executed = set()
    prepare = prepared._prepared

    def noting(connection: BaseDatabaseWrapper, statement: str) -> Any:
        executed.add((connection.alias, *prepare(connection, statement)))
        return prepare(connection, statement)

    monkeypatch.setattr(prepared, "_prepared", noting)
    for service in {*map(service_of, ORDER.steps)}:  # as new: PostgreSQL guesses how large they are
        with connections[service].cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(tables(service))} CASCADE")
    seed("several")
    seed_stock({3: 1000})
    for way, (wishes, cancelled) in WAYS.items():
        lines = [Line(1, 1), Line(2 if way.startswith("several") else 3, 1)]
        order_id = place_order(user_id=1, lines=lines, **wishes).pk
        if cancelled:
            bus.drain(timers=False)
            request_cancellation(order_id)
        bus.drain()

    assert len(executed) > 30
    assert [one for service, *how in executed for one in _reading_all(_plan(service, *how))] == []


def _plan(service: str, name: str, keys: Sequence[Any]) -> dict[str, Any]:
    """Of a statement that the service's session has prepared, as it is executed."""
    parameters = f"({', '.join(['NULL'] * len(keys))})" if keys else ""
    with connections[service].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name}{parameters}")
        return cursor.fetchone()[0][0]["Plan"]


def _reading_all(node: dict[str, Any], limited: bool = False) -> Iterator[str]:
    """Where a plan reads more of a table than an index finds for it; an index's beginning (LIMIT) is found, too."""
    kind, limited = node["Node Type"], limited or node["Node Type"] == "Limit"
    found = "Index Cond" in node or kind in ("Bitmap Heap Scan", "Tid Scan") or (limited and kind.startswith("Index"))
    if {"Relation Name", "Index Name"} & node.keys() and "Scan" in kind and not found:
        yield f"{kind} on {node.get('Relation Name') or node['Index Name']}"
    for child in node.get("Plans", ()):
        yield from _reading_all(child, limited)
