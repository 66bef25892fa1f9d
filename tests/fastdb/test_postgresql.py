"""Whether a connection is still good is found out without a round trip."""

import gc
import threading
from typing import Any

import psycopg2
import pytest
from django.db import connections

from fastdb.postgresql.base import TRUSTED_FOR
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


def test_a_threads_connections_end_with_it(connection: Any):
    """Without a garbage collection, which a quiet web server may not come to for a long time."""
    opened: list[psycopg2.extensions.connection] = []

    def use() -> None:
        for service in ("orders", "catalog"):
            connections[service].ensure_connection()
            opened.append(connections[service].connection)

    gc.disable()
    try:
        for _ in range(3):
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
    finally:
        gc.enable()

    assert [one.closed for one in opened] == [1] * 6
    assert not connection.connection.closed
