"""Finished orders by the hundred thousand: copies of a few that went all the way, made by the database."""

import time
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import AutoField, BigAutoField, CharField, Field, ForeignKey, Model, UniqueConstraint, UUIDField

from benchmarks.surroundings import QUEUES, Unfit

NOT_OF_ORDERS = {"StockItem", "SandboxSwitch", "DeadLetter", "IdempotencyKey"}
STRIDE = 10_000_000  # more than there are ids in the tables that are copied
PATIENCE = 60  # seconds
PORTION = 200  # copies of everything in one statement
LONG_AGO = 1_700_000_000_000  # the milliseconds in the ids of old events


def end(samples: Sequence[int]) -> None:
    """Have the carriers deliver and the mails go out, as timers do, until these orders have ended.

    Relay and workers must run. What `orders.look_after` leaves of an ended order is left of them.
    """
    from shop.messaging.steps import SWEEPS

    give_up_at = time.monotonic() + PATIENCE
    finished = apps.get_model("orders", "Order").objects.filter(pk__in=samples, status="COMPLETED")
    unsent = apps.get_model("notifications", "Notification").objects.filter(status="PENDING")
    while finished.count() < len(samples) or unsent.exists():
        if time.monotonic() > give_up_at:
            raise Unfit(
                f"Of the {len(samples)} orders that history is made of {finished.count()} have ended, "
                f"and {unsent.count()} mails are unsent."
            )
        for sweep in ("delivery.advance_deliveries", "notifications.send_pending"):
            SWEEPS[sweep]()
        time.sleep(0.1)
    finished.update(look_at=None)


def grow(copied: int, until: int) -> None:
    """Copy everything that belongs to orders, from the copy after number `copied` until number `until`.

    Ids of copies are negative: they lie before those of new rows in every index, as old ones do.
    """
    for service in QUEUES:
        for model in apps.get_app_config(service).get_models():
            if model.__name__ not in NOT_OF_ORDERS:
                statement = _copy(model)
                with connections[service].cursor() as cursor:
                    cursor.execute("SET statement_timeout = 0")
                    for first in range(copied + 1, until + 1, PORTION):
                        cursor.execute(statement, {"first": first, "last": min(first + PORTION - 1, until)})
        with connections[service].cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")  # as it would have been done long ago
            cursor.execute("CHECKPOINT")


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
    originals = " AND ".join(f"old.{field.column} >= 0" for field in fields if _counts(field)) or "true"
    if model.__name__ in ("GatewayLedger", "SandboxRequest"):  # have no number of an order: the copies are told by
        originals += " AND length(old.key) <> 32"  # their keys, which are digests
    return (
        f"INSERT INTO {meta.db_table} ({columns}) SELECT {values} "
        f"FROM {meta.db_table} old, generate_series(%(first)s::bigint, %(last)s::bigint) AS copy (number) "
        f"WHERE {originals}"
    )


def _value(field: Field, once: set[str]) -> str:
    """A column of a copy: numbers of rows and orders move, what must be unique becomes so, the rest stays."""
    column = f"old.{field.column}"
    if _counts(field):
        return f"{column} - copy.number * {STRIDE}"
    if isinstance(field, UUIDField):
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
    """Whether it holds the number of a row or of an order."""
    return isinstance(field, AutoField | BigAutoField | ForeignKey) or field.column == "order_id"


def answer(samples: Sequence[int], what: str, *arguments: str) -> Any:
    """What `benchmarks.load` answers to the lines `end` and `history FROM UNTIL`."""
    if what == "end":
        end(samples)
    else:
        grow(*map(int, arguments))
    return ""
