"""What can become of an order besides going through, over HTTP, however the shop runs.

Each function of `LIFE` plays one thing with a customer and staff, and the sample data of `manage.py seed`.
"""

import csv
from collections.abc import Callable
from io import StringIO
from typing import Any
from uuid import uuid4

import httpx
from standardwebhooks.webhooks import Webhook

from commands.samples import PRODUCTS
from delivery.carriers.sandbox import SECOND_REFUSED
from tests.support.processes import eventually
from tests.support.receiver import Receiver
from tests.support.stage import Customer

ELSEWHERE = "2 Low Street"
TRIES = 5  # orders, until the carrier was not faster with one of them
BOOK, OTHER_BOOK = 7, 8
IN_TWO_PLACES = next(one for one in PRODUCTS if one.elsewhere)


def asks(client: Customer, path: str, body: Any = None) -> httpx.Response:
    return client.post(f"/api/v1/{path}", json=body, headers={"Idempotency-Key": uuid4().hex})


def completed(customer: Customer, **wishes: Any) -> int:
    """An order that has arrived."""
    order_id: int = customer.order(**wishes).json()["id"]
    eventually(lambda: customer.status(order_id) == "COMPLETED")
    return order_id


def refunded(customer: Customer, order_id: int) -> int:
    (payment,) = customer.read(f"payments?orderId={order_id}")["results"]
    amount: int = payment["refunded"]
    return amount


# --- When it is placed ----------------------------------------------------------------------------------------------
def another_total_than_was_seen(customer: Customer, staff: Customer) -> None:
    price = customer.read(f"products/{BOOK}")["price"]

    refused = customer.order(productId=BOOK, quantity=2, expectedTotal=price)
    assert (refused.status_code, refused.json()["code"], refused.json()["totalPrice"]) == (409, "O004", 2 * price)
    order_id = completed(customer, productId=BOOK, quantity=2, expectedTotal=2 * price)
    assert customer.read(f"orders/{order_id}")["totalPrice"] == 2 * price


# --- Shipments ------------------------------------------------------------------------------------------------------
def the_second_of_two_shipments_refused(customer: Customer, staff: Customer) -> None:
    """No location has all pieces. What one of the shipments brought is paid, what the other did not bring is not."""
    product, here = IN_TWO_PLACES.id, IN_TWO_PLACES.stock - IN_TWO_PLACES.elsewhere
    before = customer.read(f"inventory/{product}")["quantity"]
    placed = customer.order(productId=product, quantity=here + 1, address=f"1 High Street {SECOND_REFUSED}").json()

    eventually(lambda: customer.status(placed["id"]) == "COMPLETED")

    def shipments() -> list[tuple[str, int]]:
        found = customer.read(f"orders/{placed['id']}")["shipments"]
        assert len({one["trackingNumber"] for one in found}) == 2
        return [(one["status"], one["items"][0]["quantity"]) for one in found]

    eventually(lambda: shipments() == [("DELIVERED", here), ("FAILED", 1)])
    eventually(lambda: refunded(customer, placed["id"]) == IN_TWO_PLACES.price)
    eventually(lambda: customer.read(f"inventory/{product}")["quantity"] == before - here)


# --- Before the hand-over -------------------------------------------------------------------------------------------
def one_piece_less_and_elsewhere(customer: Customer, product: int) -> int:
    """Of two pieces one is cancelled, and the other is sent elsewhere, before the carrier has them; the order."""
    for _ in range(TRIES):
        order_id = customer.order(productId=product, quantity=2).json()["id"]
        wanted = {"items": [{"productId": product, "quantity": 1}], "address": ELSEWHERE}
        asked = asks(customer, f"orders/{order_id}/changes", wanted)
        assert asked.status_code == 202, asked.text
        eventually(lambda placed=order_id: customer.status(placed) == "COMPLETED")
        (change,) = customer.read(f"orders/{order_id}/changes")["results"]
        if change["status"] == "MADE":
            break
    order = customer.read(f"orders/{order_id}")
    price = order["items"][0]["unitPrice"]
    assert (change["status"], change["amount"], change["address"]) == ("MADE", -price, ELSEWHERE)
    assert (order["totalPrice"], [line["quantity"] for line in order["items"]]) == (price, [1])
    (delivery,) = customer.read(f"deliveries?orderId={order_id}")["results"]
    assert (delivery["status"], delivery["address"]) == ("DELIVERED", ELSEWHERE)
    return order_id


# --- Returns and exchanges ------------------------------------------------------------------------------------------
def wants_back(customer: Customer, order_id: int, **wishes: Any) -> int:
    """A return of one book; its number."""
    wanted = {"items": [{"productId": BOOK, "quantity": 1}], "reason": "the wrong edition", **wishes}
    requested = asks(customer, f"orders/{order_id}/returns", wanted)
    assert requested.status_code == 201, requested.text
    number: int = requested.json()["id"]
    return number


def comes_back(customer: Customer, staff: Customer, number: int) -> dict[str, Any]:
    """A return is approved, arrives, and is inspected and found good, to its end."""

    def is_now(status: str) -> bool:
        return bool(customer.read(f"returns/{number}")["status"] == status)

    assert asks(staff, f"returns/{number}/approve").status_code == 202
    eventually(lambda: is_now("RECEIVED"))
    inspected = asks(staff, f"returns/{number}/inspect", {"items": [{"productId": BOOK, "accepted": 1}]})
    assert inspected.status_code == 202, inspected.text
    eventually(lambda: is_now("COMPLETED"))
    ended: dict[str, Any] = customer.read(f"returns/{number}")
    return ended


