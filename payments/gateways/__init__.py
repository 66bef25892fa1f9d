"""The payment gateways, by the name a customer chooses them by."""

from payments.gateways.base import (
    Answer,
    Charged,
    ChargeRequest,
    Declined,
    NotCharged,
    PaymentGateway,
    Refunded,
    Unknown,
)
from payments.gateways.sandbox import SandboxGateway
from shop.contracts.payments import GATEWAYS

__all__ = [
    "Answer",
    "ChargeRequest",
    "Charged",
    "Declined",
    "NotCharged",
    "PaymentGateway",
    "Refunded",
    "Unknown",
    "UnknownGateway",
    "gateway",
]

_REGISTRY: dict[str, PaymentGateway] = {name: SandboxGateway(name) for name in GATEWAYS}


class UnknownGateway(LookupError):
    """There is no payment gateway of this name (code PAY005)."""


def gateway(name: str) -> PaymentGateway:
    """The gateway of that name. Raises `UnknownGateway`."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise UnknownGateway(f"There is no payment gateway {name!r}; there are {', '.join(GATEWAYS)}.") from None
