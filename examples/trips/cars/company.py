"""The rental company, a stand-in for its HTTP API. It knows a rental by the trip's id, so asking twice is harmless."""

from cars.models import CompanyRental
from sagas import Unavailable

HAS = ("compact", "van")
AWAY = "away"  # a car whose desk never answers


def rent(trip_id: int, car: str) -> bool:
    """Whether the car is rented, by this call or an earlier one. Raises `Unavailable` when nobody answers."""
    if car == AWAY:
        raise Unavailable("The rental company does not answer")
    if car not in HAS:
        return False
    rental, _ = CompanyRental.objects.get_or_create(trip_id=trip_id, defaults={"car": car, "is_cancelled": False})
    return not rental.is_cancelled


def cancel(trip_id: int) -> None:
    """End a rental. One that is asked for later is refused."""
    CompanyRental.objects.update_or_create(trip_id=trip_id, defaults={"is_cancelled": True})
