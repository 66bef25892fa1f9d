"""What a customer thinks better of, over HTTP, however the shop runs: before the hand-over, and after the delivery."""

from uuid import uuid4

from tests.support.processes import eventually
from tests.support.stage import Customer

ELSEWHERE = "2 Low Street"
TRIES = 5  # orders, until the carrier was not faster with one of them


def one_piece_less_and_elsewhere(customer: Customer, product: int) -> int:
    """Of two pieces one is cancelled, and the other is sent elsewhere, before the carrier has them; the order."""
    for _ in range(TRIES):
        order_id = customer.order(productId=product, quantity=2).json()["id"]
        wanted = {"items": [{"productId": product, "quantity": 1}], "address": ELSEWHERE}
        path = f"/api/v1/orders/{order_id}/changes"
        asked = customer.post(path, json=wanted, headers={"Idempotency-Key": uuid4().hex})
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


def sent_back(customer: Customer, staff: Customer, order_id: int, product: int) -> None:
    """The only piece of a completed order comes back, is inspected and paid for."""

    def status() -> str:
        found: str = customer.read(f"returns/{number}")["status"]
        return found

    wanted = {"items": [{"productId": product, "quantity": 1}], "reason": "the wrong edition"}
    requested = customer.post(
        f"/api/v1/orders/{order_id}/returns", json=wanted, headers={"Idempotency-Key": uuid4().hex}
    )
    assert requested.status_code == 201, requested.text
    number = requested.json()["id"]
    before = customer.read(f"inventory/{product}")["quantity"]
    assert staff.post(f"/api/v1/returns/{number}/approve").status_code == 202
    eventually(lambda: status() == "RECEIVED")
    found = {"items": [{"productId": product, "accepted": 1}]}
    inspected = staff.post(f"/api/v1/returns/{number}/inspect", json=found)
    assert inspected.status_code == 202, inspected.text
    eventually(lambda: status() == "COMPLETED")
    ended = customer.read(f"returns/{number}")
    price = customer.read(f"orders/{order_id}")["totalPrice"]
    assert (ended["refundDue"], ended["refunded"]) == (price, price)
    assert customer.read(f"inventory/{product}")["quantity"] == before + 1
