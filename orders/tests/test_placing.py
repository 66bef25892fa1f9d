"""Placing orders: at which price, for whom, and all that is refused."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from orders.models import Order, Outbox
from orders.tests.ordering import URL, client_of, place
from sagas import Unavailable
from sagas.registry import local_services
from sagas.testing import Bus
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, UserView
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.seal import What, unseal
from tests.support.fakes import FakeAccounts, FakeCatalog
from tests.support.ordering import PAID_AND_SENT

pytestmark = pytest.mark.django_db(databases=local_services())


def test_an_order_is_taken_at_the_catalogues_price(alice: APIClient):
    answer = place(alice)

    assert answer.status_code == 202
    body = answer.json()
    order = Order.objects.get()
    assert answer.headers["Location"] == f"http://testserver{URL}/{order.pk}"
    assert all(body.pop(name).endswith("Z") for name in ("createdAt", "updatedAt"))
    assert body == {
        "id": order.pk,
        "userId": 1,
        "status": "PENDING",
        "cancellationReason": "",
        "currency": "KRW",
        "totalPrice": 2000,
        "exchangeFor": None,
        "nextAction": None,
        "items": [{"productId": 1, "productName": "Product 1", "unitPrice": 1000, "quantity": 2, "lineTotal": 2000}],
    }
    assert [(row.event_type, row.correlation_id) for row in Outbox.objects.all()] == [("OrderCreated", order.pk)]


def test_an_order_of_several_products(alice: APIClient):
    answer = place(alice, {"items": [{"productId": 3, "quantity": 1}, {"productId": 1, "quantity": 5}]})

    assert (answer.status_code, answer.json()["totalPrice"]) == (202, 8000)
    assert [item["productId"] for item in answer.json()["items"]] == [3, 1]


def test_the_address_crosses_the_broker_sealed_and_the_token_of_flower_is_a_summary(alice: APIClient):
    place(alice, {"productId": 1, "quantity": 1, "address": "서울시 중구 세종대로 110"})

    payload = Outbox.objects.get().payload
    assert "세종대로" not in str(payload)
    address, token = (payload["checkout"][name] for name in ("address", "payment_token"))
    assert unseal(address, What.ADDRESS, order_id=payload["order_id"]) == "서울시 중구 세종대로 110"
    assert unseal(token, What.PAYMENT_TOKEN, order_id=payload["order_id"]) == "tok_ok"


REFUSED = {
    "nothing": {},
    "no quantity": {"productId": 1},
    "no product": {"quantity": 1},
    "zero": {"productId": 1, "quantity": 0},
    "negative": {"productId": 1, "quantity": -1},
    "too many": {"productId": 1, "quantity": 1001},
    "text": {"productId": 1, "quantity": "2"},
    "fraction": {"productId": 1, "quantity": 1.5},
    "true": {"productId": 1, "quantity": True},
    "null": {"productId": 1, "quantity": None},
    "too large an id": {"productId": 2**63, "quantity": 1},
    "a price": {"productId": 1, "quantity": 1, "price": 1},
    "a unit price in a line": {"items": [{"productId": 1, "quantity": 1, "unitPrice": 1}]},
    "unknown field": {"productId": 1, "quantity": 1, "coupon": "x"},
    "both forms": {"productId": 1, "quantity": 1, "items": [{"productId": 2, "quantity": 1}]},
    "no lines": {"items": []},
    "lines that are none": {"items": "x"},
    "a line that is none": {"items": [7]},
    "twice the same": {"items": [{"productId": 1, "quantity": 1}, {"productId": 1, "quantity": 1}]},
    "101 lines": {"items": [{"productId": n, "quantity": 1} for n in range(1, 102)]},
    "a list": [1],
    "somebody else's": {"productId": 1, "quantity": 1, "userId": 2},
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_what_is_no_order_is_refused_and_leaves_nothing(alice: APIClient, body: Any):
    answer = alice.post(URL, PAID_AND_SENT | body if isinstance(body, dict) else body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (400, "C002")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (Order.objects.count(), Outbox.objects.count()) == (0, 0)


@pytest.mark.parametrize("missing", ["address", "paymentToken"])
def test_an_order_says_where_it_goes_and_what_pays_for_it(alice: APIClient, missing: str):
    whole = {"productId": 1, "quantity": 1, **PAID_AND_SENT}
    for body in ({name: value for name, value in whole.items() if name != missing}, whole | {missing: " "}):
        answer = alice.post(URL, body, format="json")
        assert (answer.status_code, answer.json()["code"]) == (400, "C002")
        assert [error["field"] for error in answer.json()["errors"]] == [missing]
    assert (Order.objects.count(), Outbox.objects.count()) == (0, 0)


def test_who_has_seen_another_total_is_asked_again(alice: APIClient):
    body = {"productId": 1, "quantity": 2}
    for headers in ({}, {"Idempotency-Key": "k"}):
        answer = place(alice, {**body, "expectedTotal": 1999}, **headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["totalPrice"]) == (409, "O004", 2000)
    assert (Order.objects.count(), Outbox.objects.count()) == (0, 0)

    answer = place(alice, {**body, "expectedTotal": 2000}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["totalPrice"]) == (202, 2000)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"productId": 77, "quantity": 1}, 404, "P001"),
        ({"productId": 9, "quantity": 1}, 400, "P002"),
        ({"productId": 1, "quantity": 1, "paymentGateway": "IOU"}, 400, "PAY005"),
    ],
)
def test_what_cannot_be_ordered(alice: APIClient, body: Any, status: int, code: str):
    answer = place(alice, body)

    assert (answer.status_code, answer.json()["code"], Order.objects.count()) == (status, code, 0)


def test_without_the_catalogue_there_is_no_price(alice: APIClient):
    class Away(FakeCatalog):
        def get_products(self, product_ids: Any) -> Any:
            raise Unavailable("catalog is away")

    with substituting(CatalogService, Away()):
        answer = place(alice)

    assert (answer.status_code, answer.json()["code"], Order.objects.count()) == (503, "C008", 0)
    assert int(answer.headers["Retry-After"]) > 0


def test_staff_order_for_others(bus: Bus):
    answer = place(client_of(5, staff=True), {"productId": 1, "quantity": 1, "userId": 2})

    assert (answer.status_code, answer.json()["userId"]) == (202, 2)


class SomeAreLockedOut(FakeAccounts):
    """User 3 is locked out."""

    def get_users(self, user_ids: Iterable[int]) -> dict[int, UserView]:
        known = super().get_users(user_ids)
        return {pk: msgspec.structs.replace(user, active=pk != 3) for pk, user in known.items()}


@pytest.mark.parametrize("user_id", [999999, 3])
def test_staff_order_for_nobody_and_for_nobody_who_is_locked_out(bus: Bus, user_id: int):
    with substituting(AccountsService, SomeAreLockedOut()):
        answer = place(client_of(5, staff=True), {"productId": 1, "quantity": 1, "userId": user_id})
    assert (answer.status_code, answer.json()["code"], Order.objects.count()) == (404, "U001", 0)


def test_staff_cannot_order_for_others_while_accounts_is_away(bus: Bus):
    class Away:
        def get_user(self, user_id: int) -> Any:
            raise Unavailable("accounts")

    staff = client_of(5, staff=True)
    wanted = {"productId": 1, "quantity": 1, "userId": 2}
    first = place(staff, wanted, **{"Idempotency-Key": "once"})
    with substituting(AccountsService, Away()):
        assert place(staff, wanted).status_code == 503
        assert place(staff, {"productId": 1, "quantity": 1}).status_code == 202
        again = place(staff, wanted, **{"Idempotency-Key": "once"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert Order.objects.count() == 2


def test_the_form_of_the_browsable_api_begins_with_an_order(alice: APIClient):
    page = alice.get(URL, headers={"Accept": "text/html"}).content.decode()
    assert "&quot;productId&quot;: 7," in page
    assert "&quot;paymentToken&quot;: &quot;tok_ok&quot;" in page


def test_a_total_that_no_client_could_read_exactly_is_refused(alice: APIClient):
    dear = ProductSnapshot(id=1, name="Dear", price=2**53 - 1, currency="KRW", active=True)
    with substituting(CatalogService, SimpleNamespace(get_products=lambda _: {1: dear})):
        answer = place(alice)
    assert (answer.status_code, answer.json()["detail"]) == (400, "The total is more than can be charged.")


def test_placing_an_order_takes_two_statements_however_many_lines(alice: APIClient):
    with CaptureQueriesContext(connections["orders"]) as captured:
        place(alice, {"items": [{"productId": n, "quantity": 1} for n in range(1, 9)]})

    # Its id, for which address and token are sealed, and all of it. No transaction is around them.
    assert len(captured) == 2, captured.captured_queries
