"""Prepared querysets: the rows that the queryset gives, and its SQL made once."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Count
from django.test import Client

from catalog.models import Product
from orders.models import Outbox
from shop.api.prepared import Prepared

pytestmark = pytest.mark.django_db(databases=["catalog"])


@pytest.fixture
def products() -> list[Product]:
    return Product.objects.bulk_create(Product(name=f"Product {n}", price=100 * n, category="BOOK") for n in (1, 2, 3))


def test_the_rows_of_each_argument(products: list[Product]):
    made = []

    def cheaper(price: int, product_id: int):
        made.append(1)
        return Product.objects.filter(active=True, price__lt=price).exclude(pk=product_id).order_by("-price")

    prepared = Prepared(cheaper)

    for price, product_id in ((301, products[1].pk), (200, 0), (1, 0)):
        expected = list(cheaper(price, product_id))
        made.clear()
        assert prepared(price=price, product_id=product_id) == expected
        assert [vars(one).keys() for one in prepared(price=price, product_id=product_id)] == [
            vars(one).keys() for one in expected
        ]
    assert made == []


def test_a_row_can_be_changed_and_saved(products: list[Product]):
    (product,) = Prepared(lambda product_id: Product.objects.filter(pk=product_id))(product_id=products[0].pk)

    product.name = "Another"
    product.save(update_fields=["name"])

    products[0].refresh_from_db()
    assert products[0].name == "Another"


@pytest.mark.parametrize(
    "queryset",
    [
        lambda: Product.objects.annotate(number=Count("pk")),
        lambda: Product.objects.only("name"),
        lambda: Outbox.objects.all(),  # its JSON would have to be read
    ],
)
def test_more_or_less_than_rows_is_refused(queryset):
    with pytest.raises(ImproperlyConfigured):
        Prepared(queryset)()


def test_the_first_page_of_a_list_is_as_any_other(products: list[Product]):
    Product.objects.filter(pk=products[1].pk).update(active=False)

    def shown(query: str) -> list[int]:
        return [one["id"] for one in Client().get(f"/api/v1/products{query}").json()["results"]]

    first, _, last = (product.pk for product in products)
    for _ in range(2):
        assert shown("") == shown("?ordering=id") == [first, last]
        assert shown("?ordering=-price") == [last, first]
        assert shown("?limit=1") == [first]
        assert shown("?limit=1&ordering=-id") == [last]
        assert shown("?category=FOOD") == shown("?search=nothing") == []
    Product.objects.filter(pk=first).update(active=False)
    assert shown("") == [last]
