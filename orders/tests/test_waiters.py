"""Who waits for the payment (`Prefer: wait`), how long, and how many may."""

from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from orders import views
from orders.models import Order
from orders.tests.ordering import client_of, place
from orders.waiters import room_for
from sagas.registry import local_services
from tests.support.ordering import seed_stock

pytestmark = pytest.mark.django_db(databases=local_services())


@pytest.mark.usefixtures("saga_runs")
def test_who_waits_gets_a_paid_order(alice: APIClient):
    seed_stock({1: 10})

    answer = place(alice, prefer="wait=5")

    assert (answer.status_code, answer.json()["status"]) == (201, "DELIVERY_STARTED")


def test_only_so_many_wait_at_once_and_of_one_user_one(
    alice: APIClient, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    """Whoever finds no room gets 202 at once; nobody's sleep holds a thread for them."""
    settings.WAITERS = 2
    seed_stock({1: 10})
    slept: list[float] = []
    clock = iter(range(1000))
    monkeypatch.setattr(views, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append))

    with room_for(1):
        assert (place(alice, prefer="wait=5").status_code, slept) == (202, [])
        with room_for(2):
            assert (place(client_of(3), prefer="wait=5").status_code, slept) == (202, [])
        assert place(client_of(3), prefer="wait=5").status_code == 202
        assert len(slept) > 0
    with room_for(1) as room:
        assert room


@pytest.mark.usefixtures("saga_runs")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"productId": 1, "quantity": 11}, "I002"),
        ({"productId": 1, "quantity": 1, "paymentToken": "tok_declined"}, "PAY002"),
    ],
)
def test_who_waits_is_told_of_a_refusal(alice: APIClient, body: Any, code: str):
    seed_stock({1: 10})

    answer = place(alice, body, prefer="respond-async, wait=5")

    assert (answer.status_code, answer.json()["code"]) == (409, code)
    order = Order.objects.get()
    assert order.status in ("CANCELLED", "CANCELLING")
    assert answer.json()["orderId"] == order.pk


def test_who_has_waited_long_enough_gets_what_there_is(alice: APIClient, monkeypatch: pytest.MonkeyPatch):
    clock = iter(range(1000))
    monkeypatch.setattr(views, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))

    answer = place(alice, prefer="wait=99999")

    assert (answer.status_code, answer.json()["status"], next(clock)) == (202, "PENDING", 11)  # 10 s at most


@pytest.mark.usefixtures("saga_runs")
def test_a_preference_is_named_in_any_case(alice: APIClient):
    seed_stock({1: 10})
    assert place(alice, prefer='WAIT="5"').status_code == 201


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=-1", "wait=x", "await=5", "wait=99999999999"])
def test_a_preference_that_cannot_be_read_is_ignored(alice: APIClient, prefer: str):
    assert place(alice, prefer=prefer).status_code == 202
