"""The carriers, by the name of their account. `settings.CARRIERS` says which there are."""

from collections.abc import Iterable

from django.conf import settings
from django.utils.module_loading import import_string

from delivery.carriers.base import (
    Answer,
    Booked,
    Booking,
    Cancelled,
    Carrier,
    Forged,
    NoNews,
    Parcel,
    Refused,
    Report,
    TooLate,
    Unknown,
)
from shop.contracts.carriers import ADAPTERS

__all__ = [
    "Answer",
    "Booked",
    "Booking",
    "Cancelled",
    "Carrier",
    "Forged",
    "NoNews",
    "Parcel",
    "Refused",
    "Report",
    "TooLate",
    "Unknown",
    "UnknownCarrier",
    "accounts_for",
    "carrier",
]

_made: dict[str, Carrier] = {}  # each once per process: it may keep connections, and count what it asks


class UnknownCarrier(LookupError):
    """There is no carrier of this name."""


def carrier(account: str) -> Carrier:
    """The carrier of that name. Raises `UnknownCarrier`."""
    if account not in _made:
        configured = settings.CARRIERS.get(account)
        if configured is None:
            known = ", ".join(settings.CARRIERS) or "none"
            raise UnknownCarrier(f"There is no carrier {account!r}; there are: {known}.")
        _made[account] = import_string(ADAPTERS[configured.adapter].path)(account, configured.options)
    return _made[account]


def accounts_for(order_ids: Iterable[int]) -> dict[int, str]:
    """Who is to take each order's parcel: the carriers take turns. "" while there is none."""
    accounts = tuple(settings.CARRIERS) or ("",)
    return {order_id: accounts[order_id % len(accounts)] for order_id in order_ids}
