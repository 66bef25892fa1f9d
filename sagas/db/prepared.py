"""Statements that Django's ORM cannot say, or says too slowly for a message: many rows in one statement, as columns.

Values travel as one array per column (`unnest`), rows as dicts by field name: for a hundred payments that takes a
tenth of the time of `bulk_create`, which makes an instance per row and an expression per value.

Every statement is prepared once per database session: to plan one takes PostgreSQL two to three times as long as to
execute it for a single event. docs/adr/0012-statements-are-prepared.md says what comes with that.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import AutoField, BigAutoField, Field, JSONField, Model
from django.db.models.fields import NOT_PROVIDED
from django.utils import timezone

from sagas.db.router import database_of

Row = Mapping[str, Any]  # {field: value}; a foreign key by its column's name, e.g. "order_id"


def query(database: str, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """Execute one statement on a service's database; the rows that it returns, if it is one that does.

    Its placeholders are psycopg2's. A list becomes an array, whose type the statement must tell (`%s::bigint[]`).
    """
    connection = connections[database]
    with connection.cursor() as cursor:
        name, keys = _prepared(connection, statement)
        values = [parameters[key] for key in keys]  # by name or by position
        marks = f"({', '.join(['%s'] * len(values))})" if values else ""
        cursor.execute(
            f"EXECUTE {name}{marks}", [array(value) if isinstance(value, list) else value for value in values]
        )
        return cursor.fetchall() if cursor.description else []


def array(values: list[Any]) -> str:
    """PostgreSQL's text form of an array of whole numbers, texts, booleans, UUIDs, times or None; of nothing else. For
    the server that is a single token, where psycopg2's ARRAY[…] is an expression of as many constants."""
    text = msgspec.json.encode(values).decode()
    if "\\" in text:  # JSON's escapes are not the array's, but for those of quotes and backslashes themselves
        text = f"[{', '.join(map(_array_item, values))}]"
    return f"{{{text[1:-1]}}}"


def _array_item(value: Any) -> str:
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


@dataclass
class _Session:
    """What a database session has prepared: each statement's name and its parameters' keys, and each name's text."""

    statements: dict[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)
    preparations: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)


_sessions: WeakKeyDictionary[Any, _Session] = WeakKeyDictionary()  # by psycopg2's connection
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?s|%%")
_TABLE = re.compile(r'(?:INTO|UPDATE|FROM) "?(\w+_\w+)')


def preparation(connection: BaseDatabaseWrapper, execute: str) -> str:
    """The PREPARE that an EXECUTE of this connection's session refers to; empty for another statement."""
    session = _sessions.get(connection.connection) or _Session()
    return session.preparations.get(execute.removeprefix("EXECUTE ").partition("(")[0], "")


def _prepared(connection: BaseDatabaseWrapper, statement: str) -> tuple[str, Sequence[Any]]:
    """The name under which the connection's session knows a statement, and its parameters' keys in their order."""
    session = _sessions.setdefault(connection.connection, _Session())
    if statement not in session.statements:
        text, keys = _numbered(statement)
        table = _TABLE.search(text)  # for who reads the name in a trace or in a log
        name = f"s{next(session.numbers)}_{table[1] if table else 'shop'}"  # never used again, whatever comes between
        session.preparations[name] = f"PREPARE {name} AS {text}"
        _say(connection, session.preparations[name])
        session.statements[statement] = name, keys
    return session.statements[statement]


def _say(connection: BaseDatabaseWrapper, command: str) -> None:
    """Past Django's cursor, so that what counts statements counts the same each time."""
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute(command)


@lru_cache(maxsize=512)
def _numbered(statement: str) -> tuple[str, Sequence[Any]]:
    """A statement with $1, $2, … for its placeholders, and their keys; a name that stands twice is one parameter."""
    keys: list[Any] = []

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        key = match[1] or len(keys)
        if key not in keys:
            keys.append(key)
        return f"${keys.index(key) + 1}"

    return _PLACEHOLDER.sub(number, statement), tuple(keys)


