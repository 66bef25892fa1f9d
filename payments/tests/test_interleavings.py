"""Charge and refund of one order, in every order of their parts, for every token.

Each step has two parts, asking the gateways and writing down; the timer may run anywhere. Whatever the order, in the
end nothing of the customer's money is kept, and exactly one event of the saga's backward half was emitted.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from payments.models import Payment
from payments.services import ask_for_charges
from payments.tasks import ask_for_refunds, charge_payment, refund_payment
from payments.tests.saga import cancelled, held, outbox, reserved, settle, settle_all
from shop.contracts.events import OrderEvent

pytestmark = pytest.mark.django_db(databases=["payments"])

TOKENS = ("tok_ok", "tok_declined", "tok_timeout_charged", "tok_timeout_not_charged", "tok_flaky_3")
CHARGE, REFUND, TIMER = "charge", "refund", "timer"


def schedules() -> list[tuple[str, ...]]:
    """Every way to merge two parts of a charge, two of a refund, and two runs of the timer."""

    def merge(places: set[int]) -> Iterator[tuple[str, ...]]:
        for charges in combinations(sorted(places), 2):
            rest = places - set(charges)
            for refunds in combinations(sorted(rest), 2):
                yield tuple(CHARGE if n in charges else REFUND if n in refunds else TIMER for n in sorted(places))

    return list(merge(set(range(6))))


def play(schedule: tuple[str, ...], order_id: int, token: str) -> list[OrderEvent]:
    """Run the parts in this order; returns what the steps emitted."""
    reservation, cancellation = reserved(order_id, token), cancelled(order_id)
    answers: dict[str, Any] = {}
    emitted: list[OrderEvent] = []
    for actor in schedule:
        if actor == TIMER:
            settle()
        elif actor == CHARGE and actor not in answers:
            answers[actor] = ask_for_charges([reservation])
        elif actor == CHARGE:
            emitted += charge_payment([reservation], answers[actor])
        elif actor not in answers:
            answers[actor] = ask_for_refunds([cancellation])
        else:
            emitted += refund_payment([cancellation], answers[actor])
    return emitted


def test_there_are_as_many_schedules_as_there_should_be():
    assert len(set(schedules())) == 90


@pytest.mark.parametrize("token", TOKENS)
def test_every_order_of_events_ends_with_nothing_kept_and_one_end_told(token):
    emitted = []
    for order_id, schedule in enumerate(schedules(), start=1):
        emitted += play(schedule, order_id, token)
    settle_all()
    emitted += outbox()
    for order_id, schedule in enumerate(schedules(), start=1):
        told = [type(event).__name__ for event in emitted if event.order_id == order_id]
        payment = Payment.objects.get(order_id=order_id)
        assert held(order_id) == 0, schedule
        assert payment.due_at is None, schedule
        assert payment.status in ("REFUNDED", "VOIDED", "FAILED"), schedule
        assert told.count("PaymentCompleted") <= 1, schedule
        ends = [name for name in told if name != "PaymentCompleted"]
        assert ends == (["PaymentFailed"] if payment.status == "FAILED" else ["PaymentRefunded"]), schedule
        if "PaymentCompleted" in told:
            assert payment.status == "REFUNDED", schedule


@pytest.mark.parametrize("token", TOKENS)
def test_without_a_refund_the_money_is_kept_once(token):
    emitted = []
    for order_id, schedule in enumerate(sorted({tuple(a for a in one if a != REFUND) for one in schedules()}), start=1):
        emitted += play(schedule, order_id, token)
    settle_all()
    emitted += outbox()
    declined = token == "tok_declined"
    orders = len(Payment.objects.all())
    assert orders == 6
    assert sorted(event.order_id for event in emitted) == list(range(1, orders + 1))
    assert {type(event).__name__ for event in emitted} == {"PaymentFailed" if declined else "PaymentCompleted"}
    assert [held(order_id) for order_id in range(1, orders + 1)] == [0 if declined else 3_500_000] * orders
