"""The flows of the README, numbered as there. Each shows what happens and checks how it ends."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django_redis import get_redis_connection

from lab.demo.client import ADDRESS, NotAsExpected, Person, until
from lab.demo.stage import Stage
from shop.contracts.orders import FINAL
from shop.contracts.reasons import INSUFFICIENT_STOCK, PAYMENT_DECLINED, code_of
from shop.money import money

BUYERS = 100
CLEAN_CODE, TENNIS_RACKET, ESSENCE, VACUUM_CLEANER = 7, 9, 6, 10
LIMITED = {
    "name": "한정판 머그 (limited edition mug)",
    "description": "The one that everybody wants, for the demo.",
    "price": 25000,
    "currency": "KRW",
    "category": "HOME",
    "brand": "shop",
}
PAID = {"PAYMENT_AUTHORIZED", "PAYMENT_COMPLETED", "DELIVERY_STARTED", "SHIPPED", "COMPLETED"}


@dataclass
class Cast:
    """The people in the demo."""

    customers: Sequence[Person]
    admin: Person

    def set_stock(self, product_id: int, quantity: int, *, at_least: bool = False) -> None:
        """Book units in or out, so that this quantity can be sold."""
        try:
            there = self.admin.stock(product_id)
        except NotAsExpected:  # a new product: the first receipt opens its record
            there = 0
        if (delta := quantity - there) and not (at_least and delta < 0):
            self.admin.post(f"/inventory/{product_id}/adjustments", {"delta": delta, "reason": "demo"})


def happy_path(stage: Stage, cast: Cast) -> None:
    """1 · An order, from the catalogue to the door"""
    customer = cast.customers[0]
    cast.set_stock(CLEAN_CODE, 10, at_least=True)
    products = customer.get("/products")["results"]
    product = customer.get(f"/products/{CLEAN_CODE}")
    before = customer.stock(CLEAN_CODE)
    price = money(product["price"], product["currency"])
    stage.say(f"{len(products)} products. {product['name']} costs {price}, {before} in stock; ordering 2.")
    order_id = customer.order(CLEAN_CODE, 2)
    stage.saga(order_id)
    order = customer.get(f"/orders/{order_id}")
    stage.check("the order is COMPLETED", order["status"], "COMPLETED")
    stage.check(
        f"at the catalogue's price, {money(order['totalPrice'], order['currency'])}",
        order["totalPrice"],
        2 * product["price"],
    )
    stage.check("it is the first of the customer's own orders", customer.get("/orders")["results"][0]["id"], order_id)
    stage.check("2 pieces have left the stock", customer.stock(CLEAN_CODE), before - 2)


def last_piece(stage: Stage, cast: Cast) -> None:
    """2 · 100 buyers, one item"""
    known = cast.admin.get("/products", search=LIMITED["name"])["results"]
    mug = known[0] if known else cast.admin.post("/products", LIMITED)
    cast.set_stock(mug["id"], 1)
    stage.say(f"There is one {mug['name']} left, and {BUYERS} buyers order it at the same moment.")

    def buy(number: int) -> int:
        return cast.customers[number % len(cast.customers)].order(mug["id"], 1)

    with ThreadPoolExecutor(BUYERS) as crowd:
        placed = set(crowd.map(buy, range(BUYERS)))
    orders = until(lambda: _decided(cast.admin, placed), what="A decision on every order", look_every=0.2)
    outcomes = Counter(_outcome(order) for order in orders)
    stage.counts("outcome", dict(outcomes.most_common()))
    winners = [order["id"] for order in orders if order["status"] in PAID]
    refused = sum(code_of(order["cancellationReason"]) == INSUFFICIENT_STOCK for order in orders)
    stage.check("one buyer gets it", len(winners), 1)
    stage.check("99 are refused for insufficient stock", refused, BUYERS - 1)
    stage.check("the stock is 0", cast.admin.stock(mug["id"]), 0)
    locks = [key.decode() for key in get_redis_connection("locks").scan_iter(f"{settings.PREFIX}inventory:lock:*")]
    stage.check("no lock is left", locks, [])


def too_many(stage: Stage, cast: Cast) -> None:
    """3 · More than there is"""
    customer = cast.customers[1]
    cast.set_stock(TENNIS_RACKET, 25, at_least=True)
    before = customer.stock(TENNIS_RACKET)
    stage.say(f"{before} tennis rackets are in stock. Ordering {before + 1}.")
    order_id = customer.order(TENNIS_RACKET, before + 1)
    stage.saga(order_id)
    order = customer.get(f"/orders/{order_id}")
    stage.check("the order is CANCELLED", order["status"], "CANCELLED")
    stage.check(f"because of “{order['cancellationReason']}”", code_of(order["cancellationReason"]), INSUFFICIENT_STOCK)
    stage.check("the stock is what it was", customer.stock(TENNIS_RACKET), before)


def declined(stage: Stage, cast: Cast) -> None:
    """4 · The payment is declined"""
    customer = cast.customers[2]
    cast.set_stock(ESSENCE, 10, at_least=True)
    before = customer.stock(ESSENCE)
    stage.say("Paying with a card that the gateway declines.")
    order_id = customer.order(ESSENCE, 1, paymentToken="tok_declined")
    stage.saga(order_id)
    order = customer.get(f"/orders/{order_id}")
    stage.check("the order is CANCELLED", order["status"], "CANCELLED")
    stage.check(f"because of “{order['cancellationReason']}”", code_of(order["cancellationReason"]), PAYMENT_DECLINED)
    stage.check("the piece is back in stock", customer.stock(ESSENCE), before)
    _check_told(stage, customer, order_id, {"ORDER_RECEIVED", "CANCELLED"})


def refused_at_the_door(stage: Stage, cast: Cast) -> None:
    """5 · The delivery is refused"""
    customer = cast.customers[0]
    cast.set_stock(VACUUM_CLEANER, 5, at_least=True)
    before = customer.stock(VACUUM_CLEANER)
    stage.say("Paid and shipped; but whoever opens the door does not take the parcel (수령 거부).")
    order_id = customer.order(VACUUM_CLEANER, 1, address=f"{ADDRESS}, addr_refused_by_recipient")
    stage.saga(order_id)
    order = customer.get(f"/orders/{order_id}")
    stage.check("the order is CANCELLED", order["status"], "CANCELLED")
    stage.check(f"because of “{order['cancellationReason']}”", "수령 거부" in order["cancellationReason"], True)
    payments = customer.get("/payments", orderId=order_id)["results"]
    stage.check("the money is refunded", [payment["status"] for payment in payments], ["REFUNDED"])
    stage.check("the piece is back in stock", customer.stock(VACUUM_CLEANER), before)
    _check_told(stage, customer, order_id, {"ORDER_RECEIVED", "SHIPPED", "DELIVERY_FAILED", "CANCELLED"})


def some_pieces_less(stage: Stage, cast: Cast) -> None:
    """6 · Two of three pieces are cancelled"""
    customer = cast.customers[1]
    cast.set_stock(CLEAN_CODE, 10, at_least=True)
    before = customer.stock(CLEAN_CODE)
    order_id = customer.order(CLEAN_CODE, 3)
    paid = customer.get(f"/orders/{order_id}")["totalPrice"]
    stage.say("Three pieces are ordered, and at once two are cancelled: the parcel waits for that.")
    wanted = {"items": [{"productId": CLEAN_CODE, "quantity": 1}], "reason": "one is enough"}
    customer.post(f"/orders/{order_id}/changes", wanted, key="one is enough")
    stage.saga(order_id)
    order = customer.get(f"/orders/{order_id}")
    (change,) = customer.get(f"/orders/{order_id}/changes")["results"]
    stage.check("the change is MADE", change["status"], "MADE")
    stage.check("the order is COMPLETED", order["status"], "COMPLETED")
    left = money(order["totalPrice"], order["currency"])
    stage.check(f"for one piece, {left}; the difference is refunded", 3 * order["totalPrice"], paid)
    stage.check("one piece has left the stock", customer.stock(CLEAN_CODE), before - 1)


def one_comes_back(stage: Stage, cast: Cast) -> None:
    """7 · One of two pieces is returned"""
    customer = cast.customers[2]
    cast.set_stock(ESSENCE, 10, at_least=True)
    order_id = customer.order(ESSENCE, 2)
    until(lambda: customer.get(f"/orders/{order_id}")["status"] == "COMPLETED", what="The delivery")
    price = customer.get(f"/orders/{order_id}")["items"][0]["unitPrice"]
    before = customer.stock(ESSENCE)
    stage.say("Two pieces have arrived. One goes back: staff approve it, a carrier brings it, staff inspect it.")
    wanted = {"items": [{"productId": ESSENCE, "quantity": 1}], "reason": "one too many"}
    returned = customer.post(f"/orders/{order_id}/returns", wanted, key="one too many")["id"]
    cast.admin.post(f"/returns/{returned}/approve", None)
    until(lambda: customer.get(f"/returns/{returned}")["status"] == "RECEIVED", what="The parcel with the return")
    found = {"productId": ESSENCE, "accepted": 1, "writtenOff": 0, "rejected": 0}
    cast.admin.post(f"/returns/{returned}/inspect", {"items": [found]})
    stage.saga(returned, what="return")
    until(lambda: customer.get(f"/returns/{returned}")["status"] == "COMPLETED", what="The refund")
    stage.check("what it cost is refunded", customer.get(f"/returns/{returned}")["refunded"], price)
    stage.check("the piece is on the shelf again", customer.stock(ESSENCE), before + 1)


def one_is_exchanged(stage: Stage, cast: Cast) -> None:
    """8 · A torn book is exchanged"""
    customer = cast.customers[0]
    cast.set_stock(CLEAN_CODE, 10, at_least=True)
    order_id = customer.order(CLEAN_CODE, 1)
    until(lambda: customer.get(f"/orders/{order_id}")["status"] == "COMPLETED", what="The delivery")
    before = customer.stock(CLEAN_CODE)
    stage.say("The book has arrived with a torn page. It is written off, and another one is sent for nothing.")
    wanted = {"items": [{"productId": CLEAN_CODE, "quantity": 1}], "kind": "EXCHANGE", "reason": "a page is torn"}
    returned = customer.post(f"/orders/{order_id}/returns", wanted, key="a page is torn")["id"]
    cast.admin.post(f"/returns/{returned}/approve", None)
    until(lambda: customer.get(f"/returns/{returned}")["status"] == "RECEIVED", what="The parcel with the return")
    found = {"productId": CLEAN_CODE, "accepted": 0, "writtenOff": 1, "rejected": 0}
    cast.admin.post(f"/returns/{returned}/inspect", {"items": [found]})
    given = until(lambda: customer.get(f"/returns/{returned}")["exchangeOrderId"], what="The other order")
    stage.saga(given)
    until(lambda: customer.get(f"/returns/{returned}")["status"] == "COMPLETED", what="The end of the return")
    order = customer.get(f"/orders/{given}")
    stage.check("the other order is COMPLETED", order["status"], "COMPLETED")
    stage.check("it costs nothing", (order["totalPrice"], order["exchangeFor"]), (0, returned))
    stage.check("nothing is refunded", customer.get(f"/returns/{returned}")["refunded"], 0)
    stage.check("one piece has left the stock", customer.stock(CLEAN_CODE), before - 1)


FLOWS: tuple[Callable[[Stage, Cast], None], ...] = (
    happy_path,
    last_piece,
    too_many,
    declined,
    refused_at_the_door,
    some_pieces_less,
    one_comes_back,
    one_is_exchanged,
)


def _decided(admin: Person, placed: set[int]) -> list[dict[str, Any]]:
    """Return the placed orders once each is either paid or cancelled; before that, an empty list."""
    found = [order for order in admin.get("/orders", limit=100)["results"] if order["id"] in placed]
    return found if len(found) == len(placed) and all(order["status"] in {*PAID, *FINAL} for order in found) else []


def _outcome(order: dict[str, Any]) -> str:
    return f"{order['status']} – {order['cancellationReason']}" if order["cancellationReason"] else "bought it"


def _check_told(stage: Stage, customer: Person, order_id: int, types: set[str]) -> None:
    """Check that the customer got exactly these notifications about an order."""

    def sent() -> set[str]:
        told = customer.get("/notifications", orderId=order_id, limit=100)["results"]
        return {one["type"] for one in told} if told and all(one["status"] == "SENT" for one in told) else set()

    until(lambda: sent() >= types, what=f"Notifying the customer of {', '.join(sorted(types))}")
    stage.check(f"{customer.email} was told: {', '.join(sorted(types))}", sent(), types)
