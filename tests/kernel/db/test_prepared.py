"""What a prepared statement is given arrives as it was."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from sagas.db.prepared import _numbered, query

pytestmark = pytest.mark.django_db(databases=["orders"])

ARRAYS = {
    "bigint": [1, -2, None, 2**62],
    "text": ["", "plain", 'a "quote"', "back\\slash", "{braces},", "한국어", "line\nbreak", "\t", "NULL", "\x7f", None],
    "boolean": [True, False, None],
    "uuid": [UUID(int=7), None],
    "timestamptz": [datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC), None],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_arrives_as_it_was(kind: str):
    values = ARRAYS[kind]

    assert query("orders", f"SELECT unnest(%s::{kind}[])", [values]) == [(value,) for value in values]
    assert query("orders", f"SELECT cardinality(%s::{kind}[])", [[]]) == [(0,)]


def test_placeholders_become_numbers():
    assert _numbered("SELECT 1") == ("SELECT 1", ())
    assert _numbered("SELECT %s, %s WHERE 'x' LIKE '%%'") == ("SELECT $1, $2 WHERE 'x' LIKE '%'", (0, 1))


def test_a_name_that_stands_twice_is_one_parameter():
    assert _numbered("SELECT %(b)s, %(a)s, %(b)s") == ("SELECT $1, $2, $1", ("b", "a"))
    assert query("orders", "SELECT %(b)s::int, %(a)s::int, %(b)s::int", {"a": 1, "b": 2, "c": 3}) == [(2, 1, 2)]
