"""EasyPost, an aggregator of some hundred carriers, by its official library `easypost`.

A booking is a Shipment that is bought: https://docs.easypost.com/docs/shipments. It is created with our key as its
`reference` ("A Shipment can be retrieved by either its id or reference"), rated, and bought at the lowest rate. There
are no idempotency keys, so a booking that was asked for before is looked up first, and only a Shipment that has an id
is bought: a second purchase of one is refused (SHIPMENT.POSTAGE.EXISTS). What is not bought costs nothing.

Cancelling is a refund of the label (https://docs.easypost.com/docs/shipments/shipping-refund): "submitted" is taken for
cancelled, as the label is void then; bill-on-scan carriers answer "not_applicable", for a label that nobody scans costs
nothing. What a carrier has scanned is too late.

Statuses are those of a Tracker: https://docs.easypost.com/docs/trackers. Webhooks are verified by the library, with
the HMAC of https://docs.easypost.com/docs/webhooks; each Event has an id: https://docs.easypost.com/docs/events. The
limits of https://docs.easypost.com/guides/rate-limiting-guide are by load, told by 429.

Options: `api_key`, `webhook_secret`; `sender`, lines with name, street, place and country; `phone` of the sender;
`weight` in ounces; `length`, `width`, `height` in inches; `services`, those that may be bought; `url` of the API.
Addresses are read as `postal_address` says.
"""

import logging
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import easypost
from easypost.errors import (
    ApiError,
    BadRequestError,
    EasyPostError,
    FilteringError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    SignatureVerificationError,
)
from easypost.util import get_lowest_object_rate, validate_webhook

from delivery.carriers.base import (
    Booked,
    Booking,
    BookingAnswer,
    CancelAnswer,
    Cancelled,
    Forged,
    NoNews,
    Parcel,
    Refused,
    Report,
    TooLate,
    TrackAnswer,
    Unknown,
)
from providers import Limits, NoAnswer, Provider, TooMany, retry_after

logger = logging.getLogger(__name__)

URL = "https://api.easypost.com/v2"
LIMITS = Limits(concurrency=32, timeout=10.0)

# What a Tracker's status means to us; of the others there is nothing to tell.
STATUSES = {
    "in_transit": "IN_TRANSIT",
    "out_for_delivery": "IN_TRANSIT",
    "available_for_pickup": "IN_TRANSIT",
    "delivered": "DELIVERED",
    "return_to_sender": "FAILED",
    "failure": "FAILED",
}
WITH_CARRIER = set(STATUSES) - {"failure"}  # it has been scanned
VOID = {"submitted", "refunded", "not_applicable"}  # a label's refund
ALREADY_BOUGHT = "SHIPMENT.POSTAGE.EXISTS"

SOON, SELDOM = timedelta(minutes=15), timedelta(hours=6)  # between two looks, without and with a webhook

PLACES = (
    re.compile(r"(?P<city>.+?),?\s+(?P<state>[A-Z]{2})\s+(?P<zip>\d{5}(?:-\d{4})?)"),  # San Francisco, CA 94104
    re.compile(r"(?P<zip>[A-Z]?-?\d[\dA-Z -]{2,9}?)\s+(?P<city>\D+)"),  # 10115 Berlin
)


