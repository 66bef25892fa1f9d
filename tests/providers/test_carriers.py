"""The carrier port: whatever happens on the way to a carrier, a parcel is booked once, cancelled or followed.

Run by EasyPost's adapter against the stand-in; another adapter with a stand-in is another row of ADAPTERS.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from delivery.carriers import (
    Booked,
    Booking,
    Cancelled,
    Carrier,
    Forged,
    NoNews,
    Parcel,
    Refused,
    Report,
    TooLate,
    Unknown,
)
from delivery.carriers.easypost import EasyPost, postal_address
from lab.providers import easypost as stand_in
from lab.providers.server import (
    FAIL_AFTER,
    FAIL_BEFORE,
    HANG,
    LOSE_ANSWER,
    LOSE_REQUEST,
    MALFORMED,
    TOO_MANY,
)

ADDRESS = "Hana Kim\n417 Montgomery St\nSan Francisco, CA 94104"
SENDER = "Shop\n1 Main St\nOakland, CA 94607\nUS"
OPTIONS = {"api_key": stand_in.API_KEY, "webhook_secret": stand_in.WEBHOOK_SECRET, "sender": SENDER, "weight": "16"}


class Scene(NamedTuple):
    """An adapter, and the carrier that it asks."""

    carrier: Carrier
    provider: stand_in.EasyPost


@pytest.fixture
def scene() -> Iterator[Scene]:
    provider = stand_in.EasyPost()
    with provider:
        quick = {"timeout": "2", "patience": "20", "stall": "5"}
        adapter = EasyPost("EASYPOST", OPTIONS | quick | {"url": f"{provider.url}/v2"})
        yield Scene(adapter, provider)
        provider.faults.released.set()
        adapter.provider.close()


def booking(order_id: int = 1, **more: Any) -> Booking:
    fields: dict[str, Any] = {"key": f"order-{order_id}", "order_id": order_id, "address": ADDRESS}
    return Booking(**fields | more)


def again(of: Booking, answer: Any) -> Booking:
    """The question that follows an answer that did not come."""
    assert isinstance(answer, Unknown), answer
    return booking(of.order_id, again=True, reference=answer.reference)


def book(scene: Scene, order_id: int = 1) -> Parcel:
    (booked,) = scene.carrier.book([booking(order_id)])
    assert isinstance(booked, Booked), booked
    return Parcel(f"order-{order_id}", order_id, booked.number, booked.reference, "PREPARING")


# --- Book -------------------------------------------------------------------------------------------------------------
def test_a_parcel_is_booked_at_the_lowest_rate(scene: Scene):
    (booked,) = scene.carrier.book([booking()])
    (bought,) = scene.provider.bought
    assert booked == Booked(
        number=bought["tracking_code"],
        carrier="USPS",
        reference=bought["id"],
        label_url=bought["postage_label"]["label_url"],
    )
    assert (bought["selected_rate"]["service"], bought["reference"]) == ("GroundAdvantage", "order-1")


@pytest.mark.parametrize("operation", ["create", "buy"])
@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER, FAIL_BEFORE, FAIL_AFTER, MALFORMED])
def test_what_was_not_answered_is_asked_again_and_booked_once(scene: Scene, operation: str, fault: str):
    scene.provider.faults.plan(operation, fault)
    (first,) = scene.carrier.book([booking()])
    (second,) = scene.carrier.book([again(booking(), first)])
    (third,) = scene.carrier.book([booking(again=True)])  # the answer was lost on our side
    assert isinstance(second, Booked), second
    assert third == second
    assert [one["tracking_code"] for one in scene.provider.bought] == [second.number]


def test_a_carrier_that_hangs_is_given_up_and_asked_again(scene: Scene):
    scene.provider.faults.plan("buy", HANG)
    (first,) = scene.carrier.book([booking()])
    scene.provider.faults.released.set()
    (second,) = scene.carrier.book([again(booking(), first)])
    assert isinstance(second, Booked)
    assert len(scene.provider.bought) == 1


def test_a_pause_that_is_asked_for_is_made(scene: Scene):
    scene.provider.faults.plan("create", TOO_MANY, TOO_MANY)
    book(scene)
    assert [fault for operation, fault in scene.provider.requests if operation == "create"] == [TOO_MANY, TOO_MANY, ""]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("somewhere", "cannot be read"),
        (f"Hana Kim\n1 Road\n{stand_in.NOWHERE}, CA 94104", "No service there."),
        (f"Hana Kim\n1 Road\n{stand_in.UNPRINTABLE}, CA 94104", "refuses this address"),
    ],
)
def test_what_no_carrier_takes_is_refused_and_costs_nothing(scene: Scene, address: str, why: str):
    (refused,) = scene.carrier.book([booking(address=address)])
    assert isinstance(refused, Refused)
    assert why in refused.reason
    assert scene.provider.bought == []


def test_a_wrong_key_is_no_refusal(scene: Scene):
    adapter = EasyPost("EASYPOST", OPTIONS | {"api_key": "wrong", "url": f"{scene.provider.url}/v2"})
    (unknown,) = adapter.book([booking()])
    assert isinstance(unknown, Unknown)
    assert "401" in unknown.reason


def test_a_large_batch_is_worked_off_concurrently(scene: Scene):
    scene.provider.latency = 0.05
    answers = scene.carrier.book([booking(order_id) for order_id in range(60)])  # 120 requests: six seconds in a row
    assert {type(answer) for answer in answers} == {Booked}
    assert {one["reference"] for one in scene.provider.bought} == {f"order-{n}" for n in range(60)}
    assert len(scene.provider.bought) == 60


# --- Cancel -----------------------------------------------------------------------------------------------------------
def test_a_parcel_is_cancelled_twice_and_refunded_once(scene: Scene):
    parcel = book(scene)
    assert list(scene.carrier.cancel([parcel, parcel])) == [Cancelled(), Cancelled()]
    assert scene.provider.bought == []


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER, FAIL_AFTER, MALFORMED])
def test_a_cancellation_that_was_not_answered_is_asked_for_again(scene: Scene, fault: str):
    parcel = book(scene)
    scene.provider.faults.plan("refund", fault)
    assert isinstance(scene.carrier.cancel([parcel])[0], Unknown)
    assert list(scene.carrier.cancel([parcel])) == [Cancelled()]


def test_what_was_never_booked_is_cancelled(scene: Scene):
    nothing = Parcel("order-9", 9, "", "", "CANCELLING")
    assert list(scene.carrier.cancel([nothing])) == [Cancelled()]


def test_a_booking_whose_answer_was_lost_is_cancelled_by_its_key(scene: Scene):
    scene.provider.faults.plan("buy", LOSE_ANSWER)
    scene.carrier.book([booking()])
    assert len(scene.provider.bought) == 1
    assert list(scene.carrier.cancel([Parcel("order-1", 1, "", "", "CANCELLING")])) == [Cancelled()]
    assert scene.provider.bought == []


def test_what_the_carrier_has_cannot_be_cancelled(scene: Scene):
    parcel = book(scene)
    scene.provider.move("order-1", "in_transit")
    assert list(scene.carrier.cancel([parcel])) == [TooLate(parcel.number)]


# --- Follow -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        ("pre_transit", "label_created", None),
        ("unknown", "unknown", None),
        ("in_transit", "arrived_at_facility", ("IN_TRANSIT", "")),
        ("out_for_delivery", "out_for_delivery", ("IN_TRANSIT", "")),
        ("delivered", "arrived_at_destination", ("DELIVERED", "")),
        ("return_to_sender", "refused", ("FAILED", "refused")),
        ("failure", "damaged", ("FAILED", "damaged")),
    ],
)
def test_a_parcel_is_followed_by_asking_and_by_webhook(
    scene: Scene, status: str, detail: str, expected: tuple[str, str] | None
):
    parcel = book(scene)
    scene.provider.move("order-1", status, detail)
    (tracked,) = scene.carrier.track([parcel])
    ((headers, body),) = scene.provider.notifications
    reports = list(scene.carrier.read_reports(lowered(headers), body))
    if expected is None:
        assert (tracked, reports) == (NoNews(), [])
    else:
        assert tracked == Report(*expected, number=parcel.number)
        assert [(one.status, one.reason, one.number) for one in reports] == [(*expected, parcel.number)]
        assert reports[0].event_id.startswith("evt_")


def test_a_webhook_that_is_not_easyposts_is_refused(scene: Scene):
    book(scene)
    scene.provider.move("order-1", "delivered")
    ((headers, body),) = scene.provider.notifications
    for forged in ({}, {"x-hmac-signature": "hmac-sha256-hex=0"}, lowered(stand_in.sign(body + b" "))):
        with pytest.raises(Forged):
            scene.carrier.read_reports(forged, body)
    for garbled in (b"", b"[]", b'{"id": "evt_1", "result": {"object": "Tracker", "status": "delivered"}}'):
        with pytest.raises(Forged):
            scene.carrier.read_reports(lowered(stand_in.sign(garbled)), garbled)
    without = EasyPost("EASYPOST", {name: value for name, value in OPTIONS.items() if name != "webhook_secret"})
    with pytest.raises(Forged):
        without.read_reports(lowered(headers), body)
    assert without.look_after("PREPARING") < scene.carrier.look_after("PREPARING")  # type: ignore[operator]


@pytest.mark.parametrize("event", ["{}", '{"id": "evt_1", "result": null}', '{"result": {"id": "sf_1"}}'])
def test_a_signed_event_about_something_else_tells_nothing(scene: Scene, event: str):
    assert scene.carrier.read_reports(lowered(stand_in.sign(event.encode())), event.encode()) == []


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ADDRESS, {"name": "Hana Kim", "street1": "417 Montgomery St", "city": "San Francisco", "state": "CA"}),
        ("1 Road\nReno, NV 89501", {"name": "Order 1", "street1": "1 Road", "zip": "89501", "country": "US"}),
        ("A\nWeg 2\nHof\n10115 Berlin\nDE", {"street2": "Hof", "zip": "10115", "city": "Berlin", "country": "DE"}),
        ("12 High Street", None),
        ("서울특별시 중구 세종대로 110", None),
        ("", None),
    ],
)
def test_an_address_is_read_line_by_line(text: str, expected: dict[str, str] | None):
    read = postal_address(text, name="Order 1")
    assert read == expected if expected is None or read is None else expected.items() <= read.items()
