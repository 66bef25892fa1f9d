"""The audit finds what is wrong: a small world in which every order has ended somehow is clean, and a corruption of it
is named by exactly the invariants that it breaks."""

import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from audit import Violation, audit, invariant_names
from audit.facts import windows
from delivery.models import Delivery
from delivery.reports import take_carrier_event
from inventory.models import Inbox, Reservation, StockItem
from inventory.services import seed_stock
from orders.cancellation import request_cancellation
from orders.changes.requests import request_change
from orders.models import DeadLetter, Order, Outbox
from orders.returns import decisions
from orders.returns.requests import Wanted, request_return
from payments.models import GatewayLedger, Payment
from sagas.registry import local_services
from sagas.testing import Bus, publishing_to
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, ContactsService
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from tests.support import mutations
from tests.support.fakes import FakeAccounts, FakeCatalog, FakeContacts
from tests.support.mutations import MUTATIONS, Corruption, World
from tests.support.ordering import place_order
from tests.support.sagas import SAGA_TIMERS

pytestmark = pytest.mark.django_db(databases=local_services())

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    """Made once, for every test changes it in a transaction that is rolled back."""
    with django_db_blocker.unblock():
        try:
            yield _make_world()
        finally:
            for service in local_services():
                _empty(service)


def _make_world() -> World:
    bus = Bus(SAGA_TIMERS)
    with (
        publishing_to(bus),
        substituting(CatalogService, FakeCatalog()),
        substituting(AccountsService, FakeAccounts()),
        substituting(ContactsService, FakeContacts()),
        override_settings(HANDOVER_AFTER=0, DELIVERED_AFTER=0),
    ):
        seed_stock({1: 22, 2: 20})
        completed = _place()
        refused = _place(quantity=100)
        declined = _place(payment_token="tok_declined")
        returned = _place(address="addr_refused_by_recipient")
        bus.drain()
        before_charge = _place()
        bus.relay()
        bus.deliver([step for step, _ in bus.messages].index("inventory.reserve_stock"))
        late = [message for message in bus.messages if message[0] == "payments.charge_payment"]
        bus.messages = [message for message in bus.messages if message not in late]
        request_cancellation(before_charge)
        bus.drain(timers=False)
        bus.messages.extend(late)  # its order has been undone by now
        after_charge, other, changed = _place(), _place(), _place()
        bus.drain(timers=False)
        request_cancellation(after_charge)
        request_change(changed, key="k", quantities={1: 1}, address="2 Low Street")
        bus.drain(timers=False)
        bus.drain()
        with override_settings(PAYMENT_CAPTURE="at_hand_over"):
            held = _place()
            bus.drain()
        in_parts = _send_in_parts(bus)
        sent_back = _place()
        bus.drain()
        _return(sent_back, bus)
        swapped = _place()
        bus.drain()
        exchanges = _exchange(swapped, 1, bus), _exchange(swapped, 2, bus)
    cancelled = before_charge, after_charge
    others = other, held, changed, in_parts, sent_back, swapped
    return World(completed, refused, declined, returned, *cancelled, *others, *exchanges)


def _send_in_parts(bus: Bus) -> int:
    """An order of one piece from the east, which arrives, and one from the west, which is lost on its way."""
    for location in ("EAST", "WEST"):
        seed_stock({4: 1}, location)
    order_id = place_order(user_id=1, lines=[Line(4, 2)]).pk
    bus.drain(timers=False)
    lost = Delivery.objects.get(order_id=order_id, location="WEST")
    for status in ("IN_TRANSIT", "FAILED"):
        number = str(lost.tracking_number)
        take_carrier_event(carrier=lost.account, event_id=status, tracking_number=number, status=status)
        bus.drain(timers=False)
    bus.drain()
    return order_id


