"""The trips' part in the saga: how it ends, and that it ends."""

from agency.events import CarRented, SeatCancelled, SeatRefused

from sagas import purge_messages, step, timer
from trips import services


@step
def confirm_trip(rented: list[CarRented]) -> None:
    """Seat, room and car are there."""
    services.confirm(event.trip_id for event in rented)


@step
def cancel_trip(given_back: list[SeatRefused | SeatCancelled]) -> None:
    """The seat is the last to be given back."""
    services.cancel(event.trip_id for event in given_back)


@timer
def resume() -> int:
    """Publish again what trips without progress have emitted."""
    return services.resume()


@timer
def purge() -> int:
    """Delete old messages."""
    return purge_messages("trips")
