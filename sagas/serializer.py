"""How a message for a step is written: as the JSON that Celery would write, but by msgspec.

The standard library's JSON took a fifth of a worker's time, and its parent read each message whole, only to hand it on.
Here a message's events stay the JSON that they are (`msgspec.Raw`) until their step reads them.

Celery's own messages, ticks and commands, are in the serializer "json" as ever; a step's message may be, too.
"""

import json
from typing import Any

import msgspec
from kombu.serialization import register

EVENTS = "events"  # the serializer's name
CONTENT_TYPE = "application/vnd.shop.events+json"

_reader = msgspec.json.Decoder(tuple[tuple[msgspec.Raw], dict[str, Any], dict[str, Any]])


def write(body: Any) -> bytes:
    """Celery's (args, kwargs, embed) as JSON; the events in it may be events, or ready to be JSON."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # half a surrogate pair, in a dead letter that is replayed
        return json.dumps(msgspec.to_builtins(body)).encode()


def read(text: str) -> Any:
    """The same again, its one argument a list that is still JSON. Raises `msgspec.DecodeError`."""
    message = _reader.decode(text)
    ((events,), _, _) = message
    if bytes(memoryview(events)[:1]) != b"[":
        raise msgspec.ValidationError("Expected a list of events")
    return message


register(EVENTS, write, read, content_type=CONTENT_TYPE, content_encoding="utf-8")
