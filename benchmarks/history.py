"""Makes hundreds of thousands of finished orders: the database copies a few that completed."""

import time
from collections.abc import Iterator
from contextlib import suppress

from django.apps import apps
from django.db import ProgrammingError, connections
from django.db.models import AutoField, BigAutoField, CharField, Field, ForeignKey, Model, UniqueConstraint, UUIDField

from benchmarks.surroundings import QUEUES, Unfit

NOT_OF_ORDERS = {"Location", "StockItem", "SandboxSwitch", "DeadLetter", "IdempotencyKey"}
STRIDE = 10_000_000  # more than there are ids in the tables that are copied
PATIENCE = 60  # seconds
PORTION = 200  # copies per statement
LONG_AGO = 1_700_000_000_000  # the milliseconds in the ids of old events


def end() -> int:
    """Run the timers for deliveries and e-mails until all orders have ended; return their number.

    Relay and workers must run. The orders are then cleaned up like ended ones by `orders.look_after`, and their rows
    are kept aside: history is copied from these orders only.
    """
    from sagas.registry import TIMERS

    give_up_at = time.monotonic() + PATIENCE
    orders = apps.get_model("orders", "Order").objects.all()
    unsent = apps.get_model("notifications", "Notification").objects.filter(status="PENDING")
    while (unfinished := orders.exclude(status="COMPLETED")).exists() or unsent.exists():
        if time.monotonic() > give_up_at:
            raise Unfit(f"Of the orders that history is made of, {unfinished.count()} do not end.")
        for sweep in ("delivery.advance_deliveries", "notifications.send_pending"):
            TIMERS[sweep]()
        time.sleep(0.1)
    orders.update(look_at=None)
    for model in _of_orders():
        table = model._meta.db_table
        with connections[model._meta.app_label].cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE original_{table} AS SELECT * FROM {table}")
    return orders.count()


def grow(copies: int) -> None:
    """Make so many copies; then do the maintenance that would have happened long ago."""
    copy(copies)
    for service in QUEUES:
        with connections[service].cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")
            with suppress(ProgrammingError):  # not everybody may; then the server does it in its own time
                cursor.execute("CHECKPOINT")


def copy(copies: int) -> None:
    """Copy all rows of the original orders this many times.

    Ids of copies are negative, so that they precede those of new rows in every index, as old ids do.
    """
    for model in _of_orders():
        statement = _copy(model)
        with connections[model._meta.app_label].cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            for first in range(1, copies + 1, PORTION):
                cursor.execute(statement, {"first": first, "last": min(first + PORTION - 1, copies)})


def _of_orders() -> Iterator[type[Model]]:
    """Yield the models of the tables that grow with the orders."""
    for service in QUEUES:
        yield from (model for model in apps.get_app_config(service).get_models() if model.__name__ not in NOT_OF_ORDERS)


def _copy(model: type[Model]) -> str:
    meta = model._meta
    once = {
        name
        for constraint in meta.constraints
        if isinstance(constraint, UniqueConstraint)
        for name in constraint.fields
    }
    if len(meta.pk_fields) > 1:
        once |= {field.name for field in meta.pk_fields}
    fields = [field for field in meta.concrete_fields if field.column]
    columns = ", ".join(field.column for field in fields)
    values = ", ".join(_value(field, once) for field in fields)
    return (
        f"INSERT INTO {meta.db_table} ({columns}) SELECT {values} FROM original_{meta.db_table} old, "
        "generate_series(%(first)s::bigint, %(last)s::bigint) AS copy (number)"
    )


def _value(field: Field, once: set[str]) -> str:
    """Return the SQL of a copy's column: ids are shifted, unique values are changed, others are copied."""
    column = f"old.{field.column}"
    if _counts(field):
        return f"{column} - copy.number * {STRIDE}"
    if isinstance(field.target_field if isinstance(field, ForeignKey) else field, UUIDField):
        return (
            f"(lpad(to_hex({LONG_AGO} - copy.number), 12, '0') || substr(md5({column}::text || copy.number), 13))::uuid"
        )
    if (
        isinstance(field, CharField)
        and (field.unique or field.name in once)
        and field.max_length >= 32
        and not field.choices
    ):
        return column if field.name in ("gateway", "step", "kind") else f"md5({column} || ':' || copy.number)"
    return column


def _counts(field: Field) -> bool:
    """Whether a column holds the number of a row, of an order or of a return."""
    kind = field.target_field if isinstance(field, ForeignKey) else field
    return isinstance(kind, AutoField | BigAutoField) or field.column in ("order_id", "return_id", "correlation_id")


def answer(what: str, *arguments: str) -> object:
    """Answer the commands `end` and `history COPIES` of `benchmarks.load`."""
    if what == "end":
        return end()
    grow(*map(int, arguments))
    return ""
