"""The payment port: what a gateway is asked, and what it can answer.

Every method takes a batch, and answers it in its order; a gateway without batches works one off concurrently. Every
operation has an idempotency key of its own: the same key always comes with the same amount, and asking again with it
never moves money twice. An answer that did not come is an answer too, `Unknown`: the money may have moved or not, and
only asking again tells.

`payment` is our name for a payment at its provider, unique per account; `reference` is the provider's, empty as long as
none was given. Amounts are integers in the currency's minor unit. Times are aware.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct, field


class Capabilities(NamedTuple):
    """What a gateway can do."""

    separate_capture: bool  # money can be held first and taken later
    partial_refund: bool
    customer_action: bool  # a customer is sent to a page of the provider
    asynchronous: bool  # some of its methods are paid hours or days later, as a deposit to a virtual account
    methods: tuple[str, ...] = ()  # that a customer can choose from ("card", "virtual_account", …); empty: no choice


# --- What it is asked -------------------------------------------------------------------------------------------------
class Authorization(Struct, frozen=True):
    """Hold `amount`; with `capture`, take it at once."""

    key: str
    payment: str
    order_id: int
    amount: int
    currency: str
    token: str  # what the client gave; "" when the customer pays on the provider's page
    capture: bool
    method: str = ""  # one of the gateway's methods, or its own choice
    return_url: Callable[[], str] = str  # makes the address to come back to, which an adapter may append a query to
    until: datetime | None = None  # the shop's deadline for the customer, for providers that take one


class Operation(Struct, frozen=True):
    """Capture, void or refund so much of a payment."""

    key: str
    payment: str
    reference: str
    amount: int
    currency: str
    reason: str = ""


class Return(Struct, frozen=True):
    """A customer came back from the provider's page."""

    key: str
    payment: str
    reference: str
    amount: int
    currency: str
    capture: bool
    parameters: Mapping[str, str] = field(default_factory=dict)  # the query with which the customer came


class Lookup(NamedTuple):
    """A payment whose state is wanted."""

    payment: str
    reference: str


# --- What it answers --------------------------------------------------------------------------------------------------
class Authorized(Struct, frozen=True):
    """The money is held."""

    reference: str


class Captured(Struct, frozen=True):
    """The money is held and taken."""

    reference: str


class ActionRequired(Struct, frozen=True):
    """The customer has to go to `url` before `until`."""

    reference: str
    url: str
    until: datetime


class Waiting(Struct, frozen=True):
    """The money is still to come, as a deposit. `details` are what the customer needs for it, in their own words:
    {"bank": …, "account": …, "holder": …}."""

    reference: str
    until: datetime
    details: Mapping[str, str] = field(default_factory=dict)


class _Refusal(Struct, frozen=True):
    """`reason` reads "CODE: text". Raises ValueError if it is empty."""

    reason: str

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError(f"{type(self).__name__} does not say why")


class Declined(_Refusal, frozen=True):
    """The gateway took nothing, and will not under this key. While the customer may try another card, the answer is
    `ActionRequired`."""


class Done(Struct, frozen=True):
    """The operation has happened, now or before, under the same key."""

    reference: str = ""


class Refused(_Refusal, frozen=True):
    """The operation is not possible: the hold has expired, or the payment is void, or the amount too large. Whether
    another one has happened instead is for `find` to say."""


class State(Struct, frozen=True):
    """All that has happened to a payment so far. `action` is what it waits for, if it does.

    `authorized` is all that was ever held, `captured` all that was ever taken of it, `voided` whether the rest of what
    was held has been released.
    """

    reference: str
    authorized: int
    captured: int
    refunded: int
    voided: bool = False
    action: ActionRequired | Waiting | None = None


class NotFound(Struct, frozen=True):
    """The gateway knows of no such payment."""


class Unknown(Struct, frozen=True):
    """No answer: ask again."""

    reason: str


Authorizing = Authorized | Captured | ActionRequired | Waiting | Declined | Unknown
Operating = Done | Refused | Unknown
Finding = State | NotFound | Unknown
Answer = Authorizing | Operating | Finding


# --- What it tells by itself ------------------------------------------------------------------------------------------
class Forged(ValueError):
    """This notification was not sent by the provider, or cannot be read."""


class Notification(Struct, frozen=True):
    """Something has happened to a payment. A hint: what, `find` says.

    `event_id` is the provider's own, or one made of what the notification says: the same for the same notification.
    """

    event_id: str
    payment: str = ""
    reference: str = ""  # where the provider does not name `payment`


class Kind(StrEnum):
    """Which way money went."""

    CAPTURE = "CAPTURE"
    REFUND = "REFUND"


class StatementLine(Struct, frozen=True):
    """A movement of money in the provider's books.

    `payment` is "" where the provider names only its `reference`, and `key` where it does not name the operation's.
    """

    reference: str
    payment: str
    kind: Kind
    amount: int
    currency: str
    at: datetime
    key: str = ""


class PaymentGateway(Protocol):
    """Somebody who moves money. Answers come in the order of the requests.

    Each method raises `sagas.Unavailable` when the whole gateway is away. A gateway is made of its name, as customers
    choose it, and of its options, as the settings give them: `Gateway(name, options)`.
    """

    capabilities: Capabilities

    @property
    def zone(self) -> tzinfo:
        """In which the provider's days begin and end."""

    def authorize(self, requests: Sequence[Authorization]) -> Sequence[Authorizing]:
        """Hold money, or take it. A key that was authorized before is answered as it was then, also after its refund;
        one that waits for its customer is answered as it waits now."""

    def confirm(self, returns: Sequence[Return]) -> Sequence[Authorizing]:
        """Go on with payments whose customers came back. What the query says is to be checked with the provider. One
        confirmed before is answered `Authorized` or `Captured` again."""

    def capture(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        """Take so much of what is held."""

    def void(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        """Let go of what is held, or of what waits for its customer, who cannot pay it any more then."""

    def refund(self, operations: Sequence[Operation]) -> Sequence[Operating]:
        """Give back so much of what was taken."""

    def find(self, payments: Sequence[Lookup]) -> Sequence[Finding]:
        """What has happened to payments so far."""

    def read_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """What the provider tells, checked as the provider says; header names are in lower case. Raises `Forged`."""

    def statement(self, day: date) -> Iterable[StatementLine]:
        """The provider's books of a day in `zone`. Raises NotImplementedError where its API has no list."""
