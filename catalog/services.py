"""The rules of the catalogue, and the only code that writes products."""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from django.db import connections, transaction

from catalog.models import Product
from sagas.db.prepared import query
from shop import stafflog
from shop.api.problems import FieldError, Problem
from shop.contracts.catalog import ProductSnapshot


class UnknownProduct(Problem):
    """There is no such product."""

    code = "P001"


class InvalidPrice(Problem):
    """A price is a whole number above zero, in the currency's minor unit."""

    code = "P004"


class StaleVersion(Problem):
    """The product has changed since it was read. Read it again, and change that."""

    code = "C002"
    status_code = HTTPStatus.PRECONDITION_FAILED


def create_product(*, form: UUID | None = None, **fields: Any) -> Product:
    """Put a product up for sale, or return the one that this form has already created. Raises `InvalidPrice`."""
    return create_once(form or uuid4(), **fields)[0]


def create_once(form: UUID, **fields: Any) -> tuple[Product, bool]:
    """Like `create_product`; also whether the product is new."""
    _check_price(fields)
    with transaction.atomic(using="catalog"):
        product, is_new = Product.objects.get_or_create(form=form, defaults=fields)
        if is_new:
            stafflog.record("catalog", "create", f"product {product.pk}", after=fields)
    return product, is_new


def change_product(product_id: int, changes: Mapping[str, Any], *, expected: Collection[int] | None = None) -> Product:
    """Change some of a product's fields. `expected` are the versions that the change is meant for; None for any.

    A change that changes no value leaves the version as it is.

    Raises `UnknownProduct`, `StaleVersion`, `InvalidPrice`.
    """
    _check_price(changes)
    with transaction.atomic(using="catalog"):  # not durable: the admin has a transaction of its own around this
        product = Product.objects.select_for_update().filter(pk=product_id).first()
        if product is None:
            raise UnknownProduct(f"There is no product {product_id}.")
        if expected is not None and product.version not in expected:
            raise StaleVersion
        changed = {name: value for name, value in changes.items() if getattr(product, name) != value}
        if changed:
            before = {name: getattr(product, name) for name in changed}
            for name, value in changed.items():
                setattr(product, name, value)
            product.version += 1
            product.save(update_fields=[*changed, "version", "updated_at"])
            stafflog.record("catalog", "change", f"product {product_id}", before=before, after=changed)
    return product


def change_prices(prices: Mapping[int, int], *, expected: Mapping[int, int]) -> None:
    """Give products these prices, all of them or none. `expected` is the version in which each was seen.

    Raises `UnknownProduct`, `StaleVersion`, `InvalidPrice`.
    """
    with transaction.atomic(using="catalog", durable=True):
        for product_id in sorted(prices):  # in a fixed order, so that concurrent changes cannot deadlock
            change_product(product_id, {"price": prices[product_id]}, expected=[expected[product_id]])


def _check_price(fields: Mapping[str, Any]) -> None:
    price = fields.get("price", 1)
    if price <= 0:
        reason = "A price must be above zero."
        raise InvalidPrice(errors=[FieldError(field="price", value=price, reason=reason)])


SNAPSHOT = ("id", "name", "price", "currency", "active")
SNAPSHOTS = f"SELECT {', '.join(SNAPSHOT)} FROM catalog_product WHERE id = ANY(%s)"  # noqa: S608 (names of our own)


class LocalCatalog:
    """`shop.contracts.catalog.CatalogService` on this service's own table."""

    def get_products(self, product_ids: Collection[int]) -> dict[int, ProductSnapshot]:
        rows = query("catalog", SNAPSHOTS, [list(set(product_ids))])
        return {row[0]: ProductSnapshot(**dict(zip(SNAPSHOT, row, strict=True))) for row in rows}


def seed_products(products: Sequence[Mapping[str, Any]]) -> int:
    """Insert products with the given ids unless they exist; return how many were inserted.

    Products created later get higher ids.
    """
    with transaction.atomic(using="catalog", durable=True):
        present = set(Product.objects.filter(pk__in=[one["id"] for one in products]).values_list("pk", flat=True))
        missing = [Product(**one) for one in products if one["id"] not in present]
        Product.objects.bulk_create(missing, ignore_conflicts=True)
        with connections["catalog"].cursor() as cursor:
            cursor.execute(
                "SELECT setval(seq, GREATEST((SELECT MAX(id) FROM catalog_product), nextval(seq) - 1, 1))"
                " FROM (SELECT pg_get_serial_sequence('catalog_product', 'id')::regclass AS seq) AS sequence"
            )
    return len(missing)
