"""Returns over HTTP: what was delivered is requested, approved, received, inspected, restocked and refunded; or it is
withdrawn, refused, expires, or stands at staff. After each, the strict audit finds nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from accounts.models import User
from delivery.models import Delivery, ReturnParcel
from delivery.reports import take_carrier_event
from inventory.models import StockItem, StockMovement
from inventory.services import seed_stock
from notifications.models import Notification
from orders.changes.requests import request_change
from orders.models import Order, Refund, Return, StaffAction
from orders.refunds import request_refund
from orders.returns import decisions
from orders.returns.requests import NotSoMany, Wanted, request_return, withdraw
from payments.models import Payment
from sagas import Unavailable
from sagas.reconciliation import Messages
from sagas.testing import Bus, rolled_back
from shop.contracts.events import Line
from shop.hooks import ShopHooks
from tests.conftest import SERVICES
from tests.support.ordering import ADDRESS, place_order
from tests.support.return_requests import API, PIECES, TWO, act, ask, clean, client, found

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]


@pytest.fixture
def requested(hana: APIClient, order_id: int) -> int:
    answer = hana.post(f"{API}/orders/{order_id}/returns", TWO)
    assert answer.status_code == 201, answer.json()
    number: int = answer.json()["id"]
    assert answer["Location"].endswith(f"{API}/returns/{number}")
    return number


@pytest.fixture
def received(bus: Bus, clerk: APIClient, requested: int) -> int:
    act(clerk, requested, "approve")
    bus.drain()
    assert Return.objects.get().status == "RECEIVED"  # sandbox carriers bring everything
    return requested


def told() -> list[str]:
    """What the customer was told of returns and refunds, once of each."""
    told_of = Notification.objects.filter(Q(type__startswith="RETURN") | Q(type="REFUNDED"))
    told_of = told_of.order_by("pk")
    return list(told_of.values_list("type", flat=True))


def moved() -> list[tuple[str, int]]:
    return sorted(StockMovement.objects.filter(return_id__isnull=False).values_list("kind", "delta"))


def test_from_the_request_to_the_refund(bus: Bus, hana: APIClient, clerk: APIClient, requested: int, order_id: int):
    bus.drain()
    assert told() == []  # nothing is approved by itself
    approved = act(clerk, requested, "approve")
    assert (approved["status"], approved["trackingNumber"]) == ("APPROVED", "")
    bus.drain()
    shown = hana.get(f"{API}/returns/{requested}").json()
    assert (shown["status"], shown["refundDue"]) == ("RECEIVED", None)
    assert shown["trackingNumber"] == ReturnParcel.objects.get().tracking_number
    act(clerk, requested, "inspect", found(accepted=1, written_off=1))
    bus.drain()
    shown = hana.get(f"{API}/returns/{requested}").json()
    assert {name: shown[name] for name in ("status", "refundDue", "kept", "refunded")} == {
        "status": "COMPLETED",
        "refundDue": 2000,
        "kept": 0,
        "refunded": 2000,
    }
    assert moved() == [("RETURN", 2), ("WRITE_OFF", -1)]
    assert StockItem.objects.get(product_id=1).on_hand == PIECES - 3 + 1
    payment = Payment.objects.get()
    assert (payment.status, payment.captured, payment.refunded) == ("COMPLETED", 5000, 2000)
    assert told() == ["RETURN_APPROVED", "RETURN_RECEIVED", "RETURN_REFUNDED"]
    assert "2,000원" in Notification.objects.get(type="RETURN_REFUNDED").body
    seen = [one["event"] for one in hana.get(f"{API}/orders/{order_id}").json()["timeline"]]
    assert seen[seen.index("ReturnRequested") :] == [
        *("ReturnRequested", "ReturnApproved", "DeliveryReturnBooked", "DeliveryReturnReceived", "ReturnInspected"),
        *("OrderRefundRequested", "PaymentRefundCompleted", "ReturnCompleted"),
    ]
    assert list(StaffAction.objects.order_by("pk").values_list("action", flat=True)) == ["approve", "inspect"]
    assert clean()


def test_rejected_pieces_give_nothing_back(bus: Bus, clerk: APIClient, received: int):
    act(clerk, received, "inspect", found(rejected=2))
    bus.drain()
    ended = Return.objects.get()
    assert (ended.status, ended.refund_due, ended.refunded) == ("COMPLETED", 0, 0)
    assert (moved(), Refund.objects.count(), Payment.objects.get().refunded) == ([], 0, 0)
    assert clean()


def test_the_owners_rules_approve_and_keep(bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, settings: Any):
    settings.RETURN_APPROVAL = "orders.returns.rules.approve_at_once"
    settings.RETURN_KEEPS = "tests.system.test_returns.shipping"
    answer = hana.post(f"{API}/orders/{order_id}/returns", TWO).json()
    assert answer["status"] == "APPROVED"
    bus.drain()
    act(clerk, answer["id"], "inspect", found(accepted=2))
    bus.drain()
    ended = Return.objects.get()
    assert (ended.status, ended.kept, ended.refunded) == ("COMPLETED", 300, 1700)
    assert clean()


def shipping(_inspected: Return, _amount: int) -> int:
    return 300


def test_staff_refuse_with_a_reason(bus: Bus, hana: APIClient, clerk: APIClient, requested: int):
    act(clerk, requested, "refuse", {"reason": "worn"})
    bus.drain()
    shown = hana.get(f"{API}/returns/{requested}").json()
    assert (shown["status"], shown["refusal"], told()) == ("REFUSED", "worn", ["RETURN_REFUSED"])
    act(clerk, requested, "approve", expected=409)
    assert hana.post(f"{API}/orders/{shown['orderId']}/returns", TWO).status_code == 201  # another try
    bus.drain()
    assert clean()


@pytest.mark.parametrize("approved", [False, True])
def test_a_customer_withdraws(bus: Bus, hana: APIClient, clerk: APIClient, requested: int, approved: bool):
    if approved:
        act(clerk, requested, "approve")
        bus.drain(timers=False)
    act(hana, requested, "withdraw")
    bus.drain()
    assert (Return.objects.get().status, ReturnParcel.objects.get().status) == ("WITHDRAWN", "CANCELLED")
    assert told() == [*(["RETURN_APPROVED"] if approved else []), "RETURN_CLOSED"]
    act(hana, requested, "withdraw", expected=409)
    assert clean()


def test_the_carrier_was_faster_than_the_withdrawal(bus: Bus, hana: APIClient, clerk: APIClient, requested: int):
    act(clerk, requested, "approve")
    bus.drain(timers=False)
    bus.tick("delivery.advance_deliveries")
    act(hana, requested, "withdraw")
    bus.drain()
    assert Return.objects.get().status == "RECEIVED"
    assert clean()


def test_what_never_arrives_expires_and_may_still_come(
    bus: Bus, clerk: APIClient, hana: APIClient, requested: int, settings: Any
):
    act(clerk, requested, "approve")
    bus.drain(timers=False)
    settings.RETURN_ARRIVES_WITHIN = timedelta(0)
    bus.tick("orders.look_after_returns")
    bus.drain()
    assert (Return.objects.get().status, ReturnParcel.objects.get().status) == ("EXPIRED", "CANCELLED")
    assert told()[-1] == "RETURN_CLOSED"
    assert clean()
    act(clerk, requested, "receive")
    bus.drain()
    assert (Return.objects.get().status, ReturnParcel.objects.get().status) == ("RECEIVED", "RECEIVED")
    assert clean()


def test_a_late_parcel_is_not_taken_when_its_pieces_are_in_another_return(
    bus: Bus, clerk: APIClient, hana: APIClient, requested: int, order_id: int
):
    act(hana, requested, "withdraw")
    bus.drain()
    assert hana.post(f"{API}/orders/{order_id}/returns", TWO).status_code == 201
    assert act(clerk, requested, "receive", expected=409)["code"] == "R004"


def test_a_carrier_loses_the_parcel_and_staff_decide(bus: Bus, clerk: APIClient, requested: int):
    act(clerk, requested, "approve")
    bus.drain(timers=False)
    parcel = ReturnParcel.objects.get()
    take_carrier_event(
        carrier=parcel.account, event_id="1", tracking_number=parcel.tracking_number or "", status="FAILED", reason="x"
    )
    bus.drain()
    assert Return.objects.get().status == "LOST"
    act(clerk, requested, "inspect", found(written_off=2))
    bus.drain()
    assert (Return.objects.get().status, Return.objects.get().refunded) == ("COMPLETED", 2000)
    assert clean()


def test_a_refused_refund_stands_at_staff(bus: Bus, clerk: APIClient, received: int, order_id: int):
    given = clerk.post(
        f"{API}/orders/{order_id}/refunds", {"amount": 4000, "reason": "a scratch"}, headers={"Idempotency-Key": "k"}
    )
    assert given.status_code == 202
    act(clerk, received, "inspect", found(accepted=2))
    bus.drain()
    assert Return.objects.get().status == "REFUND_REFUSED"  # 1,000 won are left
    assert clean()
    assert act(clerk, received, "refund", {"amount": 2001}, expected=400)["errors"][0]["field"] == "amount"
    act(clerk, received, "refund", {"amount": 1000})
    bus.drain()
    ended = Return.objects.get()
    assert (ended.status, ended.refund_due, ended.refunded) == ("COMPLETED", 2000, 1000)
    assert Payment.objects.get().refunded == 5000
    assert clean()


def test_a_refusal_can_be_settled_without_money(bus: Bus, clerk: APIClient, received: int):
    act(clerk, received, "inspect", found(accepted=2))
    Payment.objects.update(status="FAILED")  # nothing can be given back
    bus.drain()
    Payment.objects.update(status="COMPLETED")
    act(clerk, received, "refund", {"amount": 0})
    bus.drain()
    assert (Return.objects.get().status, Payment.objects.get().refunded) == ("COMPLETED", 0)


# --- What is refused ------------------------------------------------------------------------------------------------
def test_only_what_was_delivered_and_is_in_no_other_return(bus: Bus, hana: APIClient, order_id: int):
    many = {"items": [{"productId": 1, "quantity": 4}]}
    assert (ask(hana, order_id, many).status_code, ask(hana, order_id, many).json()["code"]) == (409, "R004")
    assert ask(hana, order_id, {"items": [{"productId": 7, "quantity": 1}]}).json()["code"] == "R004"
    assert ask(hana, order_id).status_code == 201
    assert ask(hana, order_id).json()["detail"] == f"Of product 1, 1 pieces of order {order_id} can be returned."
    on_its_way = place_order(user_id=1, lines=[Line(1, 1)]).pk
    assert ask(hana, on_its_way).json()["code"] == "R002"


def test_customers_return_within_days_and_staff_later(hana: APIClient, clerk: APIClient, order_id: int, settings: Any):
    Order.objects.update(progress_at=Order.objects.get().progress_at - timedelta(days=8))
    assert ask(hana, order_id).json()["code"] == "R003"
    settings.RETURN_WITHIN = timedelta(days=9)
    assert ask(hana, order_id).status_code == 201
    settings.RETURN_WITHIN = timedelta(days=7)
    assert ask(clerk, order_id, {"items": [{"productId": 2, "quantity": 1}]}).status_code == 201
    assert StaffAction.objects.get().action == "return for"


def test_sent_again_it_is_made_once(hana: APIClient, order_id: int):
    first = ask(hana, order_id, key="k")
    assert ask(hana, order_id, key="k").json() == first.json()
    assert Return.objects.count() == 1
    other = {"items": [{"productId": 1, "quantity": 1}]}
    assert ask(hana, order_id, other, key="k").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": [{"productId": 1, "quantity": 0}]},
        {"items": [{"productId": 1, "quantity": 1}, {"productId": 1, "quantity": 1}]},
        {"items": [{"productId": 1, "quantity": 1}], "kind": "GIFT"},
        {"items": [{"productId": 1, "quantity": 1}], "amount": 5},
    ],
)
def test_what_cannot_be_meant_is_refused(hana: APIClient, order_id: int, body: Any):
    assert ask(hana, order_id, body).status_code == 400
    assert not Return.objects.exists()


@pytest.mark.parametrize(
    "body", [found(), found(accepted=3), found(accepted=1), {"items": [{"productId": 2, "accepted": 2}]}, {"items": []}]
)
def test_an_inspection_says_of_every_piece_what_was_found(clerk: APIClient, received: int, body: Any):
    act(clerk, received, "inspect", body, expected=400)
    assert Return.objects.get().status == "RECEIVED"


def test_decisions_have_their_moment(bus: Bus, hana: APIClient, clerk: APIClient, received: int):
    for what, body in (("approve", None), ("refuse", {"reason": "x"}), ("receive", None), ("refund", {"amount": 1})):
        assert act(clerk, received, what, body, expected=409)["code"] == "R005"
    assert act(hana, received, "withdraw", expected=409)["code"] == "R005"
    act(clerk, received, "inspect", found(accepted=2))
    assert act(clerk, received, "inspect", found(accepted=2), expected=409)["code"] == "R005"


def test_others_returns_do_not_exist(hana: APIClient, requested: int, order_id: int):
    stranger = client(User.objects.create(id=2, email="kim@example.com", name="Kim", password="!"))
    assert ask(stranger, order_id).status_code == 404
    assert stranger.get(f"{API}/orders/{order_id}/returns").status_code == 404
    assert stranger.get(f"{API}/returns/{requested}").status_code == 404
    act(stranger, requested, "withdraw", expected=404)
    act(hana, requested, "approve", expected=403)
    assert stranger.get(f"{API}/returns").json()["results"] == []


def test_returns_are_found(hana: APIClient, clerk: APIClient, requested: int, order_id: int):
    def found_by(who: APIClient, query: str) -> list[int]:
        return [one["id"] for one in who.get(f"{API}/{query}").json()["results"]]

    for query in ("returns", f"orders/{order_id}/returns", f"returns?orderId={order_id}&status=REQUESTED"):
        assert found_by(hana, query) == found_by(clerk, query) == [requested], query
    for query in ("returns?status=APPROVED", "returns?productId=2", "returns?userId=2"):
        assert found_by(clerk, query) == [], query
    assert clerk.get(f"{API}/returns?colour=red").status_code == 400


# --- Nothing is lost ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("step", ["delivery.book_return", "inventory.restock_return", "payments.enter_refund"])
def test_a_lost_message_is_sent_again(bus: Bus, clerk: APIClient, requested: int, step: str):
    lost = []

    def lose() -> None:
        lost.extend(one for one in bus.messages if one[0] == step)
        bus.messages[:] = [one for one in bus.messages if one[0] != step]

    act(clerk, requested, "approve")
    bus.relay()
    lose()
    bus.drain()
    bus.tick("orders.look_after_returns")
    bus.drain()
    assert Return.objects.get().status == "RECEIVED"
    act(clerk, requested, "inspect", found(accepted=2))
    while bus.relay() or bus.messages:
        lose()
        if bus.messages:
            bus.deliver()
    assert lost
    bus.tick("orders.look_after_returns", "orders.look_after")
    bus.drain()
    assert Return.objects.get().status == "COMPLETED"
    bus.tick("orders.look_after_returns", "orders.look_after")
    bus.drain()
    assert not Return.objects.filter(look_at__isnull=False).exists()
    assert clean()


def test_a_return_that_stands_still_is_resumed_while_a_service_is_away(
    bus: Bus, hana: APIClient, clerk: APIClient, order_id: int, received: int, monkeypatch: pytest.MonkeyPatch
):
    def away(*_: object) -> Messages:
        raise Unavailable("notifications is away")

    act(clerk, received, "inspect", found(accepted=2))
    bus.relay()
    bus.messages.clear()  # the broker has lost them
    another = {"items": [{"productId": 1, "quantity": 1}]}
    assert hana.post(f"{API}/orders/{order_id}/returns", another).status_code == 201
    Return.objects.update(look_at=timezone.now())
    monkeypatch.setattr(ShopHooks, "remote_messages", away)
    with pytest.raises(Unavailable):
        bus.tick("orders.look_after_returns")
    bus.relay()
    assert "inventory.restock_return" in [step for step, _ in bus.messages]


# --- It adds up -----------------------------------------------------------------------------------------------------
refunds = st.tuples(st.just("refund"), st.integers(1, 3000), st.just(0))
acts_before = st.lists(st.one_of(st.tuples(st.just("change"), st.integers(0, 2), st.just(0)), refunds), max_size=3)
acts_after = st.lists(
    st.one_of(
        st.tuples(st.just("return"), st.integers(1, 3), st.integers(0, 3)),  # pieces; of them accepted
        st.tuples(st.sampled_from(["exchange", "exchange refused"]), st.integers(1, 3), st.integers(0, 3)),
        st.tuples(st.just("withdraw"), st.integers(1, 3), st.just(0)),
        refunds,
    ),
    max_size=5,
)
WHERE = {"exchange": ADDRESS, "exchange refused": "addr_refused_by_recipient"}


class Sum:
    """What an order must have come to: `bought` pieces for 1,000 won each and one for 2,000."""

    bought, on_hand, kept = 3, PIECES, 5000

    def take(self, amount: int) -> bool:
        """Give so much money back; whether there was so much."""
        there = amount <= self.kept
        self.kept -= amount if there else 0
        return there


@hypothesis_settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(acts_before, acts_after)
def test_whatever_is_changed_returned_exchanged_and_refunded_stock_and_money_add_up(
    bus: Bus, customer: User, before: Any, after: Any
):
    with rolled_back():
        seed_stock({1: PIECES, 2: PIECES})
        order_id = place_order(user_id=customer.pk, lines=[Line(1, 3), Line(2, 1)]).pk
        expected = Sum()
        bus.drain(timers=False)  # the parcel waits for its carrier
        for number, (what, count, _) in enumerate(before):
            if what == "refund":
                request_refund(order_id, key=f"before {number}", amount=count, reason="late")
                expected.take(count)
            elif count < expected.bought:
                request_change(order_id, key=str(number), quantities={1: count})
                if expected.take(1000 * (expected.bought - count)):
                    expected.bought = count
            bus.drain(timers=False)
            bus.tick("payments.settle_payments")  # but nothing is handed over yet
            bus.drain(timers=False)
        bus.drain()
        expected.on_hand -= expected.bought
        left = expected.bought  # which may be returned
        for number, (what, count, accepted) in enumerate(after):
            if what == "refund":
                request_refund(order_id, key=str(number), amount=count, reason="a scratch")
                expected.take(count)
            else:
                wanted = Wanted(lines=[Line(1, count)], kind="EXCHANGE" if what in WHERE else "REFUND")
                if count > left:
                    with pytest.raises(NotSoMany):
                        request_return(order_id, wanted)
                    continue
                of = request_return(order_id, wanted)
                if what == "withdraw":
                    withdraw(of.pk)
                else:
                    decisions.approve(of.pk)
                    bus.drain()
                    Delivery.objects.update(address=WHERE.get(what, ""))
                    accepted = min(accepted, count)
                    decisions.inspect(of.pk, {1: decisions.Found(accepted, 0, count - accepted)})
                    left -= count
                    if what == "exchange":
                        left += accepted  # other pieces, which have left the shelf
                    else:
                        expected.on_hand += accepted
                        expected.take(1000 * accepted)
            bus.drain()
        payment = Payment.objects.get(order_id=order_id)
        assert payment.captured - payment.refunded == expected.kept
        stock = StockItem.objects.get(product_id=1)
        assert (stock.on_hand, stock.reserved) == (expected.on_hand, 0)
        assert clean()
