"""What is an outage is decided by SQLSTATE."""

from typing import Any

import pytest
from django.db import DatabaseError, Error, OperationalError, connections

from sagas.outages import OUTAGES

pytestmark = pytest.mark.django_db(databases=["orders"], transaction=True)


@pytest.fixture
def connection() -> Any:
    connections["orders"].ensure_connection()
    yield connections["orders"]
    connections["orders"].close()


def pid_of(connection: Any) -> int:
    return connection.connection.get_backend_pid()


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
