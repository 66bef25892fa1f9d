"""Put the sample catalogue, its stock and a few users into the databases; existing rows stay unchanged."""

from argparse import ArgumentParser
from secrets import token_urlsafe
from typing import Any

import environ
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from commands.samples import ELSEWHERE, PRODUCTS, USERS


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print only a generated password")

    def handle(self, *args: Any, quiet: bool, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "The sample users, an administrator among them, share one password: they are for development machines,"
                " with DEBUG=1. Nothing was changed. Elsewhere: manage.py createsuperuser."
            )
        rows = [sample._asdict() for sample in PRODUCTS]
        elsewhere = {row["id"]: row.pop("elsewhere") for row in rows}
        here = {row["id"]: row.pop("stock") - elsewhere[row["id"]] for row in rows}
        given = environ.Env().str("SEED_PASSWORD", "")
        password = given or token_urlsafe(12)

        products = import_string("catalog.services.seed_products")(rows)
        seed_stock = import_string("inventory.services.seed_stock")
        stocked = seed_stock(here) + seed_stock({pk: pieces for pk, pieces in elsewhere.items() if pieces}, ELSEWHERE)
        users = import_string("accounts.services.seed_users")(USERS, password=password)

        if not quiet:
            self.stdout.write(f"Seeded {products} products, {stocked} stock records, {len(users)} users.")
        if users and not given:
            self.stdout.write(f"Password of {', '.join(users)}: {password}")
