"""Finding orders: by the API's filters and in the admin, each by its index, and as CSV of any length."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from orders import exports
from orders.models import Order, OrderLine, ParcelNumber, Return
from shop.calls import connect, substituting
from shop.contracts.accounts import AccountsService
from shop.text import mailbox
from tests.support.fakes import Caller, FakeAccounts

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery", "orders"])

URL = "/api/v1/orders"
EARLY, LATE = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)
STAFF: dict[str, Any] = {"staff": True}


@pytest.fixture(autouse=True)
def unthrottled(settings: Any) -> None:
    settings.THROTTLES = settings.THROTTLES | {"exports": 0}


@pytest.fixture
def found() -> Iterator[list[int]]:
    """Three orders: of users 1, 1 and 2, the first one long ago."""
    rows: list[dict[str, Any]] = [
        {"user_id": 1, "status": "COMPLETED", "created_at": EARLY, "tracking_number": "CJ0000000017"},
        {"user_id": 1, "status": "CANCELLED", "created_at": LATE, "payment_gateway": "KAKAO_PAY"},
        {"user_id": 2, "status": "PENDING", "created_at": LATE, "look_at": LATE, "tracking_number": "0012345"},
    ]
    shared = {"currency": "KRW", "total_price": 1000, "payment_gateway": "TOSS_PAYMENTS"}
    ids = [Order.objects.create(**shared | row).pk for row in rows]
    for number, (pk, products) in enumerate(zip(ids, ([7], [7, 8], [9]), strict=True)):
        for product in products:
            OrderLine.objects.create(
                order_id=pk, product_id=product, product_name="=1+1", unit_price=100, quantity=number + 1
            )
    for pk, row in zip(ids, rows, strict=True):
        if "tracking_number" in row:
            ParcelNumber.objects.create(order_id=pk, number=row["tracking_number"])
    with substituting(AccountsService, FakeAccounts()):
        yield ids


def client_of(user_id: int = 99, **rights: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(Caller(user_id, **rights))  # type: ignore[arg-type]
    return client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "COMPLETED"}, [0]),
        ({"status": "PENDING"}, [2]),
        ({"userId": 1}, [1, 0]),
        ({"productId": 7}, [1, 0]),
        ({"productId": 7, "status": "CANCELLED"}, [1]),
        ({"paymentGateway": "KAKAO_PAY"}, [1]),
        ({"createdSince": "2026-11-20T00:00:00Z"}, [2, 1]),
        ({"createdBefore": "2026-11-20T09:00:00+09:00"}, [0]),
        ({"createdSince": "2026-10-31T00:00:00Z", "createdBefore": "2026-11-02T00:00:00Z"}, [0]),
        ({"trackingNumber": "cj0000000017"}, [0]),
        ({"search": "CJ0000000017"}, [0]),
        ({"search": "0012345"}, [2]),
        ({"search": "user1@"}, [1, 0]),
        ({"search": "nobody"}, []),
        ({"search": "9" * 30}, []),
    ],
)
def test_orders_are_found_by(query: dict[str, Any], expected: list[int], found: list[int]):
    answer = client_of(**STAFF).get(URL, query)
    assert [row["id"] for row in answer.json()["results"]] == [found[number] for number in expected]
    exported = client_of(**STAFF).get(f"{URL}/export", query)
    assert exported.headers["Cache-Control"] == "no-store"
    assert [int(row["id"]) for row in _rows(exported)] == [found[number] for number in expected]


@pytest.mark.parametrize("number", ["1Z999AA10123456784", "9400110200881234567890", "771234567890", "JD01460000628123"])
def test_by_a_number_of_any_carrier(number: str, found: list[int]):
    ParcelNumber.objects.create(order_id=found[1], number=number)
    assert _ids(client_of(**STAFF), search=number) == [found[1]]
    assert _ids(client_of(**STAFF), search=number.lower()) == [found[1]]
    assert _ids(client_of(2), search=number) == []  # it is somebody else's


def test_by_an_id_and_by_the_same_digits_as_a_tracking_number(found: list[int]):
    ParcelNumber.objects.create(order_id=found[1], number=str(found[0]))
    assert _ids(client_of(**STAFF), search=str(found[0])) == [found[1], found[0]]


def test_by_number_and_only_what_one_may_see(found: list[int]):
    assert _ids(client_of(**STAFF), search=str(found[1])) == [found[1]]
    assert _ids(client_of(2), search=str(found[1])) == []
    assert _ids(client_of(2), search="user2@") == []  # it takes the right to see users
    assert _ids(client_of(rights={"orders.view_order"}), search="user2@") == []
    assert _ids(client_of(rights={"orders.view_order", "accounts.view_user"}), search="user2@") == [found[2]]
    assert client_of(1).get(f"{URL}/export").status_code == 403


@pytest.mark.parametrize(
    "query",
    [{"customer": "1"}, {"createdSince": "yesterday"}, {"productId": "x"}, {"status": "GONE"}, {"search": "x" * 201}],
)
@pytest.mark.parametrize("path", [URL, f"{URL}/export"])
def test_what_is_no_filter_or_no_value_is_refused(path: str, query: dict[str, str], found: list[int]):
    answer = client_of(**STAFF).get(path, query)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (400, list(query))


def test_a_page_has_no_place_in_an_export(found: list[int]):
    assert client_of(**STAFF).get(f"{URL}/export", {"limit": 2}).json()["errors"][0]["field"] == "limit"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"userId": 1}, "orders_of_user"),
        ({"productId": 7}, "orders_of_product"),
        ({"trackingNumber": "CJ0000000017"}, "orders_parcelnumber_pkey"),
        ({"search": "CJ0000000017"}, "orders_parcelnumber_pkey"),
        ({"search": "42"}, "orders_parcelnumber_pkey"),
        ({"search": "user1@"}, "orders_of_user"),
        ({"createdSince": "2026-11-20T00:00:00Z"}, "orders_newest"),
        ({"status": "PENDING"}, "orders_open"),
        ({"status": "CANCELLED", "userId": 1}, "orders_of_user"),
        ({"paymentGateway": "KAKAO_PAY", "productId": 7}, "orders_of_product"),
    ],
)
def test_each_by_its_index_among_many(query: dict[str, Any], index: str, found: list[int]):
    with connections["orders"].cursor() as cursor:
        cursor.execute("""
            INSERT INTO orders_order (user_id, status, cancellation_reason, currency, total_price, payment_gateway,
                tracking_number, created_at, updated_at, looks)
            SELECT 100 + n, 'COMPLETED', '', 'KRW', 1000, 'TOSS_PAYMENTS', 'X' || n,
                '2026-01-01'::timestamptz + n * interval '1 minute', now(), 0 FROM generate_series(1, 5000) n
        """)
        cursor.execute("""
            INSERT INTO orders_orderline (order_id, product_id, product_name, unit_price, quantity)
            SELECT id, 1000 + id % 500, 'x', 1000, 1 FROM orders_order WHERE user_id > 100
        """)
        cursor.execute("""
            INSERT INTO orders_parcelnumber SELECT tracking_number, id FROM orders_order WHERE tracking_number LIKE 'X%'
        """)
        cursor.execute("ANALYZE orders_order, orders_orderline, orders_parcelnumber")
    with CaptureQueriesContext(connections["orders"]) as captured:
        client_of(**STAFF).get(URL, query)
    read = [one["sql"] for one in captured if "orders_order" in one["sql"]][:1]
    plan = ""
    with connections["orders"].cursor() as cursor:
        for statement in [one["sql"] for one in captured if "orders_parcelnumber" in one["sql"]] + read:
            cursor.execute(f"EXPLAIN {statement}")
            plan += "\n".join(row[0] for row in cursor.fetchall())
    assert index in plan, plan
    assert "Seq Scan" not in plan


def test_customers_are_found_by_index():
    users = get_user_model().objects
    users.create(email="hana@example.com", name="Hana Kim")
    users.create(email="minsu@example.com", name="hanamura")
    for number in range(3):
        users.create(email=f"other{number}@example.com", name=f"Other {number}")
    with CaptureQueriesContext(connections["accounts"]) as captured:
        assert len(connect(AccountsService).find_users("HANA")) == 2
    users.filter(name="Hana Kim").update(email=mailbox("hana@한국.kr"))
    assert len(connect(AccountsService).find_users("hana@한국.kr")) == 1
    with connections["accounts"].cursor() as cursor:
        plans = []
        for one in captured:
            cursor.execute(f"EXPLAIN {one['sql']}")
            plans.append(str(cursor.fetchall()))
    assert ["accounts_user_email" in plans[0], "accounts_user_by_name" in plans[1]] == [True, True], plans


def test_an_export_is_read_in_pages_as_it_is_sent(found: list[int], monkeypatch: Any):
    monkeypatch.setattr(exports, "PAGE", 2)
    answer: Any = client_of(**STAFF).get(f"{URL}/export")
    assert (answer["Content-Type"], answer["Content-Disposition"]) == (
        "text/csv; charset=utf-8",
        'attachment; filename="orders.csv"',
    )
    assert answer.streaming
    with CaptureQueriesContext(connections["orders"]) as captured:
        parts = iter(answer.streaming_content)
        assert next(parts).startswith("\ufeffid,userId,".encode())
        assert len(captured) == 0
        assert (next(parts).count(b"\r\n"), len(captured)) == (2, 2)  # orders, and their lines
        Order.objects.create(user_id=3, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
        assert (next(parts).count(b"\r\n"), next(parts, None)) == (1, None)
        assert len([one for one in captured if "LIMIT 2" in one["sql"]]) == 3


def test_a_spreadsheet_takes_nothing_for_a_formula(found: list[int]):
    Order.objects.filter(pk=found[1]).update(cancellation_reason="=HYPERLINK(1)")
    rows = _rows(client_of(**STAFF).get(f"{URL}/export"))
    assert rows[1]["cancellationReason"] == "'=HYPERLINK(1)"
    assert rows[1]["items"] == "7x2 8x2"
    assert rows[2] == {
        "id": str(found[0]),
        "userId": "1",
        "status": "COMPLETED",
        "cancellationReason": "",
        "currency": "KRW",
        "totalPrice": "1000",
        "paymentGateway": "TOSS_PAYMENTS",
        "trackingNumber": "CJ0000000017",
        "exchangeFor": "",
        "items": "7x1",
        "createdAt": "2026-11-01T00:00:00Z",
        "updatedAt": rows[2]["updatedAt"],
    }


def test_in_the_admin_by_product_and_exported(found: list[int], client: Any):
    client.force_login(get_user_model().objects.create_superuser(email="a@example.com", password="for-this", name="A"))
    page = client.get("/admin/orders/order/?items__product_id=8").content.decode()
    assert f"/admin/orders/order/{found[1]}/" in page
    assert f"/admin/orders/order/{found[0]}/" not in page
    answer = client.post(
        "/admin/orders/order/?items__product_id=7",
        {"action": "export", "_selected_action": [found[1]], "select_across": "1"},
    )
    assert [int(row["id"]) for row in _rows(answer)] == [found[1], found[0]]


def test_an_export_of_the_admin_has_totals_as_on_a_price_tag(found: list[int], client: Any):
    client.force_login(get_user_model().objects.create_superuser(email="a@example.com", password="for-this", name="A"))
    of = Return.objects.create(pk=4711, order_id=found[0], user_id=1, currency="USD")
    Order.objects.filter(pk=found[0]).update(currency="USD", total_price=1990)
    Order.objects.filter(pk=found[1]).update(exchange_for=of, total_price=0, payment_gateway="")
    rows = _rows(client.post("/admin/orders/order/", {"action": "export", "_selected_action": found}))
    told = {int(row["id"]): (row["total"], row["currency"], row["exchangeFor"]) for row in rows}
    assert told[found[0]] == ("19.90", "USD", "")
    assert told[found[1]][2] == str(of.pk)
    api = {int(row["id"]): row for row in _rows(client_of(**STAFF).get(f"{URL}/export"))}
    assert (api[found[0]]["totalPrice"], api[found[1]]["exchangeFor"]) == ("1990", str(of.pk))


def _rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _ids(client: APIClient, **query: str) -> list[int]:
    return [row["id"] for row in client.get(URL, query).json()["results"]]
