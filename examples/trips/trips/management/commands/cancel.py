"""`manage.py cancel 1`: the customer of trip 1 stays at home."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trips.services import NotCancellable, request_cancellation


class Command(BaseCommand):
    help = "Cancel a trip: everything that is booked for it is given back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("trip", type=int)

    def handle(self, *, trip: int, **options: Any) -> None:
        try:
            request_cancellation(trip)
        except NotCancellable:
            raise CommandError(f"Trip {trip} is cancelled already, or there is none.") from None
        self.stdout.write(f"trip {trip}: CANCELLING")
