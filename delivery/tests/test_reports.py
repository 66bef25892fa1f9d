"""What carriers report: by the webhook that we offer, and in the words of their own."""

import json
import re
import time

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from delivery import privacy
from delivery.models import CarrierEvent, Delivery
from delivery.reports import settle
from delivery.signatures import signature
from delivery.tasks import cancel_delivery, start_delivery
from delivery.tests.saga import (
    COMPLETED,
    HANDED_OVER,
    STARTED,
    TRACE,
    advance,
    as_user,
    authorized,
    book,
    cancelling,
    code,
    key,
    not_captured,
    outbox,
    paid,
    run,
    status,
    told,
)
from shop.contracts.events import CustomerErased
from tests.support.carriers import ACCOUNT, AskedCarrier

pytestmark = pytest.mark.django_db(databases=["accounts", "default", "delivery"])

GOOD_END = [("DeliveryHandedOver", 1, None), ("DeliveryCompleted", 1, None)]
URL = "/api/v1/deliveries"
WEBHOOK = f"{URL}/carrier-events"
REFUSED = ("DeliveryCancellationRefused", 1, None)


@pytest.fixture(autouse=True)
def _carriers_have_secrets(settings):
    settings.CARRIER_SECRETS = {"CJ": ["of CJ"], "HJ": ["of HJ", "once of HJ"]}


# --- The webhook that we offer ----------------------------------------------------------------------------------------
def send(body, *, timestamp: str | None = None, age: int = 0, signed: str | None = None, secret: str = "of HJ"):
    """A carrier's message, signed now (or `age` seconds ago) and rightly unless the test says otherwise."""
    timestamp = str(int(time.time()) - age) if timestamp is None else timestamp
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "X-Carrier-Timestamp": timestamp,
        "X-Carrier-Signature": signature(secret, timestamp, data) if signed is None else signed,
    }
    return APIClient().post(WEBHOOK, data, content_type="application/json", headers=headers)


def message(status: str, event_id: str = "e1", **more) -> dict:
    return {"eventId": event_id, "trackingNumber": "HJ0000000001", "status": status, **more}


def test_the_carrier_hands_over_and_delivers(deliveries):
    assert send(message("IN_TRANSIT", "e1")).status_code == 202
    assert (status(1), told(outbox())) == ("IN_TRANSIT", GOOD_END[:1])
    assert send(message("DELIVERED", "e2")).status_code == 202
    assert status(1) == "DELIVERED"
    assert told(outbox()) == GOOD_END
    caused_by = Delivery.objects.get(order_id=1).caused_by
    assert {(event.caused_by, event.trace) for event in outbox()} == {(caused_by, TRACE)}
    advance()
    assert [news for news in told(outbox()) if news[1] == 1] == GOOD_END


def test_the_carrier_fails(deliveries):
    assert send(message("FAILED", reason="주소 불명")).status_code == 202
    assert told(outbox()) == [("DeliveryFailed", 1, "carrier: 주소 불명")]
    assert status(1) == "FAILED"


def test_a_failure_needs_no_reason(deliveries):
    send(message("FAILED"))
    assert told(outbox()) == [("DeliveryFailed", 1, "failed with the carrier")]


def test_a_carrier_may_skip_the_hand_over(deliveries):
    send(message("DELIVERED"))
    delivery = Delivery.objects.get(order_id=1)
    assert delivery.handed_over_at == delivery.delivered_at is not None
    assert told(outbox()) == GOOD_END
    assert send(message("IN_TRANSIT", "e2")).status_code == 202
    assert told(outbox()) == GOOD_END


@pytest.mark.parametrize(
    ("ended", "said", "disputed"),
    [
        ("CANCELLED", "DELIVERED", "DELIVERED"),
        ("CANCELLED", "IN_TRANSIT", "IN_TRANSIT"),
        ("CANCELLED", "FAILED", ""),
        ("FAILED", "DELIVERED", "DELIVERED"),
        ("FAILED", "IN_TRANSIT", ""),  # late
        ("DELIVERED", "FAILED", "FAILED"),
        ("DELIVERED", "IN_TRANSIT", ""),
        ("DELIVERED", "DELIVERED", ""),
    ],
)
def test_what_a_carrier_says_against_the_end_is_kept_for_staff(deliveries, ended: str, said: str, disputed: str):
    if ended == "CANCELLED":
        run(cancel_delivery, cancelling(1))
    else:
        send(message(ended, "e1"))
    before = told(outbox())
    assert send(message(said, "e2")).status_code == 202
    delivery = Delivery.objects.get(order_id=1)
    assert (delivery.status, delivery.disputed_by, told(outbox())) == (ended, disputed, before)


