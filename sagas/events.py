"""Events: frozen messages that say what has happened, and how they are written and read.

An event holds ids and values, never personal data in the clear. Readers ignore fields that they do not know, so a
field with a default may be added at any time; renaming or removing one needs a new event.
"""

import os
import time
from functools import lru_cache
from random import Random
from typing import Any, Union
from uuid import UUID

import msgspec

VERSION_AND_VARIANT = (0x7 << 76) | (0x2 << 62)  # the fixed bits of a UUIDv7
RANDOM_BITS = ~(0xF << 76) & ~(0x3 << 62)
# Ids are no secrets, and os.urandom costs as much as all the rest of making one.
_dice = Random()  # nosec B311
os.register_at_fork(after_in_child=_dice.seed)


def uuid7() -> UUID:
    """A UUID that sorts by its time of creation (RFC 9562, version 7), so that new rows go to the end of an index."""
    number = (time.time_ns() // 1_000_000 << 80) | VERSION_AND_VARIANT | (_dice.getrandbits(80) & RANDOM_BITS)
    return msgspec.convert(number.to_bytes(16), UUID)  # in less than half the time of UUID(int=number)


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True, tag_field="type"):
    """What every event carries. A saga's events have one base class of their own, which adds the correlation key:

        class OrderEvent(Event, frozen=True, kw_only=True):
            order_id: int

    `caused_by` is the id of the event whose handling led to this one, None for the first of a saga; `trace` is the W3C
    `traceparent` of the request that began it.
    """

    event_id: UUID = msgspec.field(default_factory=uuid7)
    caused_by: UUID | None = None
    trace: str = ""


EventTypes = tuple[type[Event], ...]
_union: Any = Union.__getitem__  # of a tuple of types


def encode(event: Event) -> dict[str, Any]:
    """An event as JSON-ready values, its type under "type"."""
    values: dict[str, Any] = msgspec.to_builtins(event)
    return values


def decode(raw: Any, types: EventTypes) -> Event:
    """The event, one of `types`, that `raw` describes: JSON (`msgspec.Raw`) or the values it stands for.

    Raises `msgspec.DecodeError`, which names the field that is wrong.
    """
    is_json = isinstance(raw, msgspec.Raw)
    event: Event = _decoder(types).decode(raw) if is_json else msgspec.convert(raw, _union(types))
    return event


def decode_all(text: str | msgspec.Raw, types: EventTypes) -> list[Event]:
    """The events of a JSON array, each one of `types`. Raises `msgspec.DecodeError`."""
    events: list[Event] = _decoder(types, many=True).decode(text)
    return events


@lru_cache(maxsize=64)
def _decoder(types: EventTypes, *, many: bool = False) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(list[_union(types)] if many else _union(types))  # type: ignore[misc]
