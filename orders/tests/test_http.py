"""Orders over HTTP: reading and listing them."""

from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from orders.tests.ordering import URL, client_of, place
from sagas import Unavailable
from sagas.registry import local_services
from sagas.testing import Bus
from shop.calls import substituting
from shop.contracts.accounts import AccountsService
from tests.support.fakes import FakeAccounts
from tests.support.ordering import seed_stock

pytestmark = pytest.mark.django_db(databases=local_services())


def test_strangers_are_sent_to_sign_in():
    for answer in (place(APIClient()), APIClient().get(URL), APIClient().get(f"{URL}/1")):
        assert (answer.status_code, answer.json()["code"]) == (401, "C006")


def test_an_order_tells_what_has_happened_to_it(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    url = place(alice).headers["Location"]
    bus.drain(timers=False)

    body = alice.get(url).json()

    assert (body["status"], body["paymentGateway"]) == ("DELIVERY_STARTED", "TOSS_PAYMENTS")
    assert body["trackingNumber"]
    assert [(entry["service"], entry["event"]) for entry in body["timeline"]] == [
        ("orders", "OrderCreated"),
        ("inventory", "InventoryReserved"),
        ("payments", "PaymentCompleted"),
        ("delivery", "DeliveryStarted"),
    ]
    assert set(body["timeline"][0]) == {"at", "service", "event", "detail"}


def test_orders_of_others_do_not_exist(alice: APIClient):
    url = place(alice).headers["Location"]
    mallory = client_of(2)

    for answer in (mallory.get(url), mallory.post(f"{url}/cancel"), alice.get(f"{URL}/999999")):
        assert (answer.status_code, answer.json()["code"]) == (404, "O001")
    assert client_of(5, staff=True).get(url).status_code == 200
    assert mallory.get(URL).json()["results"] == []
    assert mallory.get(f"{URL}?userId=1").json()["results"] == []


def test_a_list_shows_whose_the_orders_are_in_a_constant_number_of_statements(alice: APIClient):
    place(alice)
    with CaptureQueriesContext(connections["orders"]) as one:
        alice.get(URL)
    for user_id in (1, 2, 3):
        place(client_of(user_id))
    with CaptureQueriesContext(connections["orders"]) as many:
        answer = client_of(5, staff=True).get(URL)

    assert len(one) == len(many) == 2  # orders, lines
    assert set(answer.json()) == {"next", "previous", "results"}
    assert [(order["userName"], order["userEmail"]) for order in answer.json()["results"]] == [
        ("User 3", "user3@example.com"),
        ("User 2", "user2@example.com"),
        ("User 1", "user1@example.com"),
        ("User 1", "user1@example.com"),
    ]
    assert len(client_of(5, staff=True).get(f"{URL}?userId=1").json()["results"]) == 2
    assert client_of(5, staff=True).get(f"{URL}?userId=x").status_code == 400


def test_orders_in_a_status(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    done = place(alice).json()["id"]
    bus.drain(timers=False)
    pending = place(alice).json()["id"]

    def listed(query: str) -> list[int]:
        return [order["id"] for order in alice.get(f"{URL}?{query}").json()["results"]]

    found = {status: listed(f"status={status}") for status in ("PENDING", "DELIVERY_STARTED", "CANCELLED")}
    assert found == {"PENDING": [pending], "DELIVERY_STARTED": [done], "CANCELLED": []}
    assert listed("status=PENDING&userId=1") == [pending]
    for query in ("status=NOSUCH", "status=", "status=pending", "status=PENDING&status=CANCELLED"):
        answer = alice.get(f"{URL}?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "status")


def test_without_accounts_orders_are_still_listed(alice: APIClient):
    class Away(FakeAccounts):
        def get_users(self, user_ids: Any) -> Any:
            raise Unavailable("accounts is away")

    place(alice)
    with substituting(AccountsService, Away()):
        answer = alice.get(URL)

    assert answer.status_code == 200
    assert [(order["userName"], order["userEmail"]) for order in answer.json()["results"]] == [("Unknown User", "")]


def test_a_customer_without_orders_gets_an_empty_list(alice: APIClient):
    assert alice.get(URL).json() == {"next": None, "previous": None, "results": []}


def test_reading_an_order_takes_four_statements(alice: APIClient):
    url = place(alice, {"items": [{"productId": n, "quantity": 1} for n in range(1, 9)]}).headers["Location"]

    with CaptureQueriesContext(connections["orders"]) as captured:
        body = alice.get(url).json()

    assert len(captured) == 4, captured.captured_queries  # order, lines, timeline, shipments
    assert [item["productId"] for item in body["items"]] == [*range(1, 9)]