def test_what_staff_have_seen_to_is_locked_with_its_orders_first(deliveries):
    Delivery.objects.update(disputed_by="DELIVERED")
    with CaptureQueriesContext(connections["delivery"]) as asked:
        assert settle(Delivery.objects.values_list("pk", flat=True)) == 4
    locked, changed = [one["sql"] for one in asked if "UPDATE" in one["sql"]]
    assert re.search(r'"order_id" ASC, .* FOR UPDATE$', locked)
    assert changed.startswith("UPDATE")


def test_a_replay_changes_nothing(deliveries):
    for _ in range(2):
        assert send(message("FAILED", reason="파손")).status_code == 202
    assert CarrierEvent.objects.count() == 1
    assert told(outbox()) == [("DeliveryFailed", 1, "carrier: 파손")]


@pytest.mark.parametrize(
    "other", [{"status": "DELIVERED"}, {"reason": "파손"}, {"trackingNumber": "HJ0000000005"}], ids=str
)
def test_the_same_id_with_another_message_is_refused(deliveries, other):
    run(start_delivery, paid(5))  # with the same carrier as order 1
    assert send(message("IN_TRANSIT")).status_code == 202
    assert code(send(message("IN_TRANSIT") | other)) == (422, "C009")
    assert (status(1), status(5), CarrierEvent.objects.count()) == ("IN_TRANSIT", "PREPARING", 1)
    assert told(outbox()) == GOOD_END[:1]


def test_each_carrier_counts_its_own_messages(deliveries, settings):
    settings.CARRIER_SECRETS = {code: [f"of {code}"] for code in ("HJ", "LG", "EP")}
    for number in ("HJ0000000001", "LG0000000002", "EP0000000003"):
        told_of = message("DELIVERED", "1001") | {"trackingNumber": number}
        assert send(told_of, secret=f"of {number[:2]}").status_code == 202
    assert [status(order_id) for order_id in (1, 2, 3)] == ["DELIVERED"] * 3


@pytest.mark.parametrize("words", ["PAY002 상자 젖음", "I002: wet", "cancelled by the customer", "x" * 200])
def test_a_carriers_words_are_never_taken_for_ours(deliveries, words):
    send(message("FAILED", reason=words))
    ((_, _, reason),) = told(outbox())
    assert reason == f"carrier: {words}"[:200]
    assert Delivery.objects.get(order_id=1).reason == reason


@pytest.mark.parametrize("write", [str.lower, str.upper, str.swapcase])
def test_hexadecimal_is_written_in_any_case(deliveries, write):
    timestamp = str(int(time.time()))
    signed = write(signature("of HJ", timestamp, json.dumps(message("DELIVERED")).encode()))
    assert send(message("DELIVERED"), timestamp=timestamp, signed=signed).status_code == 202


@pytest.mark.parametrize("late", ["IN_TRANSIT", "DELIVERED", "FAILED"])
@pytest.mark.parametrize("end", ["DELIVERED", "FAILED"])
def test_what_comes_after_the_end_changes_nothing(deliveries, end, late):
    send(message(end, "e1"))
    before = told(outbox())
    assert send(message(late, "e2")).status_code == 202
    assert status(1) == end
    assert told(outbox()) == before


def test_a_cancelled_delivery_is_not_revived(deliveries):
    run(cancel_delivery, cancelling(1))
    assert send(message("DELIVERED")).status_code == 202
    assert status(1) == "CANCELLED"
    assert outbox() == []


def test_an_unknown_number_is_not_taken_in():
    assert code(send(message("DELIVERED"))) == (404, "D001")
    assert CarrierEvent.objects.count() == 0


@pytest.mark.parametrize(
    "how",
    [
        {"signed": ""},
        {"signed": "0" * 64},
        {"signed": "ü"},
        {"timestamp": ""},
        {"timestamp": "now"},
        {"timestamp": "-1"},
        {"timestamp": "9" * 4000},
        {"age": 400},
        {"age": -400},
    ],
)
def test_a_message_that_is_not_a_carriers_or_too_old_is_refused(deliveries, how):
    answer = send(message("DELIVERED"), **how)
    assert code(answer) == (401, "C006")
    assert answer.headers["WWW-Authenticate"] == "Carrier-Signature"
    assert status(1) == "PREPARING"
    assert CarrierEvent.objects.count() == 0


def test_no_message_without_headers_or_with_another_body(deliveries):
    assert code(APIClient().post(WEBHOOK, message("DELIVERED"), format="json")) == (401, "C006")
    assert code(as_user(9, staff=True).get(WEBHOOK))[0] == 405
    timestamp = str(int(time.time()))
    signed = signature("of HJ", timestamp, json.dumps(message("FAILED")).encode())
    assert code(send(message("DELIVERED"), timestamp=timestamp, signed=signed)) == (401, "C006")


