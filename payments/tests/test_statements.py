"""A batch of a hundred takes as many SQL statements as a batch of one."""

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from payments.models import Payment
from payments.tasks import charge_payment, refund_payment, settle_payments
from payments.tests.saga import cancelled, reserved, run

pytestmark = pytest.mark.django_db(databases=["payments"])

ONE, HUNDRED = range(1, 2), range(1001, 1101)


def statements(call) -> int:
    with CaptureQueriesContext(connections["payments"]) as captured:
        call()
    return len(captured)


def charges(orders: range, token: str = "tok_ok") -> int:
    events = [reserved(order_id, token) for order_id in orders]
    return statements(lambda: run(charge_payment, *events))


def refunds(orders: range) -> int:
    events = [cancelled(order_id) for order_id in orders]
    return statements(lambda: run(refund_payment, *events))


@pytest.mark.parametrize("token", ["tok_ok", "tok_declined", "tok_timeout_charged", "tok_flaky_3"])
def test_charging(token):
    assert charges(ONE, token) == charges(HUNDRED, token) <= 16


def test_what_costs_nothing():
    counts = []
    for orders in (ONE, HUNDRED):
        events = [reserved(order_id, token="", gateway="", amount=0) for order_id in orders]
        counts.append((statements(lambda events=events: run(charge_payment, *events)), refunds(orders)))
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 16


def test_refunding():
    charges(ONE)
    charges(HUNDRED)
    assert refunds(ONE) == refunds(HUNDRED) <= 22


def test_leaving_tombstones_and_finding_them():
    assert refunds(ONE) == refunds(HUNDRED) <= 12
    assert charges(ONE) == charges(HUNDRED) <= 10


@pytest.mark.parametrize("undone", [False, True])
def test_asking_again(undone):
    counts = []
    for orders in (ONE, HUNDRED):
        charges(orders, "tok_timeout_charged")
        if undone:
            refunds(orders)
        Payment.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
        counts.append(statements(lambda: settle_payments()))
    assert counts[0] == counts[1] <= 29