def _return(order_id: int, bus: Bus) -> None:
    number = request_return(order_id, Wanted(lines=[Line(1, 2), Line(2, 1)])).pk
    decisions.approve(number)
    bus.drain()
    decisions.inspect(number, {1: decisions.Found(1, 1, 0), 2: decisions.Found(0, 0, 1)})
    bus.drain()


def _exchange(order_id: int, product_id: int, bus: Bus) -> int:
    """The order that is given for a piece; that for product 2 is cancelled."""
    number = request_return(order_id, Wanted(lines=[Line(product_id, 1)], kind="EXCHANGE")).pk
    decisions.approve(number)
    bus.drain()
    decisions.inspect(number, {product_id: decisions.Found(1, 0, 0)})
    bus.drain(timers=False)
    given = Order.objects.get(exchange_for=number).pk
    if product_id == 2:
        request_cancellation(given)
    bus.drain()
    return given


def _place(quantity: int = 2, **wishes: str) -> int:
    return place_order(user_id=1, lines=[Line(1, quantity), Line(2, 1)], **wishes).pk


def _empty(service: str) -> None:
    tables = ", ".join(model._meta.db_table for model in apps.get_app_config(service).get_models())
    with connections[service].cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


def violations(**options: Any) -> list[Violation]:
    return [found for found in audit(**{"strict": True, **options}) if isinstance(found, Violation)]


def broken(**options: Any) -> set[str]:
    return {violation.invariant for violation in violations(**options)}


def test_the_world_is_as_it_should_be_and_clean(world: World):
    orders = {order.pk: order for order in Order.objects.all()}
    ends = [orders[pk].status for pk in world.all]
    assert ends == ["COMPLETED", *["CANCELLED"] * 5, *["COMPLETED"] * 7, "CANCELLED"]
    assert orders[world.refused].cancellation_reason.startswith("I002")
    assert orders[world.declined].cancellation_reason.startswith("PAY002")
    assert dict(Payment.objects.values_list("order_id", "status")) == {
        world.completed: "COMPLETED",
        world.declined: "FAILED",
        world.returned: "REFUNDED",
        world.cancelled_before_charge: "VOIDED",
        world.cancelled_after_charge: "REFUNDED",
        world.other: "COMPLETED",
        world.held: "COMPLETED",
        world.changed: "COMPLETED",
        world.in_parts: "COMPLETED",
        world.sent_back: "COMPLETED",
        world.swapped: "COMPLETED",
        world.brought: "COMPLETED",
        world.not_brought: "VOIDED",
    }
    assert dict(Reservation.objects.values_list("order_id", "status")) == {
        world.completed: "SHIPPED",
        world.refused: "REFUSED",
        world.declined: "RELEASED",
        world.returned: "RETURNED",
        world.cancelled_before_charge: "RELEASED",
        world.cancelled_after_charge: "RELEASED",
        world.other: "SHIPPED",
        world.held: "SHIPPED",
        world.changed: "SHIPPED",
        world.in_parts: "SHIPPED",
        world.sent_back: "SHIPPED",
        world.swapped: "SHIPPED",
        world.brought: "SHIPPED",
        world.not_brought: "RELEASED",
    }
    assert violations() == []


@pytest.mark.parametrize(("corrupt", "expected"), mutations.parameters())
def test_a_corruption_is_named(world: World, corrupt: Corruption, expected: set[str]):
    corrupt(world)

    assert broken() == expected


def test_every_invariant_has_been_broken():
    assert {name for name, _, _ in MUTATIONS} == set(invariant_names())


