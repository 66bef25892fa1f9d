"""Searching the catalogue: what is found, by which index, and how long searches are cancelled."""

from typing import Any
from urllib.parse import quote

import pytest
from django.db import connections
from rest_framework.test import APIClient

from catalog import search
from catalog.models import Product
from shop.api.throttles import Throttle

pytestmark = pytest.mark.django_db(databases=["catalog"])


@pytest.fixture
def products() -> None:
    texts = (("클린 코드", "인사이트", ""), ("MacBook Pro 16", "Apple", "The fast  one"), ("100% Juice", "", "a_b"))
    for name, brand, description in texts:
        Product.objects.create(name=name, brand=brand, description=description, price=1)
    Product.objects.create(name="클린 코더", price=1, active=False)


def found(text: str) -> list[str]:
    answer = APIClient().get(f"/api/v1/products?search={quote(text)}")
    assert answer.status_code == 200, answer.content
    return [one["name"] for one in answer.json()["results"]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("클린코드", ["클린 코드"]),
        ("클린 코드", ["클린 코드"]),
        ("린  코", ["클린 코드"]),
        ("코", ["클린 코드"]),
        ("macbookpro", ["MacBook Pro 16"]),
        ("FASTONE", ["MacBook Pro 16"]),
        ("pp", ["MacBook Pro 16"]),
        ("ce", ["100% Juice"]),
        ("0%", ["100% Juice"]),
        ("_", ["100% Juice"]),
        ("zz", []),
        ("코린클", []),  # its characters are there
        ("16apple", []),  # of two texts
        ("클린코더", []),  # not on sale
        ("", ["클린 코드", "MacBook Pro 16", "100% Juice"]),
    ],
)
def test_a_part_of_a_text_is_found_in_any_case_spaces_apart(products: None, text: str, names: list[str]):
    assert found(text) == names


@pytest.mark.parametrize("text", ["zz", "코드 없음", "q", "rare"])
def test_a_search_for_what_few_have_is_by_index(text: str):
    with connections["catalog"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO catalog_product"
            " (name, description, price, currency, category, brand, image_url, active, version, updated_at)"
            " SELECT 'Product ' || n, 'Something 클린 코드', 1, 'KRW', 'ETC', '', '', true, 1, now()"
            " FROM generate_series(1, 1000) AS n"
        )
        cursor.execute("ANALYZE catalog_product")
    plan = search.matching(Product.objects.filter(active=True), text).order_by("pk")[:21].explain()
    assert "catalog_product_grams" in plan


@pytest.mark.parametrize(("ordering", "index"), [("sort_name", "name"), ("created_at", "created"), ("price", "price")])
def test_every_order_of_the_list_has_its_index(ordering: str, index: str):
    for sign in ("", "-"):
        plan = Product.objects.order_by(f"{sign}{ordering}", f"{sign}pk")[:21].explain()
        assert f"catalog_product_{index}_idx" in plan
    assert "catalog_product_brand_idx" in Product.objects.filter(brand__iexact="apple").explain()


def test_small_letters_and_capitals_are_sorted_alike():
    for name in ("banana", "Cherry", "apple", "Apple"):
        Product.objects.create(name=name, price=1)
    names, path = [], "/api/v1/products?ordering=name&limit=1"
    while path:
        answer = APIClient().get(path).json()
        names += [one["name"] for one in answer["results"]]
        path = answer["next"]
    assert names == ["apple", "Apple", "banana", "Cherry"]


@pytest.mark.django_db(databases=["catalog"], transaction=True)
def test_a_search_that_takes_too_long_is_given_up_and_no_other_statement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "TIMEOUT", 50)
    with connections["catalog"].copy().cursor() as elsewhere:
        elsewhere.execute("BEGIN; LOCK TABLE catalog_product")
        try:
            answer = APIClient().get("/api/v1/products?search=zz")
        finally:
            elsewhere.execute("ROLLBACK")
            elsewhere.connection.close()
    assert (answer.status_code, answer.json()["code"]) == (503, "C008")
    with connections["catalog"].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("30s",)


@pytest.fixture
def throttled(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.THROTTLES = {**settings.THROTTLES, "searches": 2}
    monkeypatch.setattr(Throttle, "leases", {})
    monkeypatch.setattr(Throttle, "ask_again_at", 0.0)


def test_searches_are_throttled_and_nothing_else_of_the_catalogue(throttled: None):
    ask = APIClient(REMOTE_ADDR="203.0.113.201")
    answers = [ask.get("/api/v1/products?search=zz") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert ask.get("/api/v1/products?category=BOOK").status_code == 200
    assert APIClient(REMOTE_ADDR="203.0.113.202").get("/api/v1/products?search=zz").status_code == 200
