"""Reads rows of the services' tables, as dicts, by prepared statements.

An audit of few orders, as tests make after each scenario, is mostly its hundred statements: Django's ORM would take
several times as long to write each as PostgreSQL to answer it.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from django.apps import apps
from django.db import connections

from sagas.db.prepared import query
from sagas.registry import local_services

Row = dict[str, Any]  # by attribute of the model: a foreign key is "order_id"

LEAST, GREATEST = -(2**63), 2**63 - 1  # that an id can be

PAGE = "SELECT id FROM {table} WHERE id >= %s ORDER BY id OFFSET %s LIMIT 1"
MENTIONED = """
    SELECT DISTINCT 'handled', correlation_id FROM {service}_inbox
    WHERE correlation_id BETWEEN %(first)s AND %(last)s AND (event_type = ANY(%(types)s::text[])) = %(among)s
    UNION ALL
    SELECT DISTINCT 'emitted', correlation_id FROM {service}_outbox
    WHERE correlation_id BETWEEN %(first)s AND %(last)s AND (event_type = ANY(%(types)s::text[])) = %(among)s
"""


class Range(NamedTuple):
    """Of ids, from the first to the last."""

    first: int
    last: int


def ranges(label: str, size: int) -> Iterator[Range]:
    """Ranges of ids, with `size` rows of a model in each, that cover all that there can be."""
    meta, first = apps.get_model(label)._meta, LEAST
    while found := query(meta.app_label, PAGE.format(table=meta.db_table), [first, size - 1]):
        ((last,),) = found
        yield Range(first, last)
        first = last + 1
    yield Range(first, GREATEST)


def rows_within(bounds: Range, label: str, field: str = "order_id") -> list[Row]:
    """The rows of a model whose field is in a range, in the order of their ids."""
    return _rows(label, field, "{column} BETWEEN %s AND %s", bounds)


def rows_of(keys: Collection[Any], label: str, field: str = "order_id") -> list[Row]:
    """The rows of a model whose field is one of these keys, in the order of their ids."""
    return _rows(label, field, "{column} = ANY(%s::{type}[])", [list(keys)]) if keys else []


def mentioned(bounds: Range, types: Sequence[str], *, among: bool) -> dict[str, set[int]]:
    """The keys, within a range, that messages are about, by what has happened to them and where. Only events of these
    types count, or with `among` False all others."""
    found: dict[str, set[int]] = {}
    parameters = {**bounds._asdict(), "types": list(types), "among": among}
    for service in local_services():
        for how, key in query(service, MENTIONED.format(service=service), parameters):
            found.setdefault(f"event {how} by {service}", set()).add(key)
    return found


def _rows(label: str, field: str, condition: str, parameters: Sequence[Any]) -> list[Row]:
    service, names, statement = _select(label, field, condition)
    rows = [dict(zip(names, row, strict=True)) for row in query(service, statement, parameters)]
    return sorted(rows, key=lambda row: row["id"])  # here: PostgreSQL might read all in this order, and pick


@cache
def _select(label: str, field: str, condition: str) -> tuple[str, list[str], str]:
    """Return a statement with its database and the names of its columns."""
    meta = apps.get_model(label)._meta
    quote = connections[meta.app_label].ops.quote_name
    by = meta.get_field(field)
    where = condition.format(column=quote(by.column), type=by.db_type(connections[meta.app_label]))
    columns = ", ".join(quote(one.column) for one in meta.concrete_fields)
    statement = f"SELECT {columns} FROM {quote(meta.db_table)} WHERE {where}"  # noqa: S608
    return meta.app_label, [one.attname for one in meta.concrete_fields], statement
