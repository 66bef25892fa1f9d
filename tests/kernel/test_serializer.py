"""How steps' messages are written: JSON that anybody can read, and that stays JSON until the step reads it."""

import json

import msgspec
import pytest
from kombu.exceptions import DecodeError
from kombu.serialization import dumps, loads

from sagas.events import decode, decode_all, encode
from sagas.serializer import CONTENT_TYPE, EVENTS
from shop.contracts.events import OrderCompleted, OrderCreated, PaymentFailed

COMPLETED = OrderCompleted(order_id=7, user_id=8)
REST = {"callbacks": None, "chain": None}


def test_an_event_comes_out_as_it_went_in():
    kind, encoding, body = dumps(([[encode(COMPLETED)]], {}, REST), serializer=EVENTS)

    assert (kind, json.loads(body)) == (CONTENT_TYPE, [[[json.loads(msgspec.json.encode(COMPLETED))]], {}, REST])
    ((events,), kwargs, rest) = loads(body, kind, encoding, accept={CONTENT_TYPE})
    assert (kwargs, rest) == ({}, REST)
    assert decode_all(events, (OrderCreated, OrderCompleted)) == [COMPLETED]


@pytest.mark.parametrize("body", ["{", "7", "[]", '[["x"], {}, {}]', "[[[1]], [], {}]"])
def test_what_is_no_message_is_refused(body: str):
    with pytest.raises(DecodeError):
        loads(body.encode(), CONTENT_TYPE, "utf-8", accept={CONTENT_TYPE})


@pytest.mark.parametrize("event", ["7", '"x"', "{}", '{"type":"Nonsense"}', '{"type":"OrderCompleted"}'])
def test_what_is_no_event_says_what_is_wrong(event: str):
    with pytest.raises(msgspec.DecodeError, match=r"Object missing|Expected|Invalid value"):
        decode(msgspec.Raw(event.encode()), (OrderCompleted, PaymentFailed))


def test_half_a_character_in_a_dead_letter_can_be_sent():
    _, _, body = dumps(([["\ud83d"]], {}, REST), serializer=EVENTS)

    assert json.loads(body)[0] == [["\ud83d"]]
