"""`manage.py setup`: databases, tables, a few flights and hotels."""

from typing import Any

import psycopg2
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from flights.models import Flight
from hotels.models import Hotel


class Command(BaseCommand):
    help = "Make the databases that are missing, migrate all, and open two flights and two hotels."

    def handle(self, **options: Any) -> None:
        for name, database in settings.DATABASES.items():
            make_if_missing(database)
            call_command("migrate", database=name, verbosity=0)
        for number, free in (("KE901", 200), ("KE902", 1)):
            Flight.objects.get_or_create(number=number, defaults={"free": free})
        for name, free in (("Ritz", 80), ("Lutetia", 0)):
            Hotel.objects.get_or_create(name=name, defaults={"free": free})
        if settings.DEBUG and not get_user_model().objects.exists():
            get_user_model().objects.create_superuser("admin", password="admin")  # noqa: S106 (on one's own machine)
        self.stdout.write("Ready: flights KE901, KE902; hotels Ritz, Lutetia; cars compact, van")


def make_if_missing(database: dict[str, Any]) -> None:
    """CREATE DATABASE, unless it is there."""
    server = {name.lower(): database[name] or None for name in ("HOST", "PORT", "USER", "PASSWORD")}
    connection = psycopg2.connect(dbname="postgres", **server)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [database["NAME"]])
        if not cursor.rowcount:
            cursor.execute(f'CREATE DATABASE "{database["NAME"]}"')
    connection.close()
