"""How a carrier proves that a message is its own: an HMAC over time and body, with a secret that only it and we have.

`X-Carrier-Signature` is the hex HMAC-SHA256 of "TIMESTAMP.BODY" in any case, `X-Carrier-Timestamp` the seconds since
1970 when it was signed. An old message is refused, so that one that was overheard cannot be kept for later; within the
window a replay is known by its event id.
"""

import hashlib
import hmac
import logging
import time
from collections.abc import Sequence

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from delivery.carriers import Forged, Report, UnknownCarrier, carrier
from delivery.reports import NoSuchCarrier

logger = logging.getLogger(__name__)

WINDOW = 300  # seconds that the clocks, and the message's way, may take


class Carrier:
    """Who sent a message, by whose secret it was signed. `code` is what its tracking numbers begin with."""

    is_authenticated = True
    is_staff = False
    pk = id = None

    def __init__(self, code: str) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"the carrier {self.code}"


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What a carrier's message must be signed with."""
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _signed_by(given: str, timestamp: str, body: bytes) -> Carrier | None:
    """The carrier one of whose secrets makes this signature."""
    for code, ring in settings.CARRIER_SECRETS.items():
        for secret in ring:
            if hmac.compare_digest(given.lower().encode(), signature(secret, timestamp, body).encode()):
                return Carrier(code)
    return None


class CarrierSignature(BaseAuthentication):
    """Lets carriers in, and nobody else: those that have a secret in CARRIER_WEBHOOK_SECRETS."""

    def authenticate(self, request: Request) -> tuple[Carrier, None]:
        timestamp = request.headers.get("X-Carrier-Timestamp", "")
        given = request.headers.get("X-Carrier-Signature", "")
        sender = _signed_by(given, timestamp, request.body)
        if sender is None:
            raise AuthenticationFailed("The signature is not a carrier's.")
        if not _is_recent(timestamp):
            raise AuthenticationFailed(f"The message was not signed within the last {WINDOW} seconds.")
        return sender, None

    def authenticate_header(self, request: Request) -> str:
        return "Carrier-Signature"


class AccountSignature(BaseAuthentication):
    """Lets in the carrier whose own webhook it is, verified as that carrier says; what it tells is `request.auth`."""

    def authenticate(self, request: Request) -> tuple[Carrier, Sequence[Report]]:
        account = request.parser_context["kwargs"]["account"]
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            return Carrier(account), carrier(account).read_reports(headers, request.body)
        except UnknownCarrier:
            raise NoSuchCarrier(f"There is no carrier {account}.") from None
        except Forged as error:
            logger.warning("A message to the carrier %s's webhook is refused: %s", account, error)
            raise AuthenticationFailed("The message is not the carrier's, or cannot be read.") from None

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


class AccountSignatureScheme(OpenApiAuthenticationExtension):
    """How the schema describes it: EasyPost's header, say."""

    target_class = AccountSignature
    name = "carrierOwnSignature"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "As the carrier says: X-Hmac-Signature with EasyPost."
        return {"type": "apiKey", "in": "header", "name": "X-Hmac-Signature", "description": description}