def test_without_a_secret_there_are_no_carriers(deliveries, settings):
    settings.CARRIER_SECRETS = {}
    for secret in ("of HJ", "of CJ", ""):
        assert code(send(message("DELIVERED"), secret=secret)) == (401, "C006")


def test_a_carrier_reports_on_its_own_parcels_only(deliveries):
    assert code(send(message("DELIVERED"), secret="of CJ")) == (404, "D001")
    assert (status(1), outbox(), CarrierEvent.objects.count()) == ("PREPARING", [], 0)

    assert send(message("DELIVERED")).status_code == 202
    assert status(1) == "DELIVERED"


def test_of_two_parcels_with_one_number_a_carrier_reports_on_its_own(deliveries, settings):
    settings.CARRIER_SECRETS |= {"LG": ["of LG"]}
    Delivery.objects.filter(order_id=2).update(tracking_number="HJ0000000001")

    assert send(message("DELIVERED", reason="left with Ms Kim"), secret="of LG").status_code == 202

    assert (status(1), status(2)) == ("PREPARING", "DELIVERED")
    assert [len(privacy.of_orders([order_id])["carrier_events"]) for order_id in (1, 2)] == [0, 1]
    for order_id, left in ((1, "left with Ms Kim"), (2, "")):
        privacy.erase([CustomerErased(user_id=7, order_ids=(order_id,))])
        assert CarrierEvent.objects.get().reason == left


def test_while_a_secret_is_replaced_both_are_good(deliveries, settings):
    assert send(message("IN_TRANSIT", "e1"), secret="once of HJ").status_code == 202
    settings.CARRIER_SECRETS = {"HJ": ["of HJ"]}
    assert code(send(message("DELIVERED", "e2"), secret="once of HJ")) == (401, "C006")
    assert send(message("DELIVERED", "e3")).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {},
        message("PREPARING"),
        message("CANCELLED"),
        message("DELIVERED", event_id=""),
        message("DELIVERED", event_id="x" * 65),
        message("DELIVERED", price=1),
        message("DELIVERED", reason="r" * 201),
        message("DELIVERED") | {"eventId": 7},
        [],
        b"{",
        b'"\x00"',
        b"[" * 100_000,
    ],
)
def test_a_message_that_cannot_be_understood_is_a_400(deliveries, body):
    assert code(send(body)) == (400, "C002")
    assert status(1) == "PREPARING"


def test_a_body_over_the_limit_is_a_problem_too():
    assert send(b" " * 300_000).status_code == 413


# --- In a carrier's own words -----------------------------------------------------------------------------------------
def tell(body: str, secret: str = "known", account: str = ACCOUNT) -> int:
    url = f"/api/v1/deliveries/reports/{account}"
    client = APIClient()
    answer = client.post(url, body.encode(), content_type="application/json", headers={"X-Secret": secret})
    return answer.status_code


def test_a_report_may_be_faster_than_the_answer_to_a_cancellation(carrier: AskedCarrier):
    book()
    run(cancel_delivery, cancelling())
    assert tell(f"e1 {key()} IN_TRANSIT") == 202
    assert (status(), told(outbox())) == ("IN_TRANSIT", [STARTED, HANDED_OVER, REFUSED])
    carrier.books[key()] = carrier.books[key()]._replace(status="IN_TRANSIT")
    advance()
    assert told(outbox()) == [STARTED, HANDED_OVER, REFUSED, COMPLETED]


def test_a_parcel_may_arrive_while_it_is_called_back(carrier: AskedCarrier):
    run(start_delivery, authorized())
    advance()
    advance()
    run(cancel_delivery, not_captured())
    assert tell(f"e1 {key()} DELIVERED") == 202
    assert (status(), told(outbox())[-1], advance()) == ("DELIVERED", COMPLETED, 0)


def test_a_carrier_reports_by_its_own_webhook_once_and_in_any_order(carrier: AskedCarrier):
    book()
    for _ in range(2):
        assert tell(f"e1 {key()} DELIVERED") == 202
    assert tell(f"e2 {key()} IN_TRANSIT") == 202
    assert tell("e3 order-9 DELIVERED") == 202  # of nobody's we know
    assert (status(), told(outbox())) == ("DELIVERED", [STARTED, HANDED_OVER, COMPLETED])
    assert list(CarrierEvent.objects.order_by("event_id").values_list("carrier", "event_id")) == [
        (ACCOUNT, "e1"), (ACCOUNT, "e2"),
    ]  # fmt: skip


def test_a_report_that_is_not_the_carriers_is_refused(carrier: AskedCarrier):
    book()
    assert tell(f"e1 {key()} DELIVERED", secret="guessed") == 401
    assert tell(f"e1 {key()} DELIVERED", account="NOBODY") == 404
    assert (status(), CarrierEvent.objects.count()) == ("PREPARING", 0)
