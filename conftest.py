"""What holds for every test, the services' own too: how databases are made and emptied, and that nothing is counted.

What tests may ask for is in tests/conftest.py.
"""

from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from commands.management.commands import migrate_all
from shop import urls  # noqa: F401 (made once, of the services that are local: before a test says that none is)
from shop.api.throttles import Throttle

pytest.register_assert_rewrite("tests.support")

from tests.support import flushing  # noqa: E402

flushing.install()


@pytest.fixture(scope="session")
def django_db_setup(request: pytest.FixtureRequest, django_db_blocker: Any) -> None:
    """Each database gets its own service's migrations, as `migrate_all` applies them.

    Django's test runner would go through those of all services for each database, most of the time for nothing.
    Autovacuum stays away: what it finds in some test's rows would decide on the plans of another test.
    """

    def call(name: str, *arguments: Any, **options: Any) -> Any:
        if name != "migrate":
            return call_command(name, *arguments, **options)
        return migrate_all.Command(stdout=StringIO()).bring_up_to_date(options["database"], check=False)

    with patch("django.core.management.call_command", call):
        request.getfixturevalue("django_db_setup")
    with django_db_blocker.unblock():
        for service in settings.LOCAL_SERVICES:
            with connections[service].cursor() as cursor:
                for table in flushing.tables(service):
                    cursor.execute(f'ALTER TABLE "{table}" SET (autovacuum_enabled = off)')
        flushing.commit_without_waiting(settings.LOCAL_SERVICES)


@pytest.fixture(autouse=True)
def _nothing_counted_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test is throttled for what those before it have asked: what one has counted is forgotten after it."""
    keys: set[str] = set()
    takes = Throttle._takes

    def noted(self: Throttle, key: str, rate: int) -> bool:
        keys.add(key)
        return takes(self, key, rate)

    monkeypatch.setattr(Throttle, "_takes", noted)
    yield
    Throttle.leases.clear()
    if keys:
        with suppress(RedisError):
            get_redis_connection("default").delete(*keys)
