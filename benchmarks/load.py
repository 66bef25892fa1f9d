"""Places orders by the thousand.

One order of each product is placed as a customer would. The rest are copies of its rows, made by the database in one
statement, so that generating load costs next to nothing.

As a program, it reads commands from standard input, and answers each line with a line of JSON.

    place COUNT                   [first id, last id, the database's time]
    samples PRODUCTS LINES HOT    other orders are copied from now on
    finish                        the samples' own sagas begin, too: [first id, last id, 0]
    customers                     [an access token, a product's id] for each of some customers
    check                         "", or what is wrong: dead letters, cancellations
    audit                         the same, and what the audit finds
    end                           how many orders there are; all have ended
    history COPIES                see benchmarks/history.py
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta

import django
from django.apps import apps
from django.db import connections
from django.utils import timezone

from benchmarks.surroundings import QUEUES, Unfit

PRODUCTS = 100
CUSTOMERS = 50
SAMPLES = 100  # orders that the others are copies of, at least
PIECES = 10_000_000  # stock of each product

# A version 7 UUID, as events have: new rows go to the index's end.
UUID7 = """(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid"""

# Sealed values are sealed for one order, so copies have plain ones.
UNSEALED = '{"payment_token": "tok_ok", "address": ""}'

SAMPLES_OUTBOX = "SELECT id FROM orders_outbox WHERE correlation_id = ANY(%s)"


class Load:
    """The load of all customers."""

    def __init__(self) -> None:
        self.sample()

    def sample(self, *, products: int = PRODUCTS, lines: int = 1, hot: float = 0.0) -> None:
        """Place new samples, from which orders are copied from now on: of this many products, with this many lines
        each; `hot` is the share of orders for the first product."""
        self.samples = _place_samples(products, lines, hot)
        self._copy = _copy_statement(self.samples)

    def place(self, count: int) -> tuple[int, int, float]:
        """Commit this many orders at once; return their first and last id, and the database's time afterwards."""
        with connections["orders"].cursor() as cursor:
            cursor.execute(self._copy, {"count": count, "samples": len(self.samples)})
            first, last = cursor.fetchone()
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            return first, last, float(cursor.fetchone()[0])

    def release_samples(self) -> None:
        """Start the sagas of the sample orders, too."""
        with connections["orders"].cursor() as cursor:
            cursor.execute(f"INSERT INTO orders_unsent (outbox_id) {SAMPLES_OUTBOX}", [self.samples])


def sign_in() -> list[tuple[str, int]]:
    """Return an access token and a product for each customer."""
    from django.contrib.auth import get_user_model

    from accounts.services import issue
    from catalog.models import Product

    products = Product.objects.order_by("pk").values_list("pk", flat=True)
    customers = get_user_model().objects.filter(email__startswith="bench").order_by("pk")
    return [(issue(customer).access, product) for customer, product in zip(customers, products, strict=False)]


def must_be_clean() -> None:
    """Raise `Unfit` if anything was cancelled or dead-lettered: then it was not the happy path."""
    for service in QUEUES:
        letter = apps.get_model(service, "DeadLetter").objects.using(service).first()
        if letter:
            raise Unfit(f"{letter}: {letter.error}")
    order = apps.get_model("orders", "Order").objects.filter(status__in=["CANCELLING", "CANCELLED"]).first()
    if order:
        raise Unfit(f"{order}: {order.cancellation_reason}")


def must_add_up() -> None:
    """Raise `Unfit` if the audit finds a violation, of orders at rest."""
    from audit import Violation, audit

    for found in audit(age=timedelta(seconds=1)):
        if isinstance(found, Violation):
            raise Unfit(f"The audit found {found.invariant}: {found.subject}: {found.detail}")


def _place_samples(products: int, lines: int, hot: float) -> list[int]:
    """Create products, stock, customers and the sample orders through the services' own functions."""
    from django.contrib.auth import get_user_model

    from catalog.models import Product
    from inventory.services import seed_stock
    from orders.placing import place_order
    from shop.contracts.events import Line

    offered = Product.objects.bulk_create(
        Product(name=f"Product {number}", description="", price=33000, currency="KRW", category="BOOK", brand="Bench")
        for number in range(max(products, lines))
    )
    seed_stock({product.pk: PIECES for product in offered})
    user = get_user_model()
    customers = user.objects.bulk_create(
        user(
            email=f"bench{offered[0].pk}-{number}@example.com",
            password="!",
            name=f"Customer {number}",
            language=("ko", "en")[number % 2],
            verified_at=timezone.now(),  # else they get no e-mail; without a phone they get no SMS, as plain Celery's
        )
        for number in range(CUSTOMERS)
    )
    samples = []
    for number in range(max(products, SAMPLES)):
        first = 0 if number % 100 < 100 * hot else number % products
        order = place_order(
            user_id=customers[number % CUSTOMERS].pk,
            lines=[Line(product_id=offered[(first + more) % len(offered)].pk, quantity=1) for more in range(lines)],
            address="서울특별시 중구 세종대로 110",
            payment_token="tok_ok",
        )
        samples.append(order.pk)
    return samples


def _copy_statement(samples: Sequence[int]) -> str:
    """Return SQL that makes `count` copies of the sample orders as they are now.

    The samples' rows are kept in temporary tables; their own events are not published, so they do not change.
    """
    parts = []
    with connections["orders"].cursor() as cursor:
        for model, fresh in {
            "Order": {"id": "new.id", "created_at": "clock_timestamp()"},
            "OrderLine": {"order_id": "new.id"},
            "TimelineEntry": {"order_id": "new.id", "at": "clock_timestamp()"},
            "Outbox": {
                "correlation_id": "new.id",
                "event_id": "new.event_id",
                "payload": f"(jsonb_set(sample.payload::jsonb, '{{checkout}}', sample.payload::jsonb->'checkout' || "
                f"'{UNSEALED}') || jsonb_build_object('order_id', new.id, 'event_id', new.event_id))::json",
                "created_at": "clock_timestamp()",
            },
        }.items():
            meta = apps.get_model("orders", model)._meta
            table, owner = meta.db_table, {"Order": "id", "Outbox": "correlation_id"}.get(model, "order_id")
            columns = [field.column for field in meta.concrete_fields if not field.primary_key or model == "Order"]
            cursor.execute(f"DROP TABLE IF EXISTS sample_{table}")
            cursor.execute(
                f"CREATE TEMP TABLE sample_{table} AS "
                f"SELECT dense_rank() OVER (ORDER BY {owner}) AS sample, * FROM {table} WHERE {owner} = ANY(%s)",
                [samples],
            )
            parts.append(
                f"INSERT INTO {table} ({', '.join(columns)}) "
                f"SELECT {', '.join(fresh.get(column, 'sample.' + column) for column in columns)} "
                f"FROM new JOIN sample_{table} sample ON sample.sample = 1 + new.id %% %(samples)s"
            )
        parts[-1] += " RETURNING id"
        parts.append(f"INSERT INTO orders_unsent (outbox_id) SELECT id FROM part{len(parts) - 1}")
        cursor.execute(f"DELETE FROM orders_unsent WHERE outbox_id IN ({SAMPLES_OUTBOX})", [samples])
    ids = "SELECT nextval(pg_get_serial_sequence('orders_order', 'id')) AS id FROM generate_series(1, %(count)s)"
    inserts = ", ".join(f"part{number} AS ({part})" for number, part in enumerate(parts))
    return (
        f"WITH ids AS MATERIALIZED ({ids}), new AS MATERIALIZED (SELECT id, {UUID7} AS event_id FROM ids), {inserts} "
        "SELECT min(id), max(id) FROM new"
    )


def answer(load: Load, what: str, *arguments: str) -> object:
    """Answer one command."""
    match what:
        case "place":
            return load.place(int(arguments[0]))
        case "finish":
            load.release_samples()
            return load.samples[0], load.samples[-1], 0.0
        case "customers":
            return sign_in()
        case "samples":
            products, lines, hot = arguments
            load.sample(products=int(products), lines=int(lines), hot=float(hot))
            return ""
        case "check" | "audit":
            try:
                must_be_clean()
                if what == "audit":
                    must_add_up()
            except Unfit as unfit:
                return str(unfit)
            return ""
    return history.answer(what, *arguments)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    import shop.celery  # noqa: F401 (registers the steps and timers)
    from benchmarks import history

    answers, sys.stdout = sys.stdout, sys.stderr  # other output, such as that of SMS senders, is not an answer
    load = Load()
    for line in sys.stdin:
        print(json.dumps(answer(load, *line.split())), file=answers, flush=True)
