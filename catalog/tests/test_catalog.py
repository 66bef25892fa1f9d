"""The catalogue: reading, filtering, and changing the version that was read."""

from typing import Any
from unicodedata import normalize
from urllib.parse import quote

import pytest
from django.db import IntegrityError, transaction
from rest_framework.test import APIClient

from catalog import services
from catalog.models import KOREAN_NAMES, Category, Product
from shop.calls import connect
from shop.contracts.catalog import CatalogService, ProductSnapshot
from tests.support.fakes import Caller

pytestmark = pytest.mark.django_db(databases=["catalog"])

STAFF: Any = Caller(1, staff=True)
CUSTOMER: Any = Caller(2, staff=False)


def client_of(user: Any = None) -> APIClient:
    client = APIClient()
    if user:
        client.force_authenticate(user)
    return client


@pytest.fixture
def products() -> list[Product]:
    rows = [
        ("MacBook Pro 16", 3500000, "ELECTRONICS", "Apple", True),
        ("나이키 에어맥스", 159000, "FASHION", "Nike", True),
        ("Apple Watch", 550000, "ELECTRONICS", "Apple", True),
        ("클린 코드", 33000, "BOOK", "인사이트", True),
        ("Old thing", 1000, "ETC", "Apple", False),
    ]
    return [
        services.create_product(name=name, price=price, category=category, brand=brand, active=active)
        for name, price, category, brand, active in rows
    ]


def names(query: str) -> list[str]:
    answer = client_of().get(f"/api/v1/products{query}")
    assert answer.status_code == 200, answer.content
    return [product["name"] for product in answer.json()["results"]]


# --- Reading ----------------------------------------------------------------------------------------------------------
def test_a_product_as_the_contract_says(products):
    answer = client_of().get(f"/api/v1/products/{products[0].pk}")
    assert answer.headers["ETag"] == '"1"'
    body = answer.json()
    assert all(body.pop(name).endswith("Z") for name in ("createdAt", "updatedAt"))
    assert body == {
        "id": products[0].pk,
        "name": "MacBook Pro 16",
        "description": "",
        "price": 3500000,
        "currency": "KRW",
        "category": "ELECTRONICS",
        "categoryDisplayName": {"ko": "전자제품", "en": "Electronics"},
        "brand": "Apple",
        "imageUrl": "",
        "active": True,
    }


def test_every_category_has_both_names():
    assert set(KOREAN_NAMES) == set(Category)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["MacBook Pro 16", "나이키 에어맥스", "Apple Watch", "클린 코드"]),
        ("?category=ELECTRONICS", ["MacBook Pro 16", "Apple Watch"]),
        ("?category=ELECTRONICS&maxPrice=1000000", ["Apple Watch"]),
        ("?brand=apple&minPrice=550001", ["MacBook Pro 16"]),
        ("?minPrice=33000&maxPrice=159000", ["나이키 에어맥스", "클린 코드"]),
        ("?search=apple", ["MacBook Pro 16", "Apple Watch"]),
        ("?search=에어", ["나이키 에어맥스"]),
        ("?search=100%25", []),
        ("?ordering=price", ["클린 코드", "나이키 에어맥스", "Apple Watch", "MacBook Pro 16"]),
        ("?ordering=-price&limit=2", ["MacBook Pro 16", "Apple Watch"]),
        ("?category=TOY", []),
    ],
)
def test_filters_combine(products, query, expected):
    assert names(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "?category=CARS",
        "?minPrice=cheap",
        "?minPrice=-1",
        "?minPrice=²",
        "?maxPrice=99999999999999999999",
        "?maxPrice=" + "9" * 4000,
        "?maxPrice=1e400",
        "?ordering=brand",
        "?ordering=price,-price",
        "?category=",
        "?minPrice=",
        "?ordering=",
        "?minPrice=1&minPrice=2",
        "?limit=1&limit=2",
        "?limit=0",
        "?limit=101",
        "?limit=²",
        "?cursor=abc",
        "?search=%00",
        "?search=" + "x" * 201,
    ],
)
def test_what_cannot_be_read_is_refused(products, query):
    answer = client_of().get(f"/api/v1/products{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "C002")


@pytest.mark.parametrize(
    ("query", "expected"),
    [("search={}", "클린"), ("brand={}", "인사이트"), ("search={}", " 클린 "), ("search={}", "코드")],
)
def test_korean_is_found_in_whichever_form_it_is_sent(products, query, expected):
    for form in ("NFC", "NFD"):
        assert names("?" + query.format(quote(normalize(form, expected)))) == ["클린 코드"]


def test_korean_is_kept_in_one_form():
    staff = client_of(STAFF)
    body = {
        "name": normalize("NFD", " 홍삼 "),
        "description": normalize("NFD", "한 줄\r\n두 줄"),
        "price": 1,
        "category": "FOOD",
    }
    kept = staff.post("/api/v1/products", body).json()
    assert (kept["name"], kept["description"]) == ("홍삼", "한 줄\n두 줄")


@pytest.mark.parametrize("key", ["0", "999", "-1", "²", "٣", "1.5", "9223372036854775808", "9" * 4000, "x", "%00"])
def test_no_such_product(products, key):
    assert client_of().get(f"/api/v1/products/{key}").status_code in ({400} if key == "%00" else {404})


def test_what_is_not_for_sale_exists_for_staff_only(products):
    path = f"/api/v1/products/{products[4].pk}"
    for client in (client_of(), client_of(CUSTOMER)):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "P001")
    assert client_of(STAFF).get(path).json()["active"] is False


