"""Orders that are paid for and arrive, unless a test wishes otherwise."""

from typing import Any

from inventory.services import seed_stock as seed_stock
from orders import placing
from orders.models import Order

ADDRESS = "서울특별시 중구 세종대로 110"
PAID_AND_SENT = {"address": ADDRESS, "paymentToken": "tok_ok"}  # of a request's body


def place_order(**wishes: Any) -> Order:
    """`orders.placing.place_order`, with an address and a token that is charged."""
    return placing.place_order(**{"address": ADDRESS, "payment_token": "tok_ok"} | wishes)
