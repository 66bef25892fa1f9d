"""`manage.py redrive`: orders are brought on by hand, whatever the timer thinks of them."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit import Violation, audit
from inventory.services import seed_stock
from orders.models import Order, Unsent
from sagas.testing import Bus
from shop.contracts.events import Line
from tests.conftest import SERVICES
from tests.support.ordering import place_order

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]


@pytest.fixture
def ended(bus: Bus) -> int:
    """An order that is completed and closed."""
    seed_stock({1: 10})
    order_id = place()
    bus.drain()
    bus.tick("orders.look_after")
    assert state(order_id) == ("COMPLETED", None)
    return order_id


@pytest.fixture
def stuck(ended: int, bus: Bus) -> list[int]:
    """Three orders whose messages the broker has lost: one before anything, two when they were paid."""
    orders = [place(), place()]
    bus.relay()
    for step in ("inventory.reserve_stock", "payments.charge_payment"):
        bus.deliver([name for name, _ in bus.messages].index(step))
    orders.append(place())
    while bus.relay():  # what is deferred, too
        pass
    bus.messages.clear()
    return orders


def place() -> int:
    return place_order(user_id=1, lines=[Line(1, 1)]).pk


def state(order_id: int) -> tuple[str, Any]:
    return Order.objects.values_list("status", "look_at").get(pk=order_id)


def to_be_published() -> list[int]:
    return list(Unsent.objects.order_by("outbox__correlation_id").values_list("outbox__correlation_id", flat=True))


def run(*arguments: Any) -> str:
    output = StringIO()
    call_command("redrive", *map(str, arguments), stdout=output)
    return output.getvalue()


def test_one_order(stuck: list[int]):
    assert run(stuck[0]) == f"Emitted 1 unfinished order again: {stuck[0]}.\n"

    assert to_be_published() == [stuck[0]]


def test_a_range_and_more_without_those_that_have_ended(ended: int, stuck: list[int]):
    first, _, third = stuck

    assert run(f"{ended}-{first}", third, "1000000-2000000000000") == (
        f"Emitted 2 unfinished orders again: {first}, {third}.\n"
    )

    assert to_be_published() == [first, third]


def test_all_that_are_open(stuck: list[int]):
    listed = ", ".join(map(str, stuck))
    assert run("--all-open") == f"Emitted 3 unfinished orders again: {listed}.\n"

    assert to_be_published() == stuck


def test_what_has_ended_is_left_alone(ended: int):
    assert run(ended) == "Emitted 0 unfinished orders again.\nThose asked for have ended, or do not exist.\n"

    assert to_be_published() == []


def test_a_dry_run_only_tells(stuck: list[int]):
    assert run(stuck[1], "--dry-run") == f"Would emit 1 unfinished order again: {stuck[1]}.\n"
    assert json.loads(run("--all-open", "--dry-run", "--json")) == {"orders": stuck, "dryRun": True}

    assert to_be_published() == []


def test_as_json(stuck: list[int]):
    assert json.loads(run(f"{stuck[0]}-{stuck[1]}", "--json")) == {"orders": stuck[:2], "dryRun": False}


@pytest.mark.parametrize("word", ["x", "3-", "-", "1-x", "5-3", "1.5"])
def test_what_is_no_order_is_refused(stuck: list[int], word: str):
    with pytest.raises(CommandError, match="neither an order's id nor a range"):
        run(stuck[0], word)

    assert to_be_published() == []


def test_what_was_lost_goes_on_from_where_it_broke_off(stuck: list[int], bus: Bus):
    run("--all-open")
    bus.drain()
    bus.tick("orders.look_after")

    assert [state(order_id) for order_id in stuck] == [("COMPLETED", None)] * 3
    assert [found for found in audit(strict=True) if isinstance(found, Violation)] == []
