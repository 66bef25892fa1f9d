"""The address to which a customer comes back from a provider's page. It needs no login, so it works on every device.

The order's number in it is signed, so that nobody can come back for another order.
"""

from functools import lru_cache

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

PLACE = "ORDER"


def return_url(order_id: int) -> str:
    """Where the customer of an order comes back to."""
    return _address(settings.PUBLIC_URL).replace(PLACE, _signer().sign(str(order_id)))


def order_of(signed: str) -> int | None:
    """The order that an address names; None for one that we have not made."""
    try:
        return int(_signer().unsign(signed))
    except (BadSignature, ValueError):
        return None


@lru_cache(maxsize=4)
def _address(public_url: str) -> str:
    return public_url + reverse("payment-return", args=[PLACE])


def _signer() -> Signer:
    return Signer(salt="payments.return", sep=".")
