"""Every event that crosses a service boundary, in saga order.

An event is a fact in the past tense: frozen, ids and values only, never personal data in the clear (an address travels
sealed, see `shop/seal.py`). Readers ignore fields they do not know, so a field may be added at any time with a
default; renaming or removing one needs a new event.

Amounts are integers in the currency's minor unit.
"""

import operator
from functools import cache, lru_cache, reduce
from typing import Any
from uuid import UUID

import msgspec

from sagas.ids import uuid7


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True, tag_field="type"):
    """What every event carries.

    `caused_by` is the id of the event whose handling led to this one, None for the first of a saga; `trace` the W3C
    `traceparent` of the request that began it.
    """

    order_id: int
    event_id: UUID = msgspec.field(default_factory=uuid7)
    caused_by: UUID | None = None
    trace: str = ""


class Line(msgspec.Struct, frozen=True, gc=False):
    """So many pieces of a product."""

    product_id: int
    quantity: int


class Checkout(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the customer asked for: travels along the forward chain, so that no service has to ask another."""

    user_id: int
    amount: int
    currency: str
    payment_gateway: str
    payment_token: str
    lines: tuple[Line, ...]
    address: str = ""  # sealed


# --- Forward --------------------------------------------------------------------------------------------------------
class OrderCreated(Event, frozen=True):
    checkout: Checkout


class InventoryReserved(Event, frozen=True):
    checkout: Checkout


class PaymentCompleted(Event, frozen=True):
    checkout: Checkout


class DeliveryStarted(Event, frozen=True):
    user_id: int
    tracking_number: str


class DeliveryCompleted(Event, frozen=True):
    user_id: int
    tracking_number: str


class OrderCompleted(Event, frozen=True):
    user_id: int


# --- Refusals: the turning points -----------------------------------------------------------------------------------
class InventoryReservationFailed(Event, frozen=True):
    reason: str


class PaymentFailed(Event, frozen=True):
    reason: str


class DeliveryFailed(Event, frozen=True):
    user_id: int
    reason: str


class OrderCancellationRequested(Event, frozen=True):
    """By the customer, or by the saga's deadline: both enter the backward chain at its head."""

    reason: str


class DeliveryCancellationRefused(Event, frozen=True):
    """The carrier already has the parcel."""


# --- Backward: the mirror image -------------------------------------------------------------------------------------
class DeliveryCancelled(Event, frozen=True):
    reason: str


class PaymentRefunded(Event, frozen=True):
    """Nothing of the customer's money is kept, whether or not any had been taken."""

    reason: str


class InventoryReleased(Event, frozen=True):
    reason: str


class OrderCancelled(Event, frozen=True):
    user_id: int
    reason: str


# Events that turn a saga round, or belong to the way back.
BACKWARD: tuple[type[Event], ...] = (
    InventoryReservationFailed,
    PaymentFailed,
    DeliveryFailed,
    OrderCancellationRequested,
    DeliveryCancelled,
    PaymentRefunded,
    InventoryReleased,
    OrderCancelled,
)
# Events with which a saga ends.
ENDS: tuple[type[Event], ...] = (OrderCompleted, OrderCancelled)


def every_event() -> tuple[type[Event], ...]:
    """All event types, in the order of this page."""
    return tuple(Event.__subclasses__())


@cache
def origin(event_type: type[Event]) -> str:
    """The service that such an event comes from: it is named after what it is about, and that has one owner."""
    name = event_type.__name__
    for prefix, service in (
        ("Order", "orders"),
        ("Inventory", "inventory"),
        ("Payment", "payments"),
        ("Delivery", "delivery"),
    ):
        if name.startswith(prefix):
            return service
    raise ValueError(f"{name} is named after no service")


@lru_cache(maxsize=1)
def _types() -> dict[str, type[Event]]:
    return {event.__name__: event for event in every_event()}


def by_name(name: str) -> type[Event]:
    """The event type of that name. Raises KeyError."""
    return _types()[name]


def encode(event: Event) -> dict[str, Any]:
    """An event as JSON-ready values, its type under "type"."""
    encoded: dict[str, Any] = msgspec.to_builtins(event)
    return encoded


def decode(raw: Any, types: tuple[type[Event], ...] | None = None) -> Event:
    """The event that `raw`, JSON (`msgspec.Raw`) or what it stands for, describes: one of `types` (default: any).

    Raises `msgspec.DecodeError`; its message names the field that is wrong.
    """
    if isinstance(raw, msgspec.Raw):
        return _reader(types).decode(raw)
    named = raw.get("type") if isinstance(raw, dict) else None
    known = _types().get(named) if isinstance(named, str) else None
    if known and (types is None or known in types):
        return msgspec.convert(raw, known)
    event: Event = msgspec.convert(raw, _any_of(types))  # ten times as slow, but its error says what was expected
    return event


def decode_all(text: str | msgspec.Raw, types: tuple[type[Event], ...] | None = None) -> list[Event]:
    """The events in a JSON array, each one of `types` (default: any). Raises `msgspec.DecodeError`."""
    return _reader_of_many(types).decode(text)


def _any_of(types: tuple[type[Event], ...] | None) -> Any:
    return reduce(operator.or_, types or every_event())


@lru_cache(maxsize=64)
def _reader(types: tuple[type[Event], ...] | None) -> msgspec.json.Decoder[Event]:
    return msgspec.json.Decoder(_any_of(types))


@lru_cache(maxsize=64)
def _reader_of_many(types: tuple[type[Event], ...] | None) -> msgspec.json.Decoder[list[Event]]:
    event: Any = _any_of(types)
    return msgspec.json.Decoder(list[event])
