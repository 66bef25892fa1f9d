"""Statements of our own SQL, each prepared once per database session.

To plan a statement takes PostgreSQL two to three times as long as to execute it for a single event. Plans are made once
and kept, so the database must plan by index even while a table is empty: connect with `-c enable_seqscan=off` and
`-c plan_cache_mode=force_generic_plan`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


def query(database: str, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
    """Execute one statement on a service's database; the rows that it returns, if it is one that does.

    Its placeholders are psycopg2's. A list becomes an array, whose type the statement must name (`%s::bigint[]`).
    """
    connection = connections[database]
    with connection.cursor() as cursor:
        name, keys = _prepared(connection, statement)
        values = [array(one) if isinstance(one, list) else one for one in (parameters[key] for key in keys)]
        marks = f"({', '.join(['%s'] * len(values))})" if values else ""
        cursor.execute(f"EXECUTE {name}{marks}", values)
        return cursor.fetchall() if cursor.description else []


def array(values: list[Any]) -> str:
    """PostgreSQL's text form of an array. Its items are whole numbers, texts, booleans, UUIDs, times or None.

    The server parses it as one token, where psycopg2's ARRAY[…] is one constant for each item.
    """
    text = msgspec.json.encode(values).decode()
    if "\\" in text:  # of JSON's escapes, arrays know only those of quotes and backslashes
        text = f"[{', '.join(map(_array_item, values))}]"
    return f"{{{text[1:-1]}}}"


def _array_item(value: Any) -> str:
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def json_lines(values: Iterable[Any]) -> str:
    """JSON texts, each on a line of its own, of which `string_to_table(%s, chr(10))::json` makes rows.

    The server only looks for the ends of lines, where an array of JSON would be parsed twice.
    """
    return _json.encode_lines(values).decode().removesuffix("\n")


_json = msgspec.json.Encoder()


# What each database session has prepared, by psycopg2's connection: a statement's name, and its parameters' keys.
_sessions: WeakKeyDictionary[Any, dict[str, tuple[str, Sequence[Any]]]] = WeakKeyDictionary()
_numbers = count()
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?s|%%")
_TABLE = re.compile(r'(?:INTO|UPDATE|FROM) "?(\w+_\w+)')


def _prepared(connection: BaseDatabaseWrapper, statement: str) -> tuple[str, Sequence[Any]]:
    """The name under which the connection's session knows a statement, and its parameters' keys in their order."""
    session = _sessions.setdefault(connection.connection, {})
    if statement not in session:
        text, keys = _numbered(statement)
        table = _TABLE.search(text)  # so that the name means something in a trace or a log
        name = f"s{next(_numbers)}_{table[1] if table else 'statement'}"  # never used for another statement
        # On psycopg2's own cursor: query counters must not count a PREPARE.
        with connection.wrap_database_errors, connection.connection.cursor() as cursor:
            cursor.execute(f"PREPARE {name} AS {text}")
        session[statement] = name, keys
    return session[statement]


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
