"""Bring every service's database up to date: create it if it is missing, and apply that service's migrations to it.

Also warns if the servers allow fewer connections than the processes may need.
"""

from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string
from psycopg2 import errors

from shop.operations.connections import shortages
from shop.router import HOME_OF_DJANGO, database_of

MIGRATION_LOCK = 7_466_873  # an arbitrary number: concurrent migrations take turns


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when something is missing")

    def handle(self, *args: Any, check: bool, **options: Any) -> None:
        behind = [service for service in settings.LOCAL_SERVICES if not self.bring_up_to_date(service, check=check)]
        if behind:
            raise CommandError(f"Not up to date: {', '.join(behind)}. Run: manage.py migrate_all", returncode=1)
        for shortage in shortages():
            self.stderr.write(self.style.WARNING(shortage))

    def bring_up_to_date(self, service: str, *, check: bool) -> bool:
        """Migrate one database and print what was done; return False if `check` finds something missing."""
        connection = connections[service]
        exists = _exists(connection)
        if check and not exists:
            self.stdout.write(f"{service:<14} no database")
            return False
        created = not exists and _create(connection)
        labels = {app.label for app in apps.get_app_configs() if database_of(app.label) == service}
        with connection.cursor() as cursor:
            if not check:
                cursor.execute("SET statement_timeout = 0; SET lock_timeout = '60s'")
                cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        try:
            executor = MigrationExecutor(connection)
            targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] in labels]
            plan = executor.migration_plan(targets)
            if plan and not check:
                executor.migrate(targets, plan)
            if service == HOME_OF_DJANGO and not check:
                for app in (
                    apps.get_app_configs()
                ):  # every service's permissions are created in this database, because the admin checks rights here
                    create_permissions(app, verbosity=0, using=service)
                if not settings.ALONE:
                    import_string("accounts.services.make_groups")()
        finally:
            if not check:
                connection.close()  # frees the lock, and forgets the timeouts
        done = "missing" if check else "applied"
        summary = f"{len(plan)} migrations {done}" if plan else "up to date"
        self.stdout.write(f"{service:<14} {'created, ' if created else ''}{summary}")
        return not (check and plan)


def _exists(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database exists. Raises CommandError if the server does not answer."""
    try:
        connection.ensure_connection()
    except OperationalError as away:
        try:
            with connection._nodb_cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [connection.settings_dict["NAME"]])
                if cursor.fetchone() is None:
                    return False
        except DatabaseError:
            pass  # the first error says more
        raise CommandError(f"{connection.alias}: {str(away).strip()}") from None
    return True


def _create(connection: BaseDatabaseWrapper) -> bool:
    """Create the database; return False if another process was faster. Raises CommandError if we may not."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    statement = f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
    try:
        with connection._nodb_cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        if isinstance(error.__cause__, errors.DuplicateDatabase | errors.UniqueViolation):
            return False
        raise CommandError(f"Could not create it ({str(error).strip()}). Have somebody run: {statement};") from None
    return True