def test_a_page_takes_one_statement(products, django_assert_num_queries):
    with django_assert_num_queries(1, using="catalog"):
        client_of().get("/api/v1/products?category=ELECTRONICS&ordering=price")


# --- Writing ----------------------------------------------------------------------------------------------------------
def test_staff_puts_a_product_up_for_sale():
    body = {"name": "Ball", "price": 5000, "category": "TOY", "imageUrl": "https://example.com/ball.png"}
    answer = client_of(STAFF).post("/api/v1/products", body)
    product = Product.objects.get()
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert answer.headers["Location"] == f"/api/v1/products/{product.pk}"
    assert answer.json()["imageUrl"] == "https://example.com/ball.png"
    assert (product.name, product.price, product.currency, product.active) == ("Ball", 5000, "KRW", True)


@pytest.mark.parametrize(("user", "status", "code"), [(None, 401, "C006"), (CUSTOMER, 403, "C005")])
def test_nobody_else_writes(products, user, status, code):
    client, path = client_of(user), f"/api/v1/products/{products[0].pk}"
    for answer in (
        client.post("/api/v1/products", {"name": "x", "price": 1}),
        client.patch(path, {"price": 1}, headers={"If-Match": "*"}),
        client.delete(path, headers={"If-Match": "*"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert Product.objects.filter(price=1).count() == 0
    assert Product.objects.filter(active=True).count() == 4


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"price": 0}, "P004", "price"),
        ({"price": -5}, "P004", "price"),
        ({"price": 2**63}, "C002", "price"),
        ({"price": 2**53}, "C002", "price"),
        ({"price": "500"}, "C002", "price"),
        ({"price": 1.5}, "C002", "price"),
        ({"price": True}, "C002", "price"),
        ({"price": None}, "C002", "price"),
        ({"name": 5}, "C002", "name"),
        ({"name": "x" * 201}, "C002", "name"),
        ({"name": " "}, "C002", "name"),
        ({"description": "x" * 2001}, "C002", "description"),
        ({"currency": "won"}, "C002", "currency"),
        ({"currency": "ZZZ"}, "C002", "currency"),
        ({"category": "CARS"}, "C002", "category"),
        ({"category": ["TOY"]}, "C002", "category"),
        ({"imageUrl": "javascript:alert(1)"}, "C002", "imageUrl"),
        ({"imageUrl": " "}, "C002", "imageUrl"),
        ({"currency": " KRW"}, "C002", "currency"),
        ({"active": "yes"}, "C002", "active"),
        ({"active": []}, "C002", "active"),
        ({"id": 7}, "C002", "id"),
        ({"image_url": ""}, "C002", "image_url"),
        ({"version": 7}, "C002", "version"),
    ],
)
def test_invalid_products_are_refused(change, code, field):
    answer = client_of(STAFF).post("/api/v1/products", {"name": "Ball", "price": 5000} | change)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert Product.objects.count() == 0


def test_a_change_needs_the_version_that_was_read(products):
    client, path = client_of(STAFF), f"/api/v1/products/{products[0].pk}"
    for if_match, status in (("", 428), ('"2"', 412), ('W/"1"', 412), ("1", 412), ('"²"', 412), ('"x"', 412)):
        answer = client.patch(path, {"price": 1}, headers={"If-Match": if_match} if if_match else {})
        assert (answer.status_code, answer.json()["code"]) == (status, "C002"), if_match
    assert Product.objects.get(pk=products[0].pk).price == 3500000

    answer = client.patch(path, {"price": 3400000}, headers={"If-Match": '"7", "1"'})
    assert (answer.status_code, answer.headers["ETag"], answer.json()["price"]) == (200, '"2"', 3400000)
    assert client.patch(path, {"price": 1}, headers={"If-Match": '"1"'}).status_code == 412
    assert client.patch(path, {"name": "Mac"}, headers={"If-Match": "*"}).headers["ETag"] == '"3"'


