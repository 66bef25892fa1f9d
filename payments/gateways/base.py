"""What a payment gateway is, and what it can answer.

Every call takes a batch, so that a batch of orders costs a constant number of round trips. Every request carries the
payment's idempotency key: asking again with the same key never charges or refunds twice. An answer that did not come
is an answer too, `Unknown`: the money may have moved or not, and only asking again tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class ChargeRequest(NamedTuple):
    """Take `amount` (in the currency's minor unit) from what `token` stands for."""

    key: str
    amount: int
    currency: str
    token: str


@dataclass(frozen=True)
class Charged:
    """The gateway holds the customer's money."""


@dataclass(frozen=True)
class Declined:
    """The gateway took nothing, and will not under this key. `reason` reads "CODE: text"."""

    reason: str


@dataclass(frozen=True)
class Refunded:
    """The money was taken and has been given back."""


@dataclass(frozen=True)
class NotCharged:
    """Until now the gateway has taken nothing under this key."""


@dataclass(frozen=True)
class Unknown:
    """No answer: ask again."""

    reason: str


Answer = Charged | Declined | Refunded | NotCharged | Unknown


class PaymentGateway(Protocol):
    """Somebody who moves money. Answers come in the order of the requests.

    Each method raises `sagas.Unavailable` when the whole gateway is away.
    """

    def charge(self, requests: Sequence[ChargeRequest]) -> list[Charged | Declined | Unknown]:
        """Take money. A key that was charged before is answered `Charged` again, also after its refund."""

    def refund(self, keys: Sequence[str]) -> list[Refunded | NotCharged | Unknown]:
        """Give back all that was charged under each key."""

    def find(self, keys: Sequence[str]) -> list[Charged | Refunded | NotCharged | Unknown]:
        """What has happened under each key so far."""
