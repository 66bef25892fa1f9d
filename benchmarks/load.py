"""Orders by the thousand, and what has become of them.

One order of each product is placed as a customer would. The rest are copies of its rows, made by the database in one
statement, so that making load takes next to nothing from what is measured.
"""

from dataclasses import dataclass

import django
from django.apps import apps
from django.db import connections

from benchmarks.surroundings import QUEUES, Unfit

PRODUCTS = 100
CUSTOMERS = 50
PIECES = 10_000_000  # of each product

# Where the end of a saga shows: a row for every order, with its time.
ENDS = {
    "orders": ("orders_timelineentry", "at", "status = 'DELIVERY_STARTED'"),
    "inventory": ("inventory_inbox", "handled_at", "step = 'inventory.ship_stock'"),
    "notifications": ("notifications_inbox", "handled_at", "event_type = 'DeliveryStarted'"),
}
ARRIVED = (
    "SELECT count(*), extract(epoch FROM max({time})) FROM {table} WHERE {condition} AND order_id BETWEEN %s AND %s"
)
LATENCY = """
    SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
        ORDER BY 1000 * extract(epoch FROM shipped.at - placed.created_at)
    )
    FROM orders_order placed JOIN orders_timelineentry shipped ON shipped.order_id = placed.id
    WHERE shipped.status = 'DELIVERY_STARTED' AND placed.id BETWEEN %s AND %s
"""
# A version 7 UUID, as events have: new rows go to the index's end.
UUID7 = """(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid"""


@dataclass(frozen=True)
class Orders:
    """Orders placed together: their ids from first to last, and the database's time after their commit, in seconds."""

    first: int
    last: int
    committed_at: float

    def __len__(self) -> int:
        return self.last - self.first + 1


class Load:
    """The shop's customers, all of them."""

    def __init__(self) -> None:
        django.setup()
        _place_samples()
        self._copy = _copy_statement()

    def place(self, count: int) -> Orders:
        """Commit that many orders at once, spread evenly over the products."""
        with connections["orders"].cursor() as cursor:
            cursor.execute(self._copy, {"count": count, "samples": PRODUCTS})
            first, last = cursor.fetchone()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            return Orders(first, last, float(cursor.fetchone()[0]))

    def done(self, orders: Orders) -> tuple[int, float]:
        """How many of these sagas are through, and when the latest of them was."""
        counts, times = [], []
        for service, (table, at, condition) in ENDS.items():
            with connections[service].cursor() as cursor:
                cursor.execute(ARRIVED.format(table=table, time=at, condition=condition), [orders.first, orders.last])
                count, latest = cursor.fetchone()
            counts.append(count)
            times.append(float(latest or 0))
        return min(counts), max(times)

    def latency(self, orders: Orders) -> tuple[float, float]:
        """Median and 95th percentile, in milliseconds, from when an order was placed until its delivery has started."""
        with connections["orders"].cursor() as cursor:
            cursor.execute(LATENCY, [orders.first, orders.last])
            ((p50, p95),) = cursor.fetchone()
        return float(p50), float(p95)

    def must_be_clean(self) -> None:
        """Raises `Unfit` when something was cancelled or dead-lettered: then it was not the happy path we measured."""
        for service in QUEUES:
            letter = apps.get_model(service, "DeadLetter").objects.using(service).first()
            if letter:
                raise Unfit(f"{letter}: {letter.error}")
        order = apps.get_model("orders", "Order").objects.filter(status__in=["CANCELLING", "CANCELLED"]).first()
        if order:
            raise Unfit(f"{order}: {order.cancellation_reason}")


def _place_samples() -> None:
    """Products, stock, customers, and one order of each product, through the services' own functions."""
    from django.contrib.auth import get_user_model

    from catalog.models import Product
    from inventory.services import seed_stock
    from orders.services import place_order
    from shop.contracts.events import Line

    products = Product.objects.bulk_create(
        Product(name=f"Product {number}", description="", price=33000, currency="KRW", category="BOOK", brand="Bench")
        for number in range(PRODUCTS)
    )
    seed_stock({product.pk: PIECES for product in products})
    user = get_user_model()
    customers = user.objects.bulk_create(
        user(
            email=f"bench{number}@example.com",
            password="!",
            name=f"Customer {number}",
            phone=f"010-0000-{number:04}",
            language=("ko", "en")[number % 2],
        )
        for number in range(CUSTOMERS)
    )
    for number, product in enumerate(products):
        place_order(
            user_id=customers[number % CUSTOMERS].pk,
            lines=[Line(product_id=product.pk, quantity=1)],
            address="서울특별시 중구 세종대로 110",
        )


def _copy_statement() -> str:
    """SQL that copies the sample orders, as they are now, `count` times in all.

    The samples' rows are kept in temporary tables; their own events are not sent, so they stay as they are.
    """
    parts = []
    with connections["orders"].cursor() as cursor:
        for model, fresh in {
            "Order": {"id": "new.id", "created_at": "clock_timestamp()"},
            "OrderLine": {"order_id": "new.id"},
            "TimelineEntry": {"order_id": "new.id", "at": "clock_timestamp()"},
            "Outbox": {
                "order_id": "new.id",
                "event_id": "new.event_id",
                "payload": "sample.payload || jsonb_build_object('order_id', new.id, 'event_id', new.event_id)",
                "created_at": "clock_timestamp()",
            },
        }.items():
            meta = apps.get_model("orders", model)._meta
            table, owner = meta.db_table, "id" if model == "Order" else "order_id"
            columns = [field.column for field in meta.concrete_fields if not field.primary_key or model == "Order"]
            cursor.execute(
                f"CREATE TEMP TABLE sample_{table} AS "
                f"SELECT dense_rank() OVER (ORDER BY {owner}) AS sample, * FROM {table}"
            )
            parts.append(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {', '.join(fresh.get(column, 'sample.' + column) for column in columns)} "
                f"FROM new JOIN sample_{table} sample ON sample.sample = 1 + new.id %% %(samples)s"
            )
        cursor.execute("UPDATE orders_outbox SET published_at = clock_timestamp()")
    ids = "SELECT nextval(pg_get_serial_sequence('orders_order', 'id')) AS id FROM generate_series(1, %(count)s)"
    inserts = ", ".join(f"part{number} AS ({part})" for number, part in enumerate(parts))
    return (
        f"WITH ids AS MATERIALIZED ({ids}), new AS MATERIALIZED (SELECT id, {UUID7} AS event_id FROM ids), {inserts} "
        "SELECT min(id), max(id) FROM new"
    )
