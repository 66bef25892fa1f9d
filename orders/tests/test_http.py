"""Orders over HTTP: placing, reading, listing, cancelling, and all that is refused."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from orders import views
from orders.models import Order, Outbox
from orders.waiters import room_for
from sagas import Unavailable
from sagas.registry import local_services
from sagas.testing import Bus, publishing_to
from shop.calls import substituting
from shop.contracts.accounts import AccountsService, UserView
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.seal import What, unseal
from tests.support.fakes import Caller, FakeAccounts, FakeCatalog
from tests.support.ordering import PAID_AND_SENT, seed_stock
from tests.support.sagas import SAGA_TIMERS

pytestmark = pytest.mark.django_db(databases=local_services())

URL = "/api/v1/orders"


def client_of(user_id: int, *, staff: bool = False) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(Caller(user_id, staff=staff))  # type: ignore[arg-type]
    return client


@pytest.fixture
def bus() -> Iterator[Bus]:
    bus = Bus(SAGA_TIMERS)
    with (
        publishing_to(bus),
        substituting(CatalogService, FakeCatalog()),
        substituting(AccountsService, FakeAccounts()),
    ):
        yield bus


@pytest.fixture
def alice(bus: Bus) -> APIClient:
    return client_of(1)


@pytest.fixture
def saga_runs(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request waits, the saga goes on up to the delivery; nobody looks at a clock."""
    clock = iter(range(1000))
    waiting = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: bus.drain(timers=False))
    monkeypatch.setattr(views, "time", waiting)


def place(client: APIClient, body: Any = None, **headers: str) -> Any:
    wanted = PAID_AND_SENT | (body or {"productId": 1, "quantity": 2})
    return client.post(URL, wanted, format="json", headers=headers)


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


def test_strangers_are_sent_to_sign_in():
    for answer in (place(APIClient()), APIClient().get(URL), APIClient().get(f"{URL}/1")):
        assert (answer.status_code, answer.json()["code"]) == (401, "C006")


# --- Waiting for the payment ----------------------------------------------------------------------------------------
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


def test_the_form_of_the_browsable_api_begins_with_an_order(alice: APIClient):
    page = alice.get(URL, headers={"Accept": "text/html"}).content.decode()
    assert "&quot;productId&quot;: 7," in page
    assert "&quot;paymentToken&quot;: &quot;tok_ok&quot;" in page


def test_a_total_that_no_client_could_read_exactly_is_refused(alice: APIClient):
    dear = ProductSnapshot(id=1, name="Dear", price=2**53 - 1, currency="KRW", active=True)
    with substituting(CatalogService, SimpleNamespace(get_products=lambda _: {1: dear})):
        answer = place(alice)
    assert (answer.status_code, answer.json()["detail"]) == (400, "The total is more than can be charged.")


@pytest.mark.usefixtures("saga_runs")
def test_a_preference_is_named_in_any_case(alice: APIClient):
    seed_stock({1: 10})
    assert place(alice, prefer='WAIT="5"').status_code == 201


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=-1", "wait=x", "await=5", "wait=99999999999"])
def test_a_preference_that_cannot_be_read_is_ignored(alice: APIClient, prefer: str):
    assert place(alice, prefer=prefer).status_code == 202


# --- Reading ----------------------------------------------------------------------------------------------------------
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


# --- Cancelling -------------------------------------------------------------------------------------------------------
def test_cancelling(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    url = place(alice).headers["Location"]
    bus.drain(timers=False)

    answer = alice.post(f"{url}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLING")

    again = alice.post(f"{url}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "O002")

    bus.drain(timers=False)
    body = alice.get(url).json()
    assert (body["status"], body["cancellationReason"]) == ("CANCELLED", "cancelled by the customer")
    assert alice.post(f"{url}/cancel").json()["code"] == "O002"


def test_a_completed_order_cannot_be_cancelled(alice: APIClient):
    url = place(alice).headers["Location"]
    Order.objects.update(status="COMPLETED")

    answer = alice.post(f"{url}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "O003")


def test_placing_an_order_takes_two_statements_however_many_lines(alice: APIClient):
    with CaptureQueriesContext(connections["orders"]) as captured:
        place(alice, {"items": [{"productId": n, "quantity": 1} for n in range(1, 9)]})

    # Its id, for which address and token are sealed, and all of it. No transaction is around them.
    assert len(captured) == 2, captured.captured_queries


def test_reading_an_order_takes_four_statements(alice: APIClient):
    url = place(alice, {"items": [{"productId": n, "quantity": 1} for n in range(1, 9)]}).headers["Location"]

    with CaptureQueriesContext(connections["orders"]) as captured:
        body = alice.get(url).json()

    assert len(captured) == 4, captured.captured_queries  # order, lines, timeline, shipments
    assert [item["productId"] for item in body["items"]] == [*range(1, 9)]