@pytest.mark.parametrize("change", [{}, {"active": True}, {"name": "MacBook Pro 16", "brand": "Apple"}])
def test_a_change_of_nothing_makes_no_version(products, change):
    client, path = client_of(STAFF), f"/api/v1/products/{products[0].pk}"
    before = client.get(path)
    after = client.patch(path, change, headers={"If-Match": before["ETag"]})
    assert (after.status_code, after["ETag"], after.json()) == (200, before["ETag"], before.json())
    assert client.patch(path, change, headers={"If-Match": '"99"'}).status_code == 412


def test_a_product_that_has_not_changed_is_not_sent_again(products):
    client, path = client_of(STAFF), f"/api/v1/products/{products[0].pk}"
    again = client.get(path, headers={"If-None-Match": '"1"'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"1"')
    client.patch(path, {"price": 1}, headers={"If-Match": '"1"'})
    assert client.get(path, headers={"If-None-Match": '"1"'}).status_code == 200
    page = client.get("/api/v1/products")
    assert client.get("/api/v1/products", headers={"If-None-Match": page.headers["ETag"]}).status_code == 304


def test_deleting_takes_off_sale(products):
    client, path = client_of(STAFF), f"/api/v1/products/{products[0].pk}"
    assert client.delete(path).status_code == 428
    assert client.delete(path, headers={"If-Match": '"1"'}).status_code == 204
    assert client_of().get(path).status_code == 404
    assert Product.objects.get(pk=products[0].pk).active is False
    assert client.patch(path, {"active": True}, headers={"If-Match": '"2"'}).json()["active"] is True


def test_changing_what_does_not_exist():
    answer = client_of(STAFF).patch("/api/v1/products/999", {"price": 1}, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (404, "P001")


def test_the_database_knows_no_product_for_nothing(products):
    with pytest.raises(IntegrityError, match="catalog_product_price_positive"), transaction.atomic(using="catalog"):
        Product.objects.filter(pk=products[0].pk).update(price=0)


# --- For the other services -------------------------------------------------------------------------------------------
def test_others_ask_for_snapshots(products, django_assert_num_queries):
    with django_assert_num_queries(1, using="catalog"):
        found = connect(CatalogService).get_products([products[3].pk, products[4].pk, 999])
    assert found == {
        products[3].pk: ProductSnapshot(id=products[3].pk, name="클린 코드", price=33000, currency="KRW", active=True),
        products[4].pk: ProductSnapshot(id=products[4].pk, name="Old thing", price=1000, currency="KRW", active=False),
    }


def test_seeding_twice_is_seeding_once():
    rows = [{"id": 1, "name": "One", "price": 100}, {"id": 10, "name": "Ten", "price": 1000}]
    assert services.seed_products(rows) == 2
    services.change_product(1, {"price": 150})
    assert services.seed_products(rows) == 0
    assert Product.objects.get(pk=1).price == 150
    assert services.create_product(name="Next", price=1).pk > 10


@pytest.mark.django_db(databases=["catalog", "accounts", "inventory"])
def test_the_admin_changes_products_through_the_service(products):
    from django.contrib.auth import get_user_model

    client = APIClient()
    client.force_login(get_user_model().objects.create_superuser("boss@example.com", "pass-word-9", name="Boss"))
    path = f"/admin/catalog/product/{products[0].pk}/change/"
    form = {
        "name": "MacBook",
        "price": 1,
        "currency": "KRW",
        "category": "ELECTRONICS",
        "brand": "Apple",
        "active": "on",
    }
    assert client.get("/admin/catalog/product/?q=mac").status_code == 200
    seen = client.get(path).context["adminform"].form["seen"].value()
    assert client.post(path, form | {"seen": seen}, format="multipart").status_code == 302
    changed = Product.objects.get(pk=products[0].pk)
    assert (changed.name, changed.price, changed.version) == ("MacBook", 1, 2)
    assert client.post("/admin/catalog/product/add/", form | {"name": "New"}, format="multipart").status_code == 302
    assert Product.objects.get(name="New").version == 1
    seen = client.get(path).context["adminform"].form["seen"].value()
    assert client.post(path, form | {"price": 0, "seen": seen}, format="multipart").status_code == 200
    assert Product.objects.get(pk=products[0].pk).price == 1
