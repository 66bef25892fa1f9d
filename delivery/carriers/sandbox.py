"""A carrier that only pretends: its parcels go by themselves, in time, and an address says which are refused."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.conf import settings

from delivery.carriers.base import Parcel, Report, TrackAnswer
from delivery.carriers.numbered import Numbered
from shop import faults
from shop.contracts import reasons

TITLES = {"CJ": "CJ대한통운", "HJ": "한진택배", "LG": "로젠택배", "EP": "우체국택배"}

# Words in an address that make a delivery fail, to try out what happens then.
REFUSED_BY_CARRIER, CARRIER_REFUSAL = "addr_refused_by_carrier", f"{reasons.REFUSED_BY_CARRIER} (인수 거부)"
SECOND_REFUSED = "addr_second_refused"  # at the door, of an order that comes in several shipments
REFUSED_BY_RECIPIENT, RECIPIENT_REFUSAL = "addr_refused_by_recipient", f"{reasons.REFUSED_BY_RECIPIENT} (수령 거부)"


class Sandbox(Numbered):
    """Fetches a parcel after HANDOVER_AFTER, and has brought it after DELIVERED_AFTER."""

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {"title": TITLES.get(name, name)} | dict(options))

    def track(self, parcels: Sequence[Parcel]) -> Sequence[TrackAnswer]:
        """Asked when its time has come, each has gone on."""
        return [_next(parcel) for parcel in parcels]

    def look_after(self, status: str) -> timedelta | None:
        return timedelta(seconds=settings.HANDOVER_AFTER if status == "PREPARING" else settings.DELIVERED_AFTER)


def _next(parcel: Parcel) -> Report:
    if parcel.status == "PREPARING":
        refused = REFUSED_BY_CARRIER in parcel.address or faults.happens("carrier-refuses")
        return Report("FAILED", CARRIER_REFUSAL) if refused else Report("IN_TRANSIT")
    second = SECOND_REFUSED in parcel.address and parcel.number.endswith("-2")
    refused = second or REFUSED_BY_RECIPIENT in parcel.address
    return Report("FAILED", RECIPIENT_REFUSAL) if refused else Report("DELIVERED")
