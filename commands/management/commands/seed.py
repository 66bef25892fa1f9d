"""Put the sample catalogue, its stock and a few users into the databases; existing rows stay unchanged. With --orders,
place orders of theirs, too, for whoever wants to try what staff do."""

import time
from argparse import ArgumentParser
from secrets import token_urlsafe
from typing import Any

import environ
from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from commands.samples import ADDRESS, ELSEWHERE, PAYS, PRODUCTS, USERS
from shop.contracts.events import Line

PATIENCE = 60.0  # seconds in which the sample carrier brings a parcel
NOT_RUNNING = "The parcel of %s %d has not arrived within %.0f s: start the shop (make up, make run), and try again."


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print only a generated password")
        parser.add_argument(
            "--orders",
            action="store_true",
            help="also place orders with the running shop: a piece of one is cancelled, of one returned, one exchanged",
        )

    def handle(self, *args: Any, quiet: bool, orders: bool, **options: Any) -> None:
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
        if orders:
            self._place_orders()

    def _place_orders(self) -> None:
        """An order of which a piece is cancelled, one of which a return waits for staff, once it has arrived, and one
        of which a piece was exchanged."""
        ask = import_string("orders.returns.requests.request_return")
        wanted = import_string("orders.returns.requests.Wanted")
        changed = self._place("customer1@example.com", Line(7, 3))
        import_string("orders.changes.requests.request_change")(
            changed, key="seed", quantities={7: 2}, reason="one too many"
        )
        arrived = self._place("customer2@example.com", Line(7, 1), Line(8, 2))
        torn = self._place("customer3@example.com", Line(8, 1))
        self._wait("Order", arrived, "COMPLETED")
        returned = ask(arrived, wanted(lines=[Line(8, 1)], reason="the wrong book")).pk
        self._wait("Order", torn, "COMPLETED")
        exchanged = ask(torn, wanted(lines=[Line(8, 1)], reason="a page is torn", kind="EXCHANGE")).pk
        import_string("orders.returns.decisions.approve")(exchanged)
        self._wait("Return", exchanged, "RECEIVED")
        found = import_string("orders.returns.decisions.Found")(accepted=0, written_off=1, rejected=0)
        import_string("orders.returns.decisions.inspect")(exchanged, {8: found})
        self.stdout.write(
            f"Order {changed}: one piece of three is cancelled. Order {arrived}: return {returned} waits for staff. "
            f"Order {torn}: return {exchanged} is exchanged."
        )

    def _wait(self, what: str, pk: int, status: str) -> None:
        give_up_at = time.monotonic() + PATIENCE
        model = apps.get_model("orders", what)
        while model.objects.get(pk=pk).status != status:
            if time.monotonic() > give_up_at:
                raise CommandError(NOT_RUNNING % (what.lower(), pk, PATIENCE))
            time.sleep(0.5)

    def _place(self, email: str, *lines: Line) -> int:
        customer = apps.get_model("accounts", "User").objects.get(email=email).pk
        place = import_string("orders.placing.place_order")
        return int(place(user_id=customer, lines=lines, address=ADDRESS, payment_token=PAYS).pk)