def insert_rows(model: type[Model], rows: Iterable[Row], *, then: str = "") -> list[tuple[Any, ...]]:
    """INSERT all rows in one statement, with what is to be said `then`, such as ON CONFLICT or RETURNING; returns what
    that returns. All rows name the same fields; the others get their defaults."""
    return _insert(model, list(rows), then)


def insert_if_absent(model: type[Model], rows: Iterable[Row], *, key: str) -> dict[Any, Any]:
    """INSERT … ON CONFLICT (key) DO NOTHING for all rows in one statement, in the order of their keys.

    Returns {key: primary key} of the rows that are new. A row whose key is taken, also by a transaction that commits
    while this one waits for it, is not in the answer: the first writer has won.
    """
    ordered = sorted(rows, key=lambda row: row[key])  # one order everywhere: no two inserts wait in a circle
    return dict(_insert(model, ordered, "ON CONFLICT ({key}) DO NOTHING RETURNING {key}, {pk}", key))


def update_rows(objects: Iterable[Model], *fields: str) -> None:
    """Write these fields of all objects back, in one statement. Nothing else is touched, no `auto_now` either."""
    found = list(objects)
    if not found:
        return
    model = type(found[0])
    statement, columns = _update_statement(model, fields)
    query(_home(model), statement, [column.of([getattr(one, column.name) for one in found]) for column in columns])


class TextualJSONField(JSONField):
    """JSON that PostgreSQL keeps as it was written (`json`) instead of taking it apart (`jsonb`): for what is written
    for every message, and read as a whole if ever."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        return value  # psycopg2 has read it already, as it does with json


class _Column(NamedTuple):
    """A field as a column of rows that travel by columns."""

    name: str
    sql: str  # quoted
    type: str
    is_json: bool

    @property
    def unnested(self) -> str:
        """SQL for a parameter with all its values, as rows."""
        return f"string_to_table(%s, chr(10))::{self.type}" if self.is_json else f"unnest(%s::{self.type}[])"

    def of(self, values: list[Any]) -> Any:
        """That parameter. In a column of JSON, None is JSON's null."""
        return json_lines(values) if self.is_json else values


def json_lines(values: Iterable[Any]) -> str:
    """JSON texts, each in a line of its own, which `string_to_table(%s, chr(10))::json` makes rows of: the server looks
    for the ends of lines only, where an array of JSON would have to be read twice."""
    return _json.encode_lines(values).decode().removesuffix("\n")


_json = msgspec.json.Encoder()


def _insert(model: type[Model], rows: Sequence[Row], suffix: str, key: str = "") -> list[tuple[Any, ...]]:
    """INSERT rows; what RETURNING returns."""
    if not rows:
        return []
    statement, columns, constants = _insert_statement(model, tuple(rows[0]), suffix, key)
    values: list[Any] = [column.of([row[column.name] for row in rows]) for column in columns]
    return query(_home(model), statement, [*(value() for value in constants), *values])


@lru_cache(maxsize=256)
def _insert_statement(model: type[Model], names: tuple[str, ...], suffix: str, key: str) -> tuple[str, list, list]:
    """The statement, its columns, and what gives the values of the columns that the rows do not name."""
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


def _default_of(field: Field) -> Any:
    """A function for the default that Django would fill in; None where the database does, or NULL will do."""
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
        f"FROM (SELECT {', '.join(f'{one.unnested} AS {one.sql}' for one in (pk, *columns))}) AS new "
        f"WHERE old.{pk.sql} = new.{pk.sql}"
    )
    return statement, [pk, *columns]


@lru_cache(maxsize=512)
def _column(field: Field) -> _Column:
    connection = connections[_home(field.model)]
    kind = str(field.db_type(connection)).partition("(")[0]  # without a length: the table refuses what is too long
    return _Column(field.attname, connection.ops.quote_name(str(field.column)), kind, isinstance(field, JSONField))


def _home(model: type[Model]) -> str:
    return database_of(model._meta.app_label)