def a_piece_cancelled_and_the_other_sent_back(customer: Customer, staff: Customer) -> None:
    order_id = one_piece_less_and_elsewhere(customer, BOOK)
    price = customer.read(f"orders/{order_id}")["totalPrice"]
    before = customer.read(f"inventory/{BOOK}")["quantity"]

    ended = comes_back(customer, staff, wants_back(customer, order_id))

    assert (ended["refundDue"], ended["refunded"]) == (price, price)
    assert refunded(customer, order_id) == 2 * price
    assert customer.read(f"inventory/{BOOK}")["quantity"] == before + 1


def exchanged(customer: Customer, staff: Customer) -> None:
    order_id = completed(customer, productId=BOOK, quantity=1)

    ended = comes_back(customer, staff, wants_back(customer, order_id, kind="EXCHANGE"))

    exchange = customer.read(f"orders/{ended['exchangeOrderId']}")
    assert (exchange["status"], exchange["totalPrice"]) == ("COMPLETED", 0)
    assert [(line["productId"], line["quantity"]) for line in exchange["items"]] == [(BOOK, 1)]
    assert (ended["refundDue"], refunded(customer, order_id)) == (0, 0)


def refused_and_withdrawn(customer: Customer, staff: Customer) -> None:
    order_id = completed(customer, productId=BOOK, quantity=1)

    refused = wants_back(customer, order_id)
    assert asks(staff, f"returns/{refused}/refuse", {"reason": "it was read"}).status_code in (200, 202)
    eventually(lambda: customer.read(f"returns/{refused}")["status"] == "REFUSED")
    withdrawn = wants_back(customer, order_id)
    assert asks(customer, f"returns/{withdrawn}/withdraw").status_code in (200, 202)
    eventually(lambda: customer.read(f"returns/{withdrawn}")["status"] == "WITHDRAWN")
    assert refunded(customer, order_id) == 0


# --- Money ----------------------------------------------------------------------------------------------------------
def something_off_for_a_scratch(customer: Customer, staff: Customer) -> None:
    """Staff refund an amount without a return; a customer cannot, and nobody can more than is left of what was paid."""
    order_id = completed(customer, productId=BOOK, quantity=1)
    price, path = customer.read(f"orders/{order_id}")["totalPrice"], f"orders/{order_id}/refunds"

    def ends(amount: int) -> str:
        asked = asks(staff, path, {"amount": amount, "reason": "scratched"})
        assert asked.status_code == 202, asked.text
        eventually(lambda: customer.read(path)["results"][0]["status"] != "REQUESTED")
        status: str = customer.read(path)["results"][0]["status"]
        return status

    assert asks(customer, path, {"amount": 1000, "reason": "mine"}).status_code == 403
    assert [ends(1000), ends(price)] == ["COMPLETED", "REFUSED"]
    assert refunded(customer, order_id) == 1000


# --- Telling others -------------------------------------------------------------------------------------------------
def told_by_webhook(customer: Customer, staff: Customer) -> None:
    """A program is told, signed by the Standard Webhooks specification; again when it was away."""
    with Receiver() as receiver:
        receiver.answer = lambda one: 503 if len(receiver.received) == 1 else 204
        body = {"url": receiver.url, "events": ["order.created", "order.completed"]}
        subscribed = asks(staff, "notifications/webhooks", body)
        assert subscribed.status_code == 201, subscribed.text
        webhook = subscribed.json()
        order_id = completed(customer, productId=BOOK, quantity=1)

        eventually(lambda: "order.completed" in receiver.types)

        path = f"notifications/webhooks/{webhook['id']}"
        assert asks(staff, f"{path}/replay", {"since": webhook["createdAt"]}).status_code in (200, 202)
        eventually(lambda: {"order.created", "order.completed"} <= set(receiver.types[1:]))
        for one in receiver.received:
            told = Webhook(webhook["secret"]).verify(one.body, {key.lower(): it for key, it in one.headers.items()})
            assert told["data"]["orderId"] == order_id
        assert staff.delete(f"/api/v1/{path}").status_code == 204
        receiver.shutdown()


# --- Finding it -----------------------------------------------------------------------------------------------------
def found_by_what_is_known_of_it(customer: Customer, staff: Customer) -> None:
    order_id = completed(customer, productId=OTHER_BOOK, quantity=1)
    order = customer.read(f"orders/{order_id}")
    who = customer.read("users/me")

    for narrowed in (
        f"search={order_id}",
        f"search={order['trackingNumber']}",
        f"search={who['email'][:-4]}",
        f"trackingNumber={order['trackingNumber']}&status=COMPLETED&productId={OTHER_BOOK}",
        f"userId={who['id']}&createdSince={order['createdAt'].replace('+', '%2B')}",
    ):
        assert order_id in [one["id"] for one in staff.read(f"orders?{narrowed}")["results"]], narrowed
    assert staff.get("/api/v1/orders?colour=red").status_code == 400
    exported = staff.get(f"/api/v1/orders/export?trackingNumber={order['trackingNumber']}")
    assert [row["id"] for row in csv.DictReader(StringIO(exported.text.removeprefix("\ufeff")))] == [str(order_id)]


LIFE: tuple[Callable[[Customer, Customer], None], ...] = (
    another_total_than_was_seen,
    the_second_of_two_shipments_refused,
    a_piece_cancelled_and_the_other_sent_back,
    exchanged,
    refused_and_withdrawn,
    something_off_for_a_scratch,
    told_by_webhook,
    found_by_what_is_known_of_it,
)
