"""Pages by position (`shop.api.pagination`), on the catalogue: forwards and backwards, over equal prices."""

import pytest
from rest_framework.test import APIClient

from catalog.models import Product

pytestmark = pytest.mark.django_db(databases=["catalog"])


@pytest.fixture(autouse=True)
def _products() -> None:
    # Prices 1 1 1 2 2 2 3: pages of two begin and end amid equals.
    Product.objects.bulk_create(Product(name=f"P{number}", price=1 + number // 3) for number in range(7))


def walk(address: str | None, way: str) -> list[list[str]]:
    """Return the names on each page, starting at a URL, and the last URL."""
    pages = []
    while address:
        answer = APIClient().get(address)
        assert answer.status_code == 200, answer.content
        pages.append([product["name"] for product in answer.json()["results"]])
        last, address = address, answer.json()[way]
        assert len(pages) < 10
    return [*pages, [last]]


@pytest.mark.parametrize(
    ("ordering", "order"),
    [
        ("id", "0123456"),
        ("-id", "6543210"),
        ("price", "0123456"),
        ("-price", "6543210"),
        ("createdAt", "0123456"),
        ("-createdAt", "6543210"),
        ("name", "0123456"),
    ],
)
def test_every_row_once_forwards_and_backwards(ordering, order):
    expected = [[f"P{digit}" for digit in order[start : start + 2]] for start in range(0, 7, 2)]
    *pages, (last,) = walk(f"/api/v1/products?limit=2&ordering={ordering}", "next")
    assert pages == expected
    *pages, (first,) = walk(last, "previous")
    assert pages == expected[::-1]
    *pages, _ = walk(first, "next")
    assert pages == expected


def test_rows_that_come_and_go_move_nothing():
    answer = APIClient().get("/api/v1/products?limit=3").json()
    Product.objects.filter(name="P0").delete()
    Product.objects.create(name="new", price=1)
    *pages, _ = walk(answer["next"], "next")
    assert pages == [["P3", "P4", "P5"], ["P6", "new"]]


@pytest.mark.parametrize("ordering", ["id", "-id", "price", "-price", "name"])
def test_a_page_whose_rows_are_gone_leads_back(ordering):
    address = f"/api/v1/products?limit=2&ordering={ordering}"
    *pages, (last,) = walk(address, "next")
    Product.objects.filter(name__in=pages[-1]).delete()
    emptied = APIClient().get(last).json()
    assert (emptied["results"], emptied["next"]) == ([], None)
    *back, _ = walk(emptied["previous"], "previous")
    assert back == pages[-2::-1]

    second = APIClient().get(address).json()["next"]
    first = APIClient().get(second).json()["previous"]
    Product.objects.filter(name__in=pages[0]).delete()
    emptied = APIClient().get(first).json()
    assert (emptied["results"], emptied["previous"]) == ([], None)
    *forward, _ = walk(emptied["next"], "next")
    assert forward == pages[1:-1]


def test_a_list_of_which_nothing_is_left_ends_either_way():
    second = APIClient().get("/api/v1/products?limit=2").json()["next"]
    Product.objects.all().delete()
    for way in ("next", "previous"):
        assert set(map(tuple, walk(second, way)[:-1])) == {()}


def test_a_cursor_is_of_one_order_and_not_for_writing():
    address = APIClient().get("/api/v1/products?limit=2&ordering=price").json()["next"]
    for spoilt in (address.replace("ordering=price", "ordering=-price"), address.replace("cursor=", "cursor=x")):
        answer = APIClient().get(spoilt)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "cursor")


def test_an_empty_list():
    Product.objects.all().delete()
    assert APIClient().get("/api/v1/products").json() == {"next": None, "previous": None, "results": []}


def test_filters_stay_in_the_links():
    answer = APIClient().get("/api/v1/products?limit=1&minPrice=2&maxPrice=2").json()
    *pages, _ = walk(answer["next"], "next")
    assert pages == [["P4"], ["P5"]]
