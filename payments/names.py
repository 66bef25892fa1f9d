"""The names of payments at their gateways: each has its order's number in it, by which its row is found."""

import re
from collections.abc import Iterable
from secrets import token_hex

NAME = re.compile(r"order-(\d{1,18})-\w+")


def new_names(order_ids: Iterable[int]) -> dict[int, str]:
    """Names for payments that have none yet, by order. They have a random part, because other shops, or this one before
    its database was set up anew, may have had payments of orders with these numbers at the same provider account."""
    part = token_hex(5)
    return {order_id: f"order-{order_id}-{part}" for order_id in order_ids}


def order_in(name: str) -> int | None:
    """The order's number in a payment's name; None if it is not one of ours."""
    named = NAME.fullmatch(name)
    return int(named[1]) if named else None
