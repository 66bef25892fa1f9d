"""`manage.py book KE901 Ritz compact`: one trip, followed to its end."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trips.models import Trip
from trips.services import Status, request_trip

PATIENCE = 60  # seconds


class Command(BaseCommand):
    help = "Request a trip and wait until it is confirmed or cancelled."

    def add_arguments(self, parser: ArgumentParser) -> None:
        for name in ("flight", "hotel", "car"):
            parser.add_argument(name)

    def handle(self, *, flight: str, hotel: str, car: str, **options: Any) -> None:
        trip = request_trip(flight=flight, hotel=hotel, car=car)
        self.stdout.write(str(trip))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            trip = Trip.objects.get(pk=trip.pk)
            if trip.status in (Status.CONFIRMED, Status.CANCELLED):
                self.stdout.write(str(trip))
                return
            time.sleep(0.1)
        raise CommandError(f"{trip}. Do a worker and a relay run?")
