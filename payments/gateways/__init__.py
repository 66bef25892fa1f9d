"""The payment gateways, by the name a customer chooses them by. `settings.PAYMENT_GATEWAYS` says which there are."""

from django.conf import settings
from django.utils.module_loading import import_string

from payments.gateways.base import (
    ActionRequired,
    Answer,
    Authorization,
    Authorized,
    Authorizing,
    Capabilities,
    Captured,
    Declined,
    Done,
    Finding,
    Forged,
    Kind,
    Lookup,
    NotFound,
    Notification,
    Operating,
    Operation,
    PaymentGateway,
    Refused,
    Return,
    State,
    StatementLine,
    Unknown,
    Waiting,
)
from shop.contracts.payments import ADAPTERS

__all__ = [
    "ActionRequired",
    "Answer",
    "Authorization",
    "Authorized",
    "Authorizing",
    "Capabilities",
    "Captured",
    "Declined",
    "Done",
    "Finding",
    "Forged",
    "Kind",
    "Lookup",
    "NotFound",
    "Notification",
    "Operating",
    "Operation",
    "PaymentGateway",
    "Refused",
    "Return",
    "State",
    "StatementLine",
    "Unknown",
    "UnknownGateway",
    "Waiting",
    "gateway",
]

_made: dict[str, PaymentGateway] = {}  # each once per process: it may keep connections, and count what it asks


class UnknownGateway(LookupError):
    """There is no payment gateway of this name (code PAY005)."""


def gateway(name: str) -> PaymentGateway:
    """The gateway of that name. Raises `UnknownGateway`."""
    if name not in _made:
        configured = settings.PAYMENT_GATEWAYS.get(name)
        if configured is None:
            known = ", ".join(settings.PAYMENT_GATEWAYS)
            raise UnknownGateway(f"There is no payment gateway {name!r}; there are {known}.")
        _made[name] = import_string(ADAPTERS[configured.adapter].path)(name, configured.options)
    return _made[name]
