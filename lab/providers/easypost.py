"""A stand-in for EasyPost: shipments that are rated, bought and refunded, trackers, signed events.

Written from https://docs.easypost.com/docs/shipments, …/docs/shipments/shipping-refund, …/docs/trackers, …/docs/events,
…/docs/webhooks and …/docs/errors. A parcel moves only when `move` is called.
"""

import hashlib
import hmac
from secrets import token_hex
from typing import Any

from lab.providers.server import Problem, Request, Response, Route, StandIn

API_KEY = "EZTK_stand_in"
WEBHOOK_SECRET = "webhook secret of the stand-in"  # noqa: S105 # nosec B105 (known to everybody: it opens nothing)
RATES = (("USPS", "Priority", "7.58"), ("USPS", "GroundAdvantage", "5.12"), ("UPS", "Ground", "11.40"))
NOWHERE = "Nowhere"  # a city that no carrier goes to
UNPRINTABLE = "Unprintable"  # a city for which labels cannot be bought


class EasyPost(StandIn):
    """One account."""

    name = "easypost"

    def routes(self) -> list[Route]:
        of = "/v2/shipments"
        return [
            Route("POST", of, "create", self._create),
            Route("GET", f"{of}/([^/]+)", "find", lambda request: Response(self._shipment(request.of[0]))),
            Route("POST", f"{of}/([^/]+)/buy", "buy", self._buy),
            Route("POST", f"{of}/([^/]+)/refund", "refund", self._refund),
        ]

    def check(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {API_KEY}":
            raise _error(401, "APIKEY.INACTIVE", "This api key is no longer active.")

    @property
    def bought(self) -> list[dict[str, Any]]:
        """Return the shipments that cost something: bought, and not refunded."""
        return [one for one in self.books.all("shipment") if one["tracking_code"] and not one["refund_status"]]

    def move(self, reference: str, status: str, detail: str = "status_update") -> None:
        """Have the carrier scan a parcel, and send the event."""
        shipment = self._shipment(reference)
        previous = shipment["tracker"]["status"]
        shipment["tracker"] |= {"status": status, "status_detail": detail}
        self._keep(shipment)
        event = {
            "id": f"evt_{token_hex(16)}",
            "object": "Event",
            "description": "tracker.updated",
            "mode": "test",
            "previous_attributes": {"status": previous},
            "result": shipment["tracker"],
        }
        self.tell(event, sign)

    # --- Shipments ----------------------------------------------------------------------------------------------------
    def _create(self, request: Request) -> Response:
        asked = request.json.get("shipment", {})
        for side in ("to_address", "from_address"):
            address = asked.get(side) or {}
            if missing := [name for name in ("name", "street1", "city", "zip", "country") if not address.get(name)]:
                raise _error(422, "ADDRESS.PARAMETER.INVALID", f"{side}: {', '.join(missing)} missing")
        if not (asked.get("parcel") or {}).get("weight"):
            raise _error(422, "PARCEL.WEIGHT.INVALID", "parcel weight must be positive")
        shipment_id = f"shp_{token_hex(16)}"
        served = asked["to_address"]["city"] != NOWHERE
        shipment = {
            "id": shipment_id,
            "object": "Shipment",
            "reference": asked.get("reference"),
            "to_address": asked["to_address"],
            "rates": [
                {"id": f"rate_{token_hex(8)}", "object": "Rate", "carrier": carrier, "service": service, "rate": rate}
                for carrier, service, rate in RATES
                if served
            ],
            "messages": [] if served else [{"carrier": "USPS", "type": "rate_error", "message": "No service there."}],
            "selected_rate": None,
            "postage_label": None,
            "tracking_code": None,
            "tracker": None,
            "refund_status": None,
        }
        self._keep(shipment)
        return Response(shipment, 201)

    def _buy(self, request: Request) -> Response:
        shipment = self._shipment(request.of[0])
        if shipment["tracking_code"]:
            raise _error(422, "SHIPMENT.POSTAGE.EXISTS", "Postage already exists for this shipment.")
        wanted = (request.json.get("rate") or {}).get("id")
        rate = next((one for one in shipment["rates"] if one["id"] == wanted), None)
        if rate is None:
            raise _error(404, "NOT_FOUND", "The requested resource could not be found.")
        if shipment["to_address"]["city"] == UNPRINTABLE:
            raise _error(422, "SHIPMENT.POSTAGE.FAILURE", "The carrier refuses this address.")
        number = f"94{int(token_hex(8), 16):020d}"
        tracker = {
            "id": f"trk_{token_hex(16)}",
            "object": "Tracker",
            "tracking_code": number,
            "shipment_id": shipment["id"],
            "carrier": rate["carrier"],
            "status": "pre_transit",
            "status_detail": "label_created",
        }
        label = {"object": "PostageLabel", "label_url": f"{self.url}/labels/{number}.png"}
        shipment |= {"selected_rate": rate, "tracking_code": number, "tracker": tracker, "postage_label": label}
        self._keep(shipment)
        return Response(shipment)

    def _refund(self, request: Request) -> Response:
        shipment = self._shipment(request.of[0])
        if not shipment["tracking_code"]:
            raise _error(422, "SHIPMENT.REFUND.UNAVAILABLE", "There is no postage to refund.")
        if shipment["refund_status"] is None:
            scanned = shipment["tracker"]["status"] != "pre_transit"
            shipment["refund_status"] = "rejected" if scanned else "submitted"
            self._keep(shipment)
        return Response(shipment)

    def _shipment(self, reference: str) -> dict[str, Any]:
        found: dict[str, Any] | None = self.books.get("shipment", reference)
        if found is None:
            found = next((one for one in self.books.all("shipment") if one["reference"] == reference), None)
        if found is None:
            raise _error(404, "NOT_FOUND", "The requested resource could not be found.")
        return found

    def _keep(self, shipment: dict[str, Any]) -> None:
        self.books.put("shipment", shipment["id"], shipment)


def sign(body: bytes) -> dict[str, str]:
    """Return a webhook's signature header, made with the account's secret."""
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hmac-Signature": f"hmac-sha256-hex={digest}"}


def _error(status: int, code: str, message: str) -> Problem:
    return Problem(status, {"error": {"code": code, "message": message, "errors": []}})
