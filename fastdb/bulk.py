"""Many rows in one statement: for steps, for which Django's ORM is too slow.

Values travel as one array per column (`unnest`), rows as dicts by field name: for a hundred payments that takes a tenth
of the time of `bulk_create`, which makes an instance per row and an expression per value.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from django.db import connections, router
from django.db.models import AutoField, BigAutoField, Field, JSONField, Model
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from sagas.db.prepared import json_lines, query

Row = Mapping[str, Any]  # {field: value}; a foreign key by its column's name, e.g. "order_id"


def insert_rows(
    model: type[Model], rows: Iterable[Row], *, then: str = "", around: str = "{}"
) -> list[tuple[Any, ...]]:
    """INSERT all rows in one statement; `then` is appended to it (ON CONFLICT, RETURNING). Returns the RETURNING rows.

    `around` is a statement of which that is a part ("WITH new AS ({}) …"); then its rows are returned.
    All rows name the same fields; the other fields get their defaults.
    """
    return _insert(model, list(rows), then, around=around)


def insert_if_absent(model: type[Model], rows: Iterable[Row], *, key: str) -> dict[Any, Any]:
    """INSERT … ON CONFLICT (key) DO NOTHING for all rows in one statement, in the order of their keys.

    Returns {key: primary key} of the rows that are new. A row whose key is taken, perhaps by a transaction that commits
    while this one waits for it, is not in the result: the first writer has won.
    """
    ordered = sorted(rows, key=lambda row: row[key])  # the same order everywhere, so that inserts cannot deadlock
    return dict(_insert(model, ordered, "ON CONFLICT ({key}) DO NOTHING RETURNING {key}, {pk}", key))


def update_rows(objects: Iterable[Model], *fields: str) -> None:
    """Write these fields of all objects back, in one statement. Nothing else is changed, not even `auto_now` fields."""
    found = list(objects)
    if not found:
        return
    model = type(found[0])
    statement, columns = _update_statement(model, fields)
    query(_home(model), statement, [column.texts([getattr(one, column.name) for one in found]) for column in columns])


class _Column(NamedTuple):
    """A field whose values travel as one array per column."""

    name: str
    sql: str  # quoted
    type: str
    is_json: bool

    @property
    def unnested(self) -> str:
        """SQL for a parameter with all its values, as rows."""
        return f"string_to_table(%s, chr(10))::{self.type}" if self.is_json else f"unnest(%s::{self.type}[])"

    @property
    def joined(self) -> str:
        """The same for looking up rows by the values: the planner estimates ten rows for this, but a thousand for
        `string_to_table`, for which it would read the whole table."""
        return f"unnest(%s::text[])::{self.type}" if self.is_json else self.unnested

    def texts(self, values: list[Any]) -> list[Any]:
        """The parameter of `joined` for these values. In a column of JSON, None is SQL's NULL."""
        return (
            [None if one is None else msgspec.json.encode(one).decode() for one in values] if self.is_json else values
        )

    def of(self, values: list[Any]) -> Any:
        """The parameter for these values. In a column of JSON, None is JSON's null."""
        return json_lines(values) if self.is_json else values


def _insert(
    model: type[Model], rows: Sequence[Row], suffix: str, key: str = "", around: str = "{}"
) -> list[tuple[Any, ...]]:
    """INSERT rows; return the RETURNING rows."""
    if not rows:
        return []
    statement, columns, constants = _insert_statement(model, tuple(rows[0]), suffix, key)
    values: list[Any] = [column.of([row[column.name] for row in rows]) for column in columns]
    return query(_home(model), around.format(statement), [*(value() for value in constants), *values])


@lru_cache(maxsize=256)
def _insert_statement(
    model: type[Model], names: tuple[str, ...], suffix: str, key: str
) -> tuple[str, list[_Column], list[Any]]:
    """Return the statement, its columns, and functions for the values of columns that the rows do not name."""
    meta, quote = model._meta, connections[_home(model)].ops.quote_name
    fields = {field.attname: field for field in meta.concrete_fields}
    given = [_column(fields[name]) for name in names]
    rest = {
        field: value
        for field in meta.concrete_fields
        if field.attname not in names and (value := _default_of(field)) is not None
    }
    own = [_column(field) for field in rest]
    returned = {"key": _column(meta.get_field(key)).sql, "pk": _column(meta.pk).sql} if key else {}
    statement = (
        f"INSERT INTO {quote(meta.db_table)} ({', '.join(column.sql for column in (*own, *given))}) "
        f"SELECT {', '.join((*(f'%s::{column.type}' for column in own), *(column.unnested for column in given)))} "
        f"{suffix.format(**returned) if key else suffix}"
    )
    return statement, given, list(rest.values())


def _default_of(field: "Field[Any, Any]") -> Any:
    """Return a function for the default that Django would fill in; None if the database does, or if it is NULL."""
    if isinstance(field, AutoField | BigAutoField) or field.db_default is not NOT_PROVIDED:
        return None
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return timezone.now
    if field.null and not field.has_default():
        return None
    if isinstance(field, JSONField):
        return lambda: msgspec.json.encode(field.get_default()).decode()
    return field.get_default


@lru_cache(maxsize=64)
def _update_statement(model: type[Model], fields: tuple[str, ...]) -> tuple[str, list[_Column]]:
    meta, quote = model._meta, connections[_home(model)].ops.quote_name
    pk, *columns = [_column(field) for field in (meta.pk, *map(meta.get_field, fields))]
    statement = (
        f"UPDATE {quote(meta.db_table)} AS old SET {', '.join(f'{one.sql} = new.{one.sql}' for one in columns)} "  # noqa: S608
        f"FROM (SELECT {', '.join(f'{one.joined} AS {one.sql}' for one in (pk, *columns))}) AS new "
        f"WHERE old.{pk.sql} = new.{pk.sql}"
    )
    return statement, [pk, *columns]


@lru_cache(maxsize=512)
def _column(field: "Field[Any, Any]") -> _Column:
    connection = connections[_home(field.model)]
    kind = str(field.db_type(connection)).partition("(")[0]  # without a length: the table refuses what is too long
    return _Column(field.attname, connection.ops.quote_name(str(field.column)), kind, isinstance(field, JSONField))


def _home(model: type[Model]) -> str:
    return router.db_for_write(model)
