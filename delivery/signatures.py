"""How a carrier proves that a message is its own: an HMAC over time and body, with the secret we share.

`X-Carrier-Signature` is the hex HMAC-SHA256 of "TIMESTAMP.BODY" in any case, `X-Carrier-Timestamp` the seconds since
1970 when it was signed. An old message is refused, so that one that was overheard cannot be kept for later; within the
window a replay is known by its event id.
"""

import hashlib
import hmac
import time

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

WINDOW = 300  # seconds that the clocks, and the message's way, may take


class Carrier:
    """Who sent a message that carried the right signature."""

    is_authenticated = True
    is_staff = False
    pk = id = None

    def __str__(self) -> str:
        return "a carrier"


def signature(timestamp: str, body: bytes) -> str:
    """What a carrier's message must be signed with."""
    message = timestamp.encode() + b"." + body
    return hmac.new(settings.CARRIER_WEBHOOK_SECRET.encode(), message, hashlib.sha256).hexdigest()


class CarrierSignature(BaseAuthentication):
    """Lets carriers in, and nobody else. Without CARRIER_WEBHOOK_SECRET there are none."""

    def authenticate(self, request: Request) -> tuple[Carrier, None]:
        timestamp = request.headers.get("X-Carrier-Timestamp", "")
        given = request.headers.get("X-Carrier-Signature", "")
        right = signature(timestamp, request.body)
        if not settings.CARRIER_WEBHOOK_SECRET or not hmac.compare_digest(given.lower().encode(), right.encode()):
            raise AuthenticationFailed("The signature is not a carrier's.")
        if not _is_recent(timestamp):
            raise AuthenticationFailed(f"The message was not signed within the last {WINDOW} seconds.")
        return Carrier(), None

    def authenticate_header(self, request: Request) -> str:
        return "Carrier-Signature"


def _is_recent(timestamp: str) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        return False
    return abs(time.time() - int(timestamp)) <= WINDOW


class CarrierSignatureScheme(OpenApiAuthenticationExtension):
    """How the schema describes it."""

    target_class = CarrierSignature
    name = "carrierSignature"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "Hex HMAC-SHA256 of `TIMESTAMP.BODY`, TIMESTAMP being that of X-Carrier-Timestamp."
        return {"type": "apiKey", "in": "header", "name": "X-Carrier-Signature", "description": description}
