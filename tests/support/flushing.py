"""How a test that commits is cleaned up after: what it has written is truncated, and nothing else is done; and how
databases are dropped.

Django's own flush truncates every table, and then makes all content types and permissions again: half a second or more
for our seven databases. These rows come with the tables, and no test that commits changes them.

No commit waits for the disk: nobody reads these databases after a crash of their server.
"""

from collections.abc import Iterable
from functools import cache

from django.conf import settings
from django.db import connections, transaction
from django.db.backends.postgresql.creation import DatabaseCreation
from django.test import TransactionTestCase

KEPT = {"django_content_type", "auth_permission", "auth_group", "auth_group_permissions", "django_migrations"}
PATIENCE = "120s"  # for what a process of the test still reads


@cache
def tables(alias: str) -> tuple[str, ...]:
    """The tables of a database that hold what tests write."""
    with connections[alias].cursor() as cursor:
        names = connections[alias].introspection.table_names(cursor)
    return tuple(sorted({*names} - KEPT))


def truncate_what_was_written(alias: str) -> None:
    connection = connections[alias]
    quoted = [connection.ops.quote_name(name) for name in tables(alias)]
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = '{PATIENCE}'")
        cursor.execute(" UNION ALL ".join(f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in quoted))
        if written := [name for (name,) in cursor.fetchall()]:
            cursor.execute(f"TRUNCATE {', '.join(written)} CASCADE")


def commit_without_waiting(aliases: Iterable[str]) -> None:
    """Whoever connects from now on does not wait for the disk."""
    for alias in aliases:
        with connections[alias].cursor() as cursor:
            name = connections[alias].ops.quote_name(connections[alias].settings_dict["NAME"])
            cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        connections[alias].close()


def _fixture_teardown(case: TransactionTestCase) -> None:
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        truncate_what_was_written(alias)


def drop_all(prefix: str) -> None:
    """Drop every service's database with this prefix."""
    connections.close_all()
    _drop([f"{prefix}{service}" for service in settings.SERVICES])


def _drop(names: Iterable[str]) -> None:
    """Drop databases, whoever is still connected. PostgreSQL makes a checkpoint first, which a busy disk prolongs."""
    with connections["accounts"]._nodb_cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SET statement_timeout = 0")
        for name in names:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def install() -> None:
    DatabaseCreation._destroy_test_db = lambda self, name, verbosity: _drop([name])  # type: ignore[attr-defined]
    TransactionTestCase._fixture_teardown = _fixture_teardown  # type: ignore[attr-defined]
