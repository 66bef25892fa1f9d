"""Whether a connection is still good is found out without a round trip; what is an outage is decided by SQLSTATE."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from django.db import DatabaseError, Error, OperationalError, connections

from sagas.db.clock import database_time
from sagas.db.postgresql.base import TRUSTED_FOR
from sagas.outages import OUTAGES
from tests.support.processes import eventually

pytestmark = pytest.mark.django_db(databases=["orders", "catalog"], transaction=True)


@pytest.fixture
def connection() -> Any:
    connections["orders"].ensure_connection()
    yield connections["orders"]
    connections["orders"].close()


def seen_from_elsewhere(sql: str, pid: int) -> Any:
    with connections["catalog"].cursor() as cursor:
        cursor.execute(sql, [pid])
        return cursor.fetchone()[0]


def pid_of(connection: Any) -> int:
    return connection.connection.get_backend_pid()


def last_statement(connection: Any) -> str:
    return seen_from_elsewhere("SELECT query FROM pg_stat_activity WHERE pid = %s", pid_of(connection))


def test_a_quiet_connection_is_good_and_nobody_is_asked(connection: Any):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'the last word'")

    assert connection.is_usable()
    assert last_statement(connection) == "SELECT 'the last word'"


def test_one_that_was_not_looked_at_for_long_is_asked_for(connection: Any):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'the last word'")
    connection._seen_at -= TRUSTED_FOR

    assert connection.is_usable()
    assert last_statement(connection) == "SELECT 1"


def test_a_connection_that_the_server_has_ended_is_not(connection: Any):
    assert seen_from_elsewhere("SELECT pg_terminate_backend(%s)", pid_of(connection))

    eventually(lambda: not connection.is_usable())
    connection.close_if_unusable_or_obsolete()
    connection.health_check_done = False
    with connection.cursor() as cursor:  # finds out, and connects again
        cursor.execute("SELECT 1")


def test_after_an_error_the_server_is_asked(connection: Any):
    connection.errors_occurred = True

    assert connection.is_usable()
    assert last_statement(connection) == "SELECT 1"


def test_after_a_word_that_nobody_has_asked_for_the_server_is_asked(connection: Any):
    with connection.cursor() as cursor:
        cursor.execute("LISTEN word")
    seen_from_elsewhere("SELECT 1 FROM pg_notify('word', %s::text)", 1)  # in the other database, where nobody listens
    assert connection.is_usable()
    assert last_statement(connection) == "LISTEN word"

    with psycopg2.connect(**connection.get_connection_params()) as other, other.cursor() as cursor:
        cursor.execute("NOTIFY word")
    other.close()

    eventually(lambda: connection.is_usable() and last_statement(connection) == "SELECT 1")


def test_a_connection_that_is_closed_is_not(connection: Any):
    connection.connection.close()

    assert not connection.is_usable()


def failure(connection: Any, code: str) -> Error:
    """The exception for an error of the server's with this SQLSTATE."""
    with connection.cursor() as cursor, pytest.raises(Error) as raised:
        cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{code}'; END $$")
    return raised.value


@pytest.mark.parametrize(
    "code",
    [
        "08006",
        "25006",
        "40001",
        "40P01",
        "53100",
        "53200",
        "53300",
        "55006",
        "55P03",
        "57014",
        "57P01",
        "57P03",
        "58030",
    ],
)
def test_what_passes_by_itself_is_an_outage(connection: Any, code: str):
    error = failure(connection, code)

    assert type(error) is OperationalError
    assert isinstance(error, OUTAGES)
    assert error.__cause__.pgcode == code


@pytest.mark.parametrize(
    "code",
    [
        "0A000",
        "21000",
        "22003",
        "23505",
        "23514",
        "25001",
        "25P02",
        "42601",
        "42501",
        "42P01",
        "54001",
        "54023",
        "XX000",
    ],
)
def test_a_mistake_is_not_waited_for(connection: Any, code: str):
    error = failure(connection, code)

    assert isinstance(error, DatabaseError)
    assert not isinstance(error, OUTAGES)


def test_a_connection_to_a_server_that_became_read_only_is_given_up(connection: Any):
    pid = pid_of(connection)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        with pytest.raises(OperationalError):
            cursor.execute("DELETE FROM orders_order")

    connection.close_if_unusable_or_obsolete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM orders_order")
    assert pid_of(connection) != pid


def test_what_is_due_is_due_by_the_servers_clock(connection: Any, monkeypatch: pytest.MonkeyPatch):
    """Whatever this host's clock says."""
    with freeze_a_day_ahead(monkeypatch):
        told = database_time("orders")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (asked,) = cursor.fetchone()

    assert abs(asked - told) < timedelta(seconds=5)


@contextmanager
def freeze_a_day_ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr("django.utils.timezone.now", lambda: datetime.now(UTC) + timedelta(days=1))
        patch.setattr("time.time", lambda real=time.time: real() + 86_400)
        yield
