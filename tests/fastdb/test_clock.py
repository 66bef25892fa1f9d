"""What is due is due by the server's clock, which is known without asking."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from fastdb.clock import database_time

pytestmark = pytest.mark.django_db(databases=["orders"], transaction=True)


@pytest.fixture
def connection() -> Any:
    connections["orders"].ensure_connection()
    yield connections["orders"]
    connections["orders"].close()


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