class EasyPost:
    """One account at EasyPost."""

    local = False

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        self.options = options
        self.provider = Provider(name, Limits.of(options, LIMITS), Unknown)
        self._local = threading.local()
        self._sender = postal_address(options.get("sender", ""), name=name)

    # --- What it is asked ---------------------------------------------------------------------------------------------
    def book(self, bookings: Sequence[Booking]) -> Sequence[BookingAnswer]:
        learned: dict[str, str] = {}  # what is known of Shipments whose purchase is not

        def ask(booking: Booking) -> BookingAnswer:
            return self._book(booking, learned)

        answers = self.provider.each(ask, bookings)
        return [
            Unknown(answer.reason, learned.get(booking.key, booking.reference))
            if isinstance(answer, Unknown)
            else answer
            for booking, answer in zip(bookings, answers, strict=True)
        ]

    def cancel(self, parcels: Sequence[Parcel]) -> Sequence[CancelAnswer]:
        return self.provider.each(self._cancel, parcels)

    def track(self, parcels: Sequence[Parcel]) -> Sequence[TrackAnswer]:
        return self.provider.each(self._track, parcels)

    def look_after(self, status: str) -> timedelta | None:
        """Also where it reports by itself: a webhook may be lost."""
        return SELDOM if self.options.get("webhook_secret") else SOON

    def read_reports(self, headers: Mapping[str, str], body: bytes) -> Sequence[Report]:
        secret = self.options.get("webhook_secret")
        if not secret:
            raise Forged("no webhook_secret is configured")
        try:
            event = validate_webhook(body, {"X-Hmac-Signature": headers.get("x-hmac-signature")}, secret)
            tracker = event.get("result") or {}
            if tracker.get("object") != "Tracker" or tracker["status"] not in STATUSES:
                return []  # of batches, refunds, reports …; and of trackers what changes nothing
            return [_report(tracker, event_id=str(event["id"])[:64])]
        except (SignatureVerificationError, TypeError, KeyError, ValueError, AttributeError) as error:
            raise Forged(f"{type(error).__name__}: {error}") from None

    # --- One of them --------------------------------------------------------------------------------------------------
    def _book(self, booking: Booking, learned: dict[str, str]) -> BookingAnswer:
        address = postal_address(booking.address, name=f"Order {booking.order_id}")
        if address is None or self._sender is None:
            return Refused("the address cannot be read: name, street, city and postal code, a line each")
        shipment = self._find(booking.reference or booking.key) if booking.again else None
        if shipment is None:
            shipment = self._refusable(
                lambda: self._client().shipment.create(
                    reference=booking.key, to_address=address, from_address=self._from(), parcel=self._parcel()
                )
            )
        if isinstance(shipment, Refused):
            return shipment
        learned[booking.key] = shipment.id
        if shipment.get("tracking_code"):
            return _booked(shipment)
        try:
            rate = get_lowest_object_rate(shipment, services=self._services())
        except FilteringError:
            said = "; ".join(str(message.get("message", "")) for message in shipment.get("messages") or [])
            return Refused(said or "no carrier takes it")
        bought = self._refusable(lambda: self._client().shipment.buy(shipment.id, rate={"id": rate.id}))
        return bought if isinstance(bought, Refused) else _booked(bought)

    def _cancel(self, parcel: Parcel) -> CancelAnswer:
        shipment = self._find(parcel.reference or parcel.key)
        if shipment is None or not shipment.get("tracking_code"):
            return Cancelled()  # what was never bought will not be
        if shipment.get("refund_status") in VOID:
            return Cancelled()
        if (shipment.get("tracker") or {}).get("status") in WITH_CARRIER:
            return TooLate(shipment.tracking_code)
        refunded = self._refusable(lambda: self._client().shipment.refund(shipment.id))
        if not isinstance(refunded, Refused) and refunded.get("refund_status") in VOID:
            return Cancelled()
        return Unknown("its label is not refunded yet")  # a young one is rejected at times: https://…/shipping-refund

    def _track(self, parcel: Parcel) -> TrackAnswer:
        shipment = self._find(parcel.reference or parcel.key)
        if shipment is None:
            return Unknown(f"there is no shipment {parcel.reference or parcel.key}")
        tracker = shipment.get("tracker") or {}
        return _report(tracker) if tracker.get("status") in STATUSES else NoNews()

    def _find(self, reference: str) -> Any:
        """A Shipment by its id or our key; None if there is none."""
        try:
            return self._call(lambda: self._client().shipment.retrieve(reference))
        except NotFoundError:
            return None

    def _refusable(self, call: Any) -> Any:
        """What a call answers, or `Refused` where EasyPost will not do it, now or later."""
        try:
            return self._call(call)
        except (InvalidRequestError, BadRequestError) as error:
            if getattr(error, "code", "") == ALREADY_BOUGHT:
                raise NoAnswer("it is bought already") from None  # by a request whose answer was lost: looked up next
            return Refused(str(error.message)[:150])

    def _call(self, call: Any) -> Any:
        """Raises `NoAnswer`, `TooMany`, and `ApiError` for what EasyPost says of this request."""
        try:
            return call()
        except RateLimitError:
            raise TooMany(retry_after(self._local.headers.get("Retry-After", ""))) from None
        except (NotFoundError, InvalidRequestError, BadRequestError):
            raise
        except ApiError as error:  # 5xx; and what only the owner can mend: the key, the balance
            raise NoAnswer(f"answered {error.http_status}: {error.message}"[:200]) from None
        except EasyPostError as error:
            raise NoAnswer(type(error).__name__) from None

    def _client(self) -> easypost.EasyPostClient:
        """The calling thread's client: a `requests.Session` is not for several."""
        if not hasattr(self._local, "client"):
            client = easypost.EasyPostClient(
                self.options.get("api_key", ""),
                api_base=self.options.get("url", URL),
                timeout=self.provider.limits.timeout,  # type: ignore[arg-type]  # requests takes any number
            )
            client.subscribe_to_response_hook(self._remember)
            self._local.client, self._local.headers = client, {}
        return self._local.client

    def _remember(self, **response: Any) -> None:
        self._local.headers = response["headers"]

    def _from(self) -> dict[str, str]:
        phone = self.options.get("phone")
        return (self._sender or {}) | ({"phone": phone} if phone else {})

    def _parcel(self) -> dict[str, float]:
        return {
            name: float(self.options[name]) for name in ("weight", "length", "width", "height") if name in self.options
        }

    def _services(self) -> list[str]:
        return [one.strip() for one in self.options.get("services", "").split(",") if one.strip()]


def postal_address(text: str, *, name: str) -> dict[str, str] | None:
    """An address in EasyPost's fields, of lines such as

        Hana Kim
        417 Montgomery St
        Floor 5
        San Francisco, CA 94104
        US

    Without the country it is in the US; a single line before the place is the street, and `name` receives it. None for
    what has no street, or no place that can be read.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    country = lines.pop() if lines and re.fullmatch("[A-Z]{2}", lines[-1]) else "US"
    if len(lines) < 2:
        return None
    place = next((found for pattern in PLACES if (found := pattern.fullmatch(lines[-1]))), None)
    if place is None:
        return None
    *names, street = lines[:2] if len(lines) > 2 else lines[:1]
    fields = {"name": names[0] if names else name, "street1": street, "country": country, **place.groupdict()}
    return fields | ({"street2": ", ".join(lines[2:-1])} if len(lines) > 3 else {})


def _booked(shipment: Any) -> Booked:
    rate, label = shipment.get("selected_rate") or {}, shipment.get("postage_label") or {}
    return Booked(
        number=shipment.tracking_code,
        carrier=str(rate.get("carrier", "EasyPost"))[:32],
        reference=shipment.id,
        label_url=str(label.get("label_url") or "")[:500],
    )


def _report(tracker: Any, event_id: str = "") -> Report:
    status = STATUSES[tracker["status"]]
    reason = str(tracker.get("status_detail") or tracker["status"]) if status == "FAILED" else ""
    return Report(status, reason=reason[:150], number=str(tracker["tracking_code"])[:64], event_id=event_id)
