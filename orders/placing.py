"""How an order is placed: at the catalogue's prices, and written with its lines, the beginning of its timeline and its
event in one statement.

One round trip instead of six, and one commit: the statement is a transaction by itself where there is none around it.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from django.conf import settings
from django.db import transaction

from fastdb.bulk import Row
from fastdb.clock import database_time
from orders.idempotency import Claim
from orders.models import Order, OrderLine
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.outbox import emission, wake_relay
from shop import stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UnknownUser
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Checkout, Line, OrderCreated, origin
from shop.contracts.reasons import UNKNOWN_GATEWAY
from shop.money import LARGEST
from shop.observability.tracing import current_trace
from shop.seal import What, seal

NEXT_IDS = "SELECT nextval(pg_get_serial_sequence('orders_order', 'id')) FROM generate_series(1, %s)"
# Columns that are not named get their defaults from the database.
EVENT = "SELECT %(event_id)s::uuid, %(event_type)s, id, NULL::uuid, %(event)s::json FROM placed"
PLACE = """
    WITH placed AS (
        INSERT INTO orders_order (
            id, user_id, status, cancellation_reason, currency, total_price, payment_gateway, tracking_number,
            updated_at, look_at, looks
        )
        VALUES (
            %(id)s, %(user_id)s, %(status)s, '', %(currency)s, %(total_price)s, %(payment_gateway)s, '', now(),
            %(look_at)s, 0
        )
        RETURNING id, created_at, updated_at
    ), listed AS (
        INSERT INTO orders_orderline (order_id, product_id, product_name, unit_price, quantity)
        SELECT placed.id, line.* FROM placed, unnest(
            %(product_ids)s::bigint[], %(product_names)s::text[], %(unit_prices)s::bigint[], %(quantities)s::integer[]
        ) AS line
    ), told AS (
        INSERT INTO orders_timelineentry (order_id, service, event, status, detail)
        SELECT id, %(service)s, %(event_type)s, %(status)s, '' FROM placed
    ), {emission}
    SELECT id, created_at, updated_at FROM placed
