"""`Idempotency-Key`: one order and one answer per request, however often, however concurrently it is sent."""

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from audit.invariants import one_order_per_key
from orders.models import IdempotencyKey, Order, Outbox
from orders.tasks import purge
from orders.tests.ordering import URL, client_of
from sagas import Unavailable
from sagas.registry import local_services
from sagas.testing import Bus, calling
from shop.calls import substituting
from shop.contracts.catalog import CatalogService, ProductSnapshot
from tests.support.fakes import FakeCatalog
from tests.support.ordering import PAID_AND_SENT, seed_stock

pytestmark = pytest.mark.django_db(databases=local_services())
ALONE = pytest.mark.django_db(databases=["orders"], transaction=True)  # commits, so that other connections see it

BODY = {"productId": 1, "quantity": 2, **PAID_AND_SENT}


def place(client: APIClient, body: Any = None, *, key: str | None = "k-1", **headers: str) -> Any:
    if key is not None:
        headers["idempotency-key"] = key
    return client.post(URL, PAID_AND_SENT | (body or BODY), format="json", headers=headers)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def written() -> tuple[int, int, int]:
    """Orders, their events, and keys."""
    return Order.objects.count(), Outbox.objects.count(), IdempotencyKey.objects.count()


# --- The same request ----------------------------------------------------------------------------------------------
def test_the_same_request_again_gets_the_same_answer(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    first = place(alice)
    bus.drain(timers=False)
    again = place(alice)

    assert Order.objects.get().status == "DELIVERY_STARTED"
    assert first.status_code == again.status_code == 202
    assert again.content == first.content
    assert again.json()["status"] == "PENDING"  # as it was answered then; Location shows how it stands
    assert again.headers["Location"] == first.headers["Location"]
    assert written() == (1, 1, 1)


def test_a_request_is_the_same_however_it_is_spelled(alice: APIClient):
    first = place(alice, {"productId": 1, "quantity": 2})
    again = place(alice, {"userId": 1, "items": [{"quantity": 2, "productId": 1}]})

    assert again.content == first.content
    assert written() == (1, 1, 1)


def test_an_answer_does_not_depend_on_the_catalogue_any_more(alice: APIClient):
    class Away(FakeCatalog):
        def get_products(self, product_ids: Any) -> Any:
            raise Unavailable("catalog is away")

    first = place(alice)
    with substituting(CatalogService, Away()):
        assert place(alice).content == first.content


def test_without_a_key_each_request_is_an_order(alice: APIClient):
    assert place(alice, key=None).json()["id"] != place(alice, key=None).json()["id"]
    assert written() == (2, 2, 0)


# --- Another request -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "other",
    [
        {"productId": 1, "quantity": 3},
        {"productId": 2, "quantity": 2},
        {**BODY, "address": "서울시 중구"},
        {**BODY, "paymentToken": "tok_declined"},
    ],
)
def test_another_request_with_the_key_is_refused(alice: APIClient, other: Any):
    place(alice)

    assert refusal(place(alice, other)) == (422, "C009")
    assert written() == (1, 1, 1)


def test_another_key_is_another_order(alice: APIClient):
    assert place(alice, key="a").json()["id"] != place(alice, key="A").json()["id"]
    assert written() == (2, 2, 2)


def test_a_key_is_its_users_own(alice: APIClient):
    mine, theirs = place(alice), place(client_of(2))

    assert (mine.json()["userId"], theirs.json()["userId"]) == (1, 2)
    assert place(client_of(2)).content == theirs.content
    assert written() == (2, 2, 2)


def test_staff_cannot_order_for_two_customers_with_one_key(bus: Bus):
    staff = client_of(5, staff=True)

    assert place(staff, {**BODY, "userId": 2}).json()["userId"] == 2
    assert refusal(place(staff, {**BODY, "userId": 3})) == (422, "C009")
    assert place(client_of(2)).status_code == 202  # the customer's own keys are not touched by it
    assert written() == (2, 2, 2)