# —— While the shop is running ————————————————————————————————————————————————————————————————————————————————————————
def test_what_has_just_moved_is_not_judged_while_the_shop_is_running(world: World):
    for corrupt in (
        mutations.the_money_is_kept,
        mutations.it_was_never_shipped,
        mutations.a_price_is_changed_after_the_fact,
        mutations.somebody_is_charged_for_nothing,
        mutations.it_is_charged_in_another_currency,
        mutations.an_event_was_never_published,
        mutations.an_end_is_missing,
    ):
        corrupt(world)
    everything = broken(strict=False, age=timedelta(0))

    assert broken(strict=False, age=HOUR) == set()

    Order.objects.update(progress_at=timezone.now() - 2 * HOUR)
    for model in (Payment, Reservation, Delivery):
        model.objects.update(updated_at=timezone.now() - 2 * HOUR)
    GatewayLedger.objects.update(at=timezone.now() - 2 * HOUR)
    Outbox.objects.update(created_at=timezone.now() - 2 * HOUR)
    assert broken(strict=False, age=HOUR) == everything
    assert everything == {
        "cancelled_keeps_nothing", "completed_is_whole", "order_adds_up", "ledger_has_payments", "money_matches_ledger",
        "outbox_drained", "histories_are_legal", "shipped_was_handed_over",
    }  # fmt: skip


def test_an_event_under_way_is_not_missed_before_its_time(world: World):
    Order.objects.update(progress_at=timezone.now() - 2 * HOUR)
    GatewayLedger.objects.update(at=timezone.now() - 2 * HOUR)
    mutations.a_shipment_was_never_heard_of(world)
    assert broken(strict=False, age=HOUR) == set()

    for service in local_services():  # DeliveryHandedOver was emitted, by whom ever, long ago
        apps.get_model(service, "Inbox").objects.update(handled_at=timezone.now() - 2 * HOUR)
        apps.get_model(service, "Outbox").objects.update(created_at=timezone.now() - 2 * HOUR)
    assert broken(strict=False, age=HOUR) == {"events_are_handled"}


def test_messages_that_are_purged_are_not_missed(world: World, settings: Any):
    long_ago = timezone.now() - settings.SAGAS.retention
    Order.objects.filter(pk=world.completed).update(created_at=long_ago)
    Inbox.objects.filter(correlation_id=world.completed).delete()

    assert broken() == set()


@pytest.mark.parametrize(
    ("status", "deadlines", "expected"),
    [
        ("PENDING", 0.5, set()),
        ("PENDING", 3, {"orders_end"}),
        ("CANCELLING", 3, {"orders_end"}),
        ("DELIVERY_STARTED", 3, set()),  # the carrier takes its time
        ("SHIPPED", 3, set()),
    ],
)
def test_an_order_that_is_open_is_named_when_its_deadline_is_long_over(
    world: World, settings: Any, status: str, deadlines: float, expected: set[str]
):
    open_since(timedelta(seconds=deadlines * settings.ORDER_DEADLINE), status, world)

    assert broken(strict=False, age=MINUTE) == expected
    assert broken() == {"orders_end"}


def test_an_order_with_the_carrier_is_named_while_its_messages_are_still_there(world: World, settings: Any):
    open_since(settings.SAGAS.retention / 2 + HOUR, "DELIVERY_STARTED", world)

    assert broken(strict=False, age=MINUTE) == {"orders_end"}


@pytest.mark.parametrize(("status", "expected"), [("INVENTORY_RESERVED", set()), ("PAYMENT_COMPLETED", {"orders_end"})])
def test_only_while_its_customer_is_waited_for_has_an_order_more_time(
    world: World, settings: Any, status: str, expected: set[str]
):
    open_since(3 * timedelta(seconds=settings.ORDER_DEADLINE), status, world)
    Order.objects.filter(pk=Order.objects.latest("pk").pk).update(action_until=timezone.now() + 72 * HOUR)

    assert broken(strict=False, age=MINUTE) == expected


def open_since(time: timedelta, status: str, world: World) -> None:
    mutations.an_order_is_forgotten(world)
    order = Order.objects.latest("pk")
    order.timeline.update(status="PENDING")
    if status != "PENDING":
        order.timeline.create(service="orders", event="Something", status=status)
    then = timezone.now() - time
    Order.objects.filter(pk=order.pk).update(status=status, created_at=then, progress_at=then)