""".format(emission=emission("orders", EVENT))  # noqa: S608 (contains no values)


class UnknownProduct(Problem):
    """The catalogue has no such product."""

    code = "P001"


class InactiveProduct(Problem):
    """The product is no longer sold."""

    code = "P002"


class InvalidOrder(Problem):
    """The lines cannot make an order: mixed currencies, or a total beyond what can be charged."""

    code = "C002"


class UnknownGateway(Problem):
    """There is no payment gateway of this name."""

    code = UNKNOWN_GATEWAY


class TotalChanged(Problem):
    """The total is not the `expectedTotal`: show the customer `totalPrice`, which it is now, and ask again."""

    code = "O004"

    def __init__(self, total: int = 66000) -> None:
        super().__init__()
        self.members = {"totalPrice": total}


def place_order(
    *,
    user_id: int,
    lines: Sequence[Line],
    address: str,
    payment_token: str = "",
    payment_gateway: str = settings.DEFAULT_PAYMENT_GATEWAY,
    expected_total: int | None = None,
    claim: Claim | None = None,
    by_staff: bool = False,
) -> Order:
    """Take an order at today's catalogue prices; its saga begins when the relay finds the event.

    With a claim, only once: the same request again returns the order it has placed, with its `idempotency_key`.
    `by_staff`: somebody else orders for the user, so accounts is asked whether that is a customer.

    Raises `UnknownUser` for nobody and for somebody who is locked out, `UnknownProduct`, `InactiveProduct`,
    `InvalidOrder`, `UnknownGateway`, `TotalChanged` unless the total is the `expected_total`, for a claim `KeyReused`,
    `InFlight`, and `Unavailable` when accounts or the catalogue is away, for without it there is no price.
    """
    if claim and (placed := claim.order()):  # before the catalogue is asked, which may have changed, or be away
        return placed
    if by_staff:
        _check_customer(user_id)
    if payment_gateway not in settings.PAYMENT_GATEWAYS:
        known = ", ".join(settings.PAYMENT_GATEWAYS)
        raise UnknownGateway(f"There is no payment gateway {payment_gateway!r}; there are {known}.")
    items = _priced(lines)
    total = sum(item["unit_price"] * item["quantity"] for item, _ in items)
    currencies = {currency for _, currency in items}
    if len(currencies) > 1:
        raise InvalidOrder(f"One order has one currency; these products are priced in {', '.join(sorted(currencies))}.")
    if total > LARGEST:
        raise InvalidOrder("The total is more than can be charged.")
    (currency,) = currencies
    if expected_total not in (None, total):
        raise TotalChanged(total)
    row = {"user_id": user_id, "currency": currency, "total_price": total, "payment_gateway": payment_gateway}
    row["look_at"] = database_time("orders") + timedelta(seconds=settings.STALLED_AFTER)
    order_id = next_id()  # before it is written: what is sealed is sealed for this order
    checkout = Checkout(
        user_id=user_id,
        amount=total,
        currency=currency,
        payment_gateway=payment_gateway,
        payment_token=payment_token and seal(payment_token, What.PAYMENT_TOKEN, order_id=order_id),
        lines=tuple(lines),
        address=seal(address, What.ADDRESS, order_id=order_id),
    )
    created = OrderCreated(order_id=order_id, checkout=checkout, trace=current_trace())
    lines_of_it = [item for item, _ in items]
    if claim is None and not stafflog.acts_for(user_id):
        order = write(row, lines_of_it, created)
    else:
        with transaction.atomic(using="orders", durable=True):
            if claim and (placed := claim.take()):
                return placed
            order = write(row, lines_of_it, created)
            if stafflog.acts_for(user_id):
                stafflog.record("orders", "order for", f"order {order.pk}", after={"user_id": user_id})
            if claim:
                claim.keep(order)
            crash_point("order.written")
    crash_point("order.committed")
    return order


def _check_customer(user_id: int) -> None:
    """Raises `UnknownUser`, and `Unavailable` when accounts is away."""
    if not connect(AccountsService).get_user(user_id).active:
        raise UnknownUser(f"User {user_id} is locked out.")


def _priced(lines: Sequence[Line]) -> list[tuple[Row, str]]:
    """Rows of order lines with the catalogue's names and prices, each with its currency."""
    products = connect(CatalogService).get_products([line.product_id for line in lines])
    items: list[tuple[Row, str]] = []
    for line in lines:
        product = products.get(line.product_id)
        if product is None:
            raise UnknownProduct(f"There is no product {line.product_id}.")
        if not product.active:
            raise InactiveProduct(f"{product.name} is no longer sold.")
        item = {
            "product_id": product.id,
            "product_name": product.name,
            "unit_price": product.price,
            "quantity": line.quantity,
        }
        items.append((item, product.currency))
    return items


def next_id() -> int:
    """The id of an order that is going to be written. One that is not written after all leaves a gap."""
    (order_id,) = next_ids(1)
    return order_id


def next_ids(count: int) -> list[int]:
    """Likewise of several orders."""
    return [int(order_id) for (order_id,) in query("orders", NEXT_IDS, [count])]


def write(row: Row, lines: Sequence[Row], created: OrderCreated) -> Order:
    """The order of these values, with its lines and the id that `created` names, which is emitted."""
    ((order_id, created_at, updated_at),) = query(
        "orders",
        PLACE,
        {
            **row,
            "id": created.order_id,
            "status": Order.Status.PENDING.value,
            "product_ids": [line["product_id"] for line in lines],
            "product_names": [line["product_name"] for line in lines],
            "unit_prices": [line["unit_price"] for line in lines],
            "quantities": [line["quantity"] for line in lines],
            "service": origin(type(created)),
            "event_id": str(created.event_id),
            "event_type": type(created).__name__,
            "event": msgspec.json.encode(created).decode(),
        },
    )
    wake_relay("orders")
    order = Order(id=order_id, created_at=created_at, updated_at=updated_at, **row)
    order.lines = [OrderLine(order=order, **line) for line in lines]
    return order