@pytest.mark.parametrize(("body", "code"), [({"productId": 77, "quantity": 1}, "P001"), ({"productId": 1}, "C002")])
def test_a_refused_request_leaves_its_key_unused(alice: APIClient, body: Any, code: str):
    assert place(alice, body).json()["code"] == code
    assert written() == (0, 0, 0)
    assert place(alice).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "열쇠", "a\x7fb", "a\tb", "a\x00b"])
def test_what_is_no_key_is_refused(alice: APIClient, key: str):
    answer = place(alice, key=key)

    assert refusal(answer) == (400, "C002")
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]
    assert written() == (0, 0, 0)


@pytest.mark.parametrize("key", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b ~!"])
def test_what_is_a_key(alice: APIClient, key: str):
    assert place(alice, key=key).content == place(alice, key=key).content
    assert IdempotencyKey.objects.get().key == key


@pytest.mark.usefixtures("saga_runs")
def test_who_has_waited_gets_the_answer_that_was_waited_for(alice: APIClient, bus: Bus):
    seed_stock({1: 10})
    first = place(alice, prefer="wait=5")
    assert (first.status_code, first.json()["status"]) == (201, "DELIVERY_STARTED")
    alice.post(f"{first.headers['Location']}/cancel")
    bus.drain(timers=False)

    for again in (place(alice, prefer="wait=5"), place(alice)):
        assert (again.status_code, again.content) == (201, first.content)
    assert written() == (1, 2, 1)


@pytest.mark.usefixtures("saga_runs")
def test_a_refusal_is_repeated_to_who_waits(alice: APIClient):
    seed_stock({1: 1})

    assert refusal(place(alice, prefer="wait=5")) == (409, "I002")
    assert refusal(place(alice, prefer="wait=5")) == (409, "I002")
    again = place(alice)
    assert (again.status_code, again.json()["status"]) == (202, "PENDING")  # it was taken; Location says what became
    assert written() == (1, 1, 1)


def test_who_was_cut_off_while_waiting_may_wait_again(alice: APIClient, request: pytest.FixtureRequest):
    seed_stock({1: 10})
    assert place(alice).status_code == 202
    request.getfixturevalue("saga_runs")

    first = place(alice, prefer="wait=5")
    assert (first.status_code, first.json()["status"]) == (201, "DELIVERY_STARTED")
    assert place(alice).content == first.content
    assert written() == (1, 1, 1)


# --- At the same time ----------------------------------------------------------------------------------------------
def test_a_request_that_was_overtaken_gets_the_others_answer(alice: APIClient):
    overtaking: list[Any] = []

    class Slow(FakeCatalog):
        """While the catalogue is being asked, the same request comes and goes."""

        def get_products(self, product_ids: Iterable[int]) -> dict[int, ProductSnapshot]:
            if not overtaking:
                overtaking.append(None)
                overtaking[0] = place(alice)
            return super().get_products(product_ids)

    with substituting(CatalogService, Slow()):
        overtaken = place(alice)

    assert overtaken.status_code == 202
    assert overtaken.content == overtaking[0].content
    assert written() == (1, 1, 1)


@ALONE
def test_in_flight(alice: APIClient):
    def send(*, user_id: int = 1, body: Any = None) -> Any:
        try:
            return place(client_of(user_id), body)
        finally:
            connections.close_all()

    meanwhile: list[Any] = []

    def when(point: str) -> None:
        if point == "order.written" and not meanwhile:
            meanwhile.append(None)
            with ThreadPoolExecutor(1) as elsewhere:
                meanwhile[:] = [
                    elsewhere.submit(send).result(),
                    elsewhere.submit(send, body={"productId": 2, "quantity": 1}).result(),
                    elsewhere.submit(send, user_id=2).result(),
                ]

    with calling(when):
        first = place(alice)
    same, other, stranger = meanwhile

    assert first.status_code == stranger.status_code == 202
    assert refusal(same) == refusal(other) == (409, "C009")  # nobody can say yet what the first one was
    assert int(same.headers["Retry-After"]) > 0
    assert place(alice).content == first.content
    assert written() == (2, 2, 2)


@ALONE
def test_twenty_at_once_are_one_order(bus: Bus):
    start = Barrier(20)  # each with a connection of its own: a server without twenty to spare breaks it

    def send(_: int) -> Any:
        try:
            connections["orders"].ensure_connection()
            start.wait(20)
            return place(client_of(1))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as many:
        answers = list(many.map(send, range(20)))

    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {202, 409}, statuses
    assert statuses[202] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"C009"}
    assert written() == (1, 1, 1)
    assert place(client_of(1)).content in {answer.content for answer in answers}