# —— Windows ——————————————————————————————————————————————————————————————————————————————————————————————————————————
@pytest.mark.parametrize("window", [1, 2, 3, 7, 8])
def test_windows_of_any_size_find_the_same(world: World, window: int):
    """Corruptions of the first order, of the last and in between, and orphans before, between and after the orders."""
    for corrupt in (
        mutations.nothing_was_delivered,
        mutations.the_total_is_wrong,
        mutations.the_gateway_never_refunded,
        mutations.an_order_is_gone,
    ):
        corrupt(world)
    Order.objects.filter(pk=world.other).update(total_price=1)
    for order_id in (min(world.all) - 1, max(world.all) + 1, mutations.NOBODYS):
        Reservation.objects.create(order_id=order_id, status="RELEASED")

    found = list(audit(strict=True, window=window))

    assert sum(one for one in found if isinstance(one, int)) == 13
    assert sorted(one for one in found if isinstance(one, Violation)) == sorted(violations())
    orphans = {one.subject for one in found if isinstance(one, Violation) and one.detail.startswith("reservation")}
    assert orphans == {
        f"order {pk}"
        for pk in (min(world.all) - 1, world.cancelled_before_charge, max(world.all) + 1, mutations.NOBODYS)
    }


def test_a_window_holds_no_more_than_its_orders(world: World):
    sizes = [
        (len(facts.orders), len(facts.histories), len(facts.payments) <= 2, len(facts.movements) <= 2)
        for facts in windows(timezone.now(), True, 2)
    ]

    assert sizes == [(2, 2, True, True)] * 7 + [(0, 0, True, True)]


# —— The command ——————————————————————————————————————————————————————————————————————————————————————————————————————
def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    output = StringIO()
    try:
        call_command("audit", *arguments, stdout=output)
    except SystemExit as end:
        return int(str(end.code)), output.getvalue()
    return 0, output.getvalue()


def test_the_command_on_a_clean_world(world: World):
    code, text = run("--strict")
    assert (code, text) == (0, f"Audit clean: 14 orders, {len(invariant_names())} invariants, nothing broken.\n")

    code, text = run("--strict", "--json")
    assert (code, json.loads(text)) == (0, {"orders": 14, "invariants": invariant_names(), "violations": []})


def test_the_command_on_a_broken_world(world: World):
    StockItem.objects.filter(product_id=1).update(on_hand=12)
    StockItem.objects.filter(product_id=2).update(on_hand=14)

    code, text = run("--strict", "--json")

    assert code == 1
    assert json.loads(text)["violations"] == [
        {
            "invariant": "stock_adds_up",
            "subject": "product 2 at MAIN",
            "detail": "on hand 14, movements 15; reserved 0, reservations 0",
        }
    ]
    code, text = run("--strict")
    assert (code, text.splitlines()[-1]) == (1, "Audit failed: 14 orders, 1 violations.")
    assert "stock_adds_up" in text


def test_the_command_shows_brackets_as_they_are(world: World):
    letter = {"event_id": uuid4(), "event_type": "PaymentCompleted", "correlation_id": 1, "payload": "{}"}
    DeadLetter.objects.create(step="orders.mark_paid", error="OSError: cannot read [/x] or [a, b]", **letter)
    code, text = run()
    assert code == 1
    assert "[/x]" in text
    assert "[a, b]" in " ".join(text.replace("│", " ").split())


def test_the_command_shows_fifty_and_counts_all(world: World):
    Reservation.objects.bulk_create(
        Reservation(order_id=mutations.NOBODYS + number, status="RELEASED") for number in range(60)
    )

    code, text = run("--age", "0")

    assert (code, text.count("reservation without an order")) == (1, 50)
    assert text.splitlines()[-1] == "Audit failed: 14 orders, 60 violations (10 more not shown; --json has all)."
