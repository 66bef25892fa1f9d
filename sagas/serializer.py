"""How a message for a step is written: the JSON that Celery would write, by msgspec.

The standard library's JSON took a fifth of a worker's time, and its parent process decoded each message only to hand it
on. Here a message's events stay JSON (`msgspec.Raw`) until their step reads them. Celery's own messages, ticks and
commands, use the serializer "json" as ever; a step's message may, too.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from kombu.serialization import register

EVENTS = "events"  # the serializer's name
CONTENT_TYPE = "application/vnd.sagas.events+json"

_decoder = msgspec.json.Decoder(tuple[tuple[msgspec.Raw], dict[str, Any], dict[str, Any]])


def write(body: Any) -> bytes:
    """Celery's (args, kwargs, embed) as JSON; the events in it may be events or JSON-ready values."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # half a surrogate pair, in a dead letter that is replayed
        return json.dumps(msgspec.to_builtins(body)).encode()


def read(text: str) -> Any:
    """(args, kwargs, embed) again, its one argument a list that is still JSON. Raises `msgspec.DecodeError`."""
    ((events,), _, _) = message = _decoder.decode(text)
    if bytes(memoryview(events)[:1]) != b"[":
        raise msgspec.ValidationError("Expected a list of events")
    return message


def merged(bodies: Sequence[Any]) -> bytes:
    """The body of one message with the events of several, which `read` has read."""
    events = (bytes(memoryview(some))[1:-1].strip() for ((some,), _, _) in bodies)
    return write(((msgspec.Raw(b"[" + b",".join(filter(None, events)) + b"]"),), {}, bodies[0][2]))


register(EVENTS, write, read, content_type=CONTENT_TYPE, content_encoding="utf-8")