# --- Crashes -------------------------------------------------------------------------------------------------------
class Crash(Exception):
    """The process dies here."""


def crash_at(wanted: str, *, fired: list[str]) -> Any:
    def when(point: str) -> None:
        if point == wanted:
            fired.append(point)
            raise Crash

    return calling(when)


@ALONE
@pytest.mark.parametrize(("point", "survives"), [("order.written", False), ("order.committed", True)])
def test_after_a_crash_the_same_request_places_no_second_order(alice: APIClient, point: str, survives: bool):
    fired: list[str] = []
    with crash_at(point, fired=fired):
        assert place(alice).status_code == 500
    assert fired == [point]
    assert written() == ((1, 1, 1) if survives else (0, 0, 0))

    again = place(alice)
    assert (again.status_code, again.json()["id"]) == (202, Order.objects.get().pk)
    assert place(alice).content == again.content
    assert written() == (1, 1, 1)


# --- Around it -----------------------------------------------------------------------------------------------------
def test_old_keys_are_forgotten(alice: APIClient, settings: Any):
    place(alice, key="old")
    place(alice, key="young")
    old = timezone.now() - settings.SAGAS.retention - timedelta(minutes=1)
    IdempotencyKey.objects.filter(key="old").update(created_at=old)

    assert (purge(), purge()) == (1, 0)
    assert [row.key for row in IdempotencyKey.objects.all()] == ["young"]
    assert Order.objects.count() == 2


def test_the_audit_finds_a_key_with_another_order_than_it_answers_with(alice: APIClient):
    place(alice, key="mine")
    other = place(alice, key=None).json()["id"]
    assert list(one_order_per_key(timezone.now())) == []

    IdempotencyKey.objects.update(order=other)
    (violation,) = one_order_per_key(timezone.now())
    assert (violation.invariant, violation.subject) == ("one_order_per_key", f"order {other}")
    assert "'mine' of user 1" in violation.detail


def test_the_audit_finds_a_key_with_an_order_that_has_become_somebody_elses(alice: APIClient):
    order_id = place(alice).json()["id"]

    Order.objects.update(user_id=3)
    assert [violation.subject for violation in one_order_per_key(timezone.now())] == [f"order {order_id}"]


@pytest.mark.parametrize("lines", [1, 8])
def test_a_key_costs_four_statements_and_a_repetition_two(alice: APIClient, lines: int):
    body = {"items": [{"productId": n, "quantity": 1} for n in range(1, lines + 1)]}
    with CaptureQueriesContext(connections["orders"]) as first:
        place(alice, body)
    with CaptureQueriesContext(connections["orders"]) as again:
        place(alice, body)

    counts = [sum("SAVEPOINT" not in query["sql"] for query in captured) for captured in (first, again)]
    assert counts == [2 + 4, 2]  # the order; look, hold, look again, keep
    assert not [query["sql"] for query in first if query["sql"].startswith("SELECT")]  # each is prepared


def test_the_schema_names_the_header():
    schema = Client().get("/api/v1/schema/", headers={"Accept": "application/json"}).json()
    (header,) = (
        one for one in schema["paths"]["/api/v1/orders"]["post"]["parameters"] if one["name"] == "Idempotency-Key"
    )
    assert (header["in"], header.get("required", False)) == ("header", False)
    assert (header["schema"]["minLength"], header["schema"]["maxLength"]) == (1, 255)
