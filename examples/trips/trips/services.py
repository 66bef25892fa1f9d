"""Requesting and cancelling a trip, and what the saga makes of it."""

from collections.abc import Iterable
from datetime import timedelta

from agency.events import TripCancellationRequested, TripRequested
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from sagas import emit
from sagas.outbox import rearm
from trips.models import Trip

Status = Trip.Status


class NotCancellable(Exception):
    """The trip is cancelled already, or about to be."""


def request_trip(*, flight: str, hotel: str, car: str) -> Trip:
    """Ask for a seat, a room and a car: the saga begins when this commits."""
    with transaction.atomic(using="trips"):
        trip = Trip.objects.create(flight=flight, hotel=hotel, car=car, touched_at=timezone.now())
        emit(TripRequested(trip_id=trip.pk, flight=flight, hotel=hotel, car=car), service="trips")
    return trip


def request_cancellation(trip_id: int) -> None:
    """Give everything back, whatever of it is booked by now. Raises `NotCancellable`."""
    with transaction.atomic(using="trips"):
        if not _move([trip_id], Status.CANCELLING, {Status.REQUESTED, Status.CONFIRMED}):
            raise NotCancellable
        emit(TripCancellationRequested(trip_id=trip_id), service="trips")


def confirm(trip_ids: Iterable[int]) -> None:
    """All is booked. A trip that is being cancelled stays so."""
    _move(trip_ids, Status.CONFIRMED, {Status.REQUESTED})


def cancel(trip_ids: Iterable[int]) -> None:
    """Nothing is held for these trips any more."""
    _move(trip_ids, Status.CANCELLED, {Status.REQUESTED, Status.CANCELLING})


def resume() -> int:
    """Publish again what trips without progress have emitted, for a broker may have lost something; how many."""
    now = timezone.now()
    stalled = Trip.objects.filter(
        status__in=[Status.REQUESTED, Status.CANCELLING], touched_at__lt=now - timedelta(seconds=settings.RESUME_AFTER)
    )
    with transaction.atomic(using="trips"):
        trip_ids = list(stalled.select_for_update(skip_locked=True).values_list("pk", flat=True)[:100])
        Trip.objects.filter(pk__in=trip_ids).update(touched_at=now)
        rearm("trips", trip_ids)
    return len(trip_ids)


def _move(trip_ids: Iterable[int], status: str, expected: set[str]) -> int:
    """Move the trips among these whose status is as expected; how many those were."""
    trips = Trip.objects.filter(pk__in=list(trip_ids), status__in=expected)
    return trips.update(status=status, touched_at=timezone.now())
