"""Ways to corrupt a small, clean world: each with the invariant that it is about, and all those it breaks.

A corruption keeps everything else in order, as a mistake in one place would: stock that leaves without a reason is
missing on the shelf as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.db.models import F, Model
from django.utils import timezone

from accounts.models import Unsent as AccountsUnsent
from accounts.models import User
from delivery.models import Delivery, ReturnParcel
from inventory.models import DeadLetter, Reservation, StockItem, StockMovement
from inventory.models import Inbox as InventoryInbox
from inventory.services import seed_stock
from notifications.models import Inbox as NotificationsInbox
from notifications.models import Notification
from orders.models import (
    IdempotencyKey,
    Order,
    OrderChange,
    OrderLine,
    Outbox,
    Refund,
    Return,
    TimelineEntry,
    Unsent,
)
from orders.models import Inbox as OrdersInbox
from payments.models import GatewayLedger, Payment, PaymentOperation
from sagas import emit
from sagas.events import uuid7
from sagas.outbox import rearm
from shop.contracts.events import CustomerErased, DeliveryCancellationRefused

NOBODYS = 10**15  # an order that does not exist
TOSS = "TOSS_PAYMENTS"


@dataclass(frozen=True)
class World:
    """Orders by how they ended. All but the refused one wanted two of product 1 and one of product 2: 4,000 won."""

    completed: int
    refused: int
    declined: int
    returned: int
    cancelled_before_charge: int
    cancelled_after_charge: int
    other: int  # completed, too
    held: int  # likewise; its money was taken at hand-over
    changed: int  # likewise, when one of the two of product 1 had been cancelled
    in_parts: int  # completed; of product 4 one piece from the west did not arrive, and one from the east did
    sent_back: int  # completed, and all of it returned: of product 1 one piece accepted, one written off; 2 is rejected
    swapped: int  # completed; of each product a piece came back, to be exchanged
    brought: int  # completed: the exchange for product 1
    not_brought: int  # cancelled: that for product 2, which was refunded then

    @property
    def all(self) -> list[int]:
        return list(vars(self).values())


Corruption = Callable[[World], Any]
MUTATIONS: list[tuple[str, set[str], Corruption]] = []


def breaks(invariant: str, *others: str) -> Callable[[Corruption], Corruption]:
    """Register a corruption with what it is about and what else it breaks."""

    def register(corrupt: Corruption) -> Corruption:
        MUTATIONS.append((invariant, {invariant, *others}, corrupt))
        return corrupt

    return register


def parameters() -> list[Any]:
    return [pytest.param(corrupt, names, id=f"{name}: {corrupt.__name__}") for name, names, corrupt in MUTATIONS]


def drop(model: type[Model], guard: str) -> None:
    """Take away a constraint, or a unique index, that would forbid the corruption."""
    table, connection = model._meta.db_table, connections[model._meta.app_label]
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT IF EXISTS "{guard}"')
        cursor.execute(f'DROP INDEX IF EXISTS "{guard}"')


def on_shelf(product_id: int, pieces: int, location: str = "MAIN") -> None:
    StockItem.objects.filter(product_id=product_id, location=location).update(on_hand=F("on_hand") + pieces)


def payment(order_id: int) -> Any:
    return Payment.objects.filter(order_id=order_id)


def booked(order_id: int, kind: str = "CHARGE") -> Any:
    return GatewayLedger.objects.filter(payment=payment(order_id).get().idempotency_key, kind=kind)


def book(order_id: int, kind: str, amount: int = 4000, gateway: str = TOSS, currency: str = "KRW") -> None:
    name = payment(order_id).get().idempotency_key
    GatewayLedger.objects.create(
        gateway=gateway, payment=name, key=str(uuid7()), kind=kind, amount=amount, currency=currency
    )


def entered(order_id: int, kind: str = "CHARGE") -> Any:
    return PaymentOperation.objects.filter(payment__order_id=order_id, kind=kind)


def enter(order_id: int, kind: str, amount: int = 4000) -> None:
    """An operation that was carried out: in our ledger, in the books, and in the payment's sums."""
    of, key = payment(order_id).get(), str(uuid7())
    of.operations.create(
        kind=kind, key=key, amount=amount, currency="KRW", outcome="SUCCEEDED", settled_at=timezone.now()
    )
    GatewayLedger.objects.create(
        gateway=TOSS, payment=of.idempotency_key, key=key, kind=kind, amount=amount, currency="KRW"
    )


def moved(order_id: int, kind: str = "SHIPMENT", product_id: int = 1) -> Any:
    return StockMovement.objects.filter(order_id=order_id, kind=kind, product_id=product_id)


def move(order_id: int | None, kind: str, delta: int, product_id: int = 1) -> None:
    StockMovement.objects.create(order_id=order_id, kind=kind, delta=delta, product_id=product_id, location_id="MAIN")
    on_shelf(product_id, delta)


# —— Stock ————————————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("stock_adds_up")
def a_piece_appears(world: World) -> None:
    on_shelf(1, 1)


@breaks("stock_adds_up")
def a_piece_is_promised_to_nobody(world: World) -> None:
    StockItem.objects.filter(product_id=1).update(reserved=F("reserved") + 1)


@breaks("stock_adds_up")
def a_receipt_is_forgotten(world: World) -> None:
    StockMovement.objects.filter(kind="ADJUSTMENT", product_id=2).delete()


@breaks("stock_adds_up")
def what_has_no_stock_record_moves(world: World) -> None:
    StockMovement.objects.create(product_id=77, location_id="MAIN", delta=5, kind="ADJUSTMENT")


@breaks("stock_adds_up", "cancelled_keeps_nothing")
def what_has_no_stock_record_is_promised(world: World) -> None:
    reservation = Reservation.objects.get(order_id=world.refused)
    reservation.lines.create(product_id=77, location_id="MAIN", quantity=1)
    Reservation.objects.filter(pk=reservation.pk).update(status="RESERVED")


@breaks("stock_adds_up")
def more_is_gone_than_there_was(world: World) -> None:
    drop(StockItem, "inventory_stock_never_oversold")
    move(None, "ADJUSTMENT", -1 - StockItem.objects.get(product_id=1).on_hand)


@breaks("stock_adds_up")
def something_is_shipped_for_nobody(world: World) -> None:
    move(None, "SHIPMENT", -1)


# —— The gateways' books ——————————————————————————————————————————————————————————————————————————————————————————————
@breaks("ledger_has_payments")
def somebody_is_charged_for_nothing(world: World) -> None:
    GatewayLedger.objects.create(gateway=TOSS, payment="order-x", key="x", kind="CHARGE", amount=1, currency="KRW")


@breaks("ledger_has_payments", "completed_is_whole")
def a_payment_is_forgotten(world: World) -> None:
    payment(world.completed).delete()


@breaks("ledger_has_payments", "money_matches_ledger")
def one_charge_pays_two_orders(world: World) -> None:
    payment(world.other).update(idempotency_key=payment(world.completed).get().idempotency_key)


@breaks("ledger_has_payments", "money_matches_ledger")
def it_is_charged_by_another_gateway(world: World) -> None:
    booked(world.completed).update(gateway="KAKAO_PAY")


@breaks("money_matches_ledger")
def it_is_charged_twice(world: World) -> None:
    book(world.completed, "CHARGE")


@breaks("money_matches_ledger", "ledger_has_payments")
def it_is_charged_by_two_gateways(world: World) -> None:
    book(world.completed, "CHARGE", gateway="KAKAO_PAY")


@breaks("money_matches_ledger")
def more_is_charged_than_was_to_pay(world: World) -> None:
    booked(world.completed).update(amount=4001)


@breaks("money_matches_ledger")
def it_is_charged_in_another_currency(world: World) -> None:
    booked(world.completed).update(currency="USD")


@breaks("money_matches_ledger")
def what_was_declined_is_charged(world: World) -> None:
    book(world.declined, "CHARGE")


@breaks("money_matches_ledger")
def it_is_refunded_in_part(world: World) -> None:
    booked(world.returned, "REFUND").update(amount=1000)


@breaks("money_matches_ledger")
def it_is_refunded_twice(world: World) -> None:
    book(world.cancelled_after_charge, "REFUND")


@breaks("money_matches_ledger")
def it_is_refunded_in_another_currency(world: World) -> None:
    booked(world.returned, "REFUND").update(currency="USD")


@breaks("operations_add_up")
def a_payment_does_not_know_of_its_refund(world: World) -> None:
    payment(world.returned).update(status="FAILED", refunded_at=None)


# —— Our ledger ———————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("operations_add_up")
def a_sum_is_not_what_was_done(world: World) -> None:
    payment(world.completed).update(refunded=1)


@breaks("operations_add_up")
def more_is_given_back_than_was_taken(world: World) -> None:
    drop(Payment, "payments_refunded_within_captured")
    enter(world.other, "REFUND", 4001)
    payment(world.other).update(refunded=4001)


@breaks("operations_add_up", "completed_is_whole")
def more_is_taken_than_was_held(world: World) -> None:
    drop(Payment, "payments_captured_within_authorized")
    enter(world.other, "CAPTURE", 1)
    payment(world.other).update(captured=4001)


@breaks("operations_add_up")
def more_is_held_than_was_to_pay(world: World) -> None:
    drop(Payment, "payments_authorized_within_amount")
    enter(world.other, "AUTHORIZE", 1)
    payment(world.other).update(authorized=4001)


@breaks("operations_add_up", "money_matches_ledger", "cancelled_keeps_nothing")
def an_operation_was_not_entered(world: World) -> None:
    entered(world.returned, "REFUND").delete()


@breaks("operations_add_up", "changes_add_up")
def what_was_let_go_of_was_taken_all_the_same(world: World) -> None:
    of = payment(world.held).get()
    of.operations.create(
        kind="RELEASE", key=str(uuid7()), amount=1, currency="KRW", outcome="SUCCEEDED", settled_at=timezone.now()
    )
    Order.objects.filter(pk=world.held).update(total_price=4001)
    OrderLine.objects.filter(order_id=world.held, product_id=2).update(unit_price=F("unit_price") + 1)


@breaks("operations_add_up", "completed_is_whole")
def what_is_only_held_is_called_taken(world: World) -> None:
    payment(world.held).update(captured=0)
    entered(world.held, "CAPTURE").delete()
    booked(world.held, "CAPTURE").delete()


@breaks("money_matches_ledger")
def it_is_taken_twice_of_what_is_held(world: World) -> None:
    book(world.held, "CAPTURE")


# —— Changes before the hand-over —————————————————————————————————————————————————————————————————————————————————————
def change_of(order_id: int, status: str) -> OrderChange:
    return OrderChange.objects.create(id=uuid7(), order_id=order_id, key="x", amount=0, status=status)


@breaks("changes_add_up", "completed_is_whole")
def what_was_changed_is_not_refunded(world: World) -> None:
    entered(world.changed, "REFUND").delete()
    booked(world.changed, "REFUND").delete()
    payment(world.changed).update(refunded=0)


@breaks("changes_add_up")
def a_change_is_not_what_its_lines_add_up_to(world: World) -> None:
    OrderChange.objects.get(order=world.changed).lines.update(quantity=-2)


@breaks("changes_add_up", "completed_is_whole")
def a_change_that_was_refused_is_refunded(world: World) -> None:
    OrderChange.objects.filter(order=world.changed).update(status="REFUSED", refusal="x", of_address=False)
    OrderLine.objects.filter(order=world.changed, product_id=1).update(quantity=2)
    Order.objects.filter(pk=world.changed).update(total_price=4000)


@breaks("changes_end")
def a_change_is_never_ended(world: World) -> None:
    change = change_of(world.changed, "REQUESTED")
    Order.objects.filter(pk=world.changed).update(change_id=change.pk)


@breaks("changes_end")
def an_order_does_not_know_its_change(world: World) -> None:
    Order.objects.filter(pk=world.completed).update(change_id=uuid7())


@breaks("changes_end", "completed_is_whole")
def a_parcel_is_held_for_ever(world: World) -> None:
    held = {"status": "HELD", "held_for": {"change_id": str(uuid7())}}
    Delivery.objects.filter(order_id=world.other).update(**held)


@breaks("sent_where_it_was_to_go")
def the_old_address_is_kept(world: World) -> None:
    old = Delivery.objects.get(order_id=world.other).address
    Delivery.objects.filter(order_id=world.changed).update(address=old)


@breaks("sent_where_it_was_to_go")
def the_address_of_a_change_that_was_refused_is_used(world: World) -> None:
    OrderChange.objects.create(
        id=uuid7(), order_id=world.completed, key="x", amount=0, status="REFUSED", refusal="x", of_address=True
    )
    Delivery.objects.filter(order_id=world.completed).update(address="2 Low Street")


# —— What COMPLETED means —————————————————————————————————————————————————————————————————————————————————————————————
@breaks("completed_is_whole", "changes_add_up")
def less_is_paid_than_was_ordered_for(world: World) -> None:
    payment(world.completed).update(amount=3999, authorized=3999, captured=3999)
    entered(world.completed).update(amount=3999)
    booked(world.completed).update(amount=3999)


@breaks("completed_is_whole")
def what_was_held_is_not_taken(world: World) -> None:
    payment(world.held).update(status="UNPAID", captured=0)
    entered(world.held, "CAPTURE").delete()
    booked(world.held, "CAPTURE").delete()


@breaks("unpaid_is_seen_to", "completed_is_whole")
def nobody_sees_that_a_capture_failed(world: World) -> None:
    Order.objects.filter(pk=world.held).update(capture="FAILED")


@breaks("completed_is_whole")
def it_is_paid_in_another_currency(world: World) -> None:
    payment(world.completed).update(currency="USD")
    entered(world.completed).update(currency="USD")
    booked(world.completed).update(currency="USD")


@breaks("completed_is_whole")
def what_was_delivered_is_refunded(world: World) -> None:
    enter(world.completed, "REFUND")
    payment(world.completed).update(status="REFUNDED", refunded=4000)


@breaks("completed_is_whole", "shipped_was_handed_over")
def it_was_never_shipped(world: World) -> None:
    for product_id, pieces in ((1, 2), (2, 1)):
        moved(world.completed, product_id=product_id).delete()
        on_shelf(product_id, pieces)
        StockItem.objects.filter(product_id=product_id).update(reserved=pieces)
    Reservation.objects.filter(order_id=world.completed).update(status="RESERVED")


@breaks("completed_is_whole", "shipped_from_where_it_was_reserved")
def it_is_shipped_twice(world: World) -> None:
    drop(StockMovement, "inventory_movement_once_per_order")
    move(world.completed, "SHIPMENT", -2)


@breaks("completed_is_whole", "shipped_from_where_it_was_reserved")
def less_is_shipped_than_was_ordered(world: World) -> None:
    moved(world.completed).update(delta=-1)
    on_shelf(1, 1)


@breaks("completed_is_whole", "shipped_from_where_it_was_reserved")
def something_else_is_set_aside(world: World) -> None:
    Reservation.objects.get(order_id=world.completed).lines.filter(product_id=1).update(product_id=3)


@breaks("completed_is_whole", "shipped_from_where_it_was_reserved")
def what_was_delivered_is_back_on_the_shelf(world: World) -> None:
    move(world.completed, "RETURN", 2)


@breaks("completed_is_whole", "shipped_was_handed_over")
def nothing_was_delivered(world: World) -> None:
    Delivery.objects.filter(order_id=world.completed).delete()


@breaks("completed_is_whole")
def the_recipient_refused_it(world: World) -> None:
    Delivery.objects.filter(order_id=world.completed).update(status="FAILED")


# —— What CANCELLED means —————————————————————————————————————————————————————————————————————————————————————————————
@breaks("cancelled_keeps_nothing")
def the_money_is_kept(world: World) -> None:
    payment(world.returned).update(status="COMPLETED", refunded=0, refunded_at=None)
    entered(world.returned, "REFUND").delete()
    booked(world.returned, "REFUND").delete()


@breaks("money_matches_ledger")
def the_gateway_never_refunded(world: World) -> None:
    booked(world.cancelled_after_charge, "REFUND").delete()


@breaks("cancelled_keeps_nothing")
def the_stock_is_still_set_aside(world: World) -> None:
    Reservation.objects.filter(order_id=world.declined).update(status="RESERVED")
    StockItem.objects.filter(product_id=1).update(reserved=2)
    StockItem.objects.filter(product_id=2).update(reserved=1)


@breaks("cancelled_keeps_nothing", "shipped_from_where_it_was_reserved")
def what_was_shipped_never_came_back(world: World) -> None:
    moved(world.returned, "RETURN").delete()
    on_shelf(1, -2)


@breaks("cancelled_keeps_nothing", "shipped_from_where_it_was_reserved")
def a_part_never_came_back(world: World) -> None:
    moved(world.returned, "RETURN").update(delta=1)
    on_shelf(1, -1)


@breaks("cancelled_keeps_nothing")
def the_parcel_arrived(world: World) -> None:
    Delivery.objects.filter(order_id=world.returned).update(status="DELIVERED")


# —— What leaves the shelf, and with whom —————————————————————————————————————————————————————————————————————————————
@breaks("shipped_was_handed_over")
def it_left_the_shelf_before_a_carrier_had_it(world: World) -> None:
    Delivery.objects.filter(order_id=world.returned).update(handed_over_at=None)


@breaks("shipped_was_handed_over", "cancelled_keeps_nothing", "shipped_from_where_it_was_reserved")
def a_carrier_has_what_is_still_set_aside(world: World) -> None:
    Reservation.objects.filter(order_id=world.returned).update(status="RESERVED")
    for product_id, pieces in ((1, 2), (2, 1)):
        StockItem.objects.filter(product_id=product_id).update(reserved=pieces)


# —— Several shipments —————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("dropped_is_refunded")
def nobody_asks_for_what_did_not_arrive(world: World) -> None:
    Refund.objects.filter(for_shipment__isnull=False).delete()


@breaks("dropped_is_refunded")
def less_is_asked_for_than_was_in_it(world: World) -> None:
    Refund.objects.filter(for_shipment__isnull=False).update(amount=1)


@breaks("shipped_from_where_it_was_reserved", "completed_is_whole")
def what_did_not_arrive_is_not_taken_back(world: World) -> None:
    moved(world.in_parts, "RETURN", 4).delete()
    on_shelf(4, -1, "WEST")


@breaks("shipped_was_handed_over", "dropped_is_refunded", "completed_is_whole")
def a_shipment_that_arrived_has_failed(world: World) -> None:
    Delivery.objects.filter(order_id=world.in_parts, status="DELIVERED").update(status="FAILED", handed_over_at=None)


# —— From where it leaves, and to where it comes back —————————————————————————————————————————————————————————————————
@breaks("shipped_from_where_it_was_reserved")
def it_leaves_from_another_location(world: World) -> None:
    seed_stock({1: 5}, "EAST")
    moved(world.completed).update(location_id="EAST")
    on_shelf(1, 2)
    on_shelf(1, -2, "EAST")


@breaks("shipped_from_where_it_was_reserved")
def it_comes_back_to_another_location(world: World) -> None:
    seed_stock({1: 5}, "EAST")
    moved(world.returned, "RETURN").update(location_id="EAST")
    on_shelf(1, -2)
    on_shelf(1, 2, "EAST")


# —— Orders ———————————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("orders_end")
def an_order_is_forgotten(world: World) -> None:
    order = Order.objects.create(user_id=1, currency="KRW", total_price=5, payment_gateway=TOSS)
    order.items.create(product_id=1, product_name="Product 1", unit_price=5, quantity=1)
    order.timeline.create(service="orders", event="OrderCreated", status="PENDING")


@breaks("orders_end")
def an_order_never_arrives(world: World) -> None:
    Order.objects.filter(pk=world.completed).update(status="DELIVERY_STARTED")
    TimelineEntry.objects.filter(order_id=world.completed, status__in=["SHIPPED", "COMPLETED"]).delete()


@breaks("order_adds_up")
def the_total_is_wrong(world: World) -> None:
    Order.objects.filter(pk=world.refused).update(total_price=F("total_price") + 1)


@breaks("order_adds_up")
def a_price_is_changed_after_the_fact(world: World) -> None:
    OrderLine.objects.filter(order_id=world.completed, product_id=1).update(unit_price=999)


@breaks("order_adds_up")
def an_order_has_lost_its_lines(world: World) -> None:
    OrderLine.objects.filter(order_id=world.declined).delete()


@breaks("one_order_per_key")
def a_key_answers_with_another_order(world: World) -> None:
    IdempotencyKey.objects.create(
        user_id=1, key="k", order_id=world.completed, status=202, answer=f'{{"id": {world.other}, "userId": 1}}'
    )


@breaks("histories_are_legal")
def an_order_was_never_placed(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.completed, status="PENDING").delete()


@breaks("histories_are_legal")
def an_order_has_no_history(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.completed).delete()


@breaks("histories_are_legal")
def an_end_is_missing(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.declined, status="CANCELLED").delete()


@breaks("histories_are_legal")
def an_order_goes_back(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.completed, status="DELIVERY_STARTED").update(status="PENDING")


@breaks("histories_are_legal")
def an_order_goes_on_after_its_end(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.completed, status="INVENTORY_RESERVED").update(status="CANCELLED")


@breaks("histories_are_legal")
def an_order_has_been_what_no_order_is(world: World) -> None:
    TimelineEntry.objects.filter(order_id=world.completed, status="PAYMENT_COMPLETED").update(status="LOST")


@breaks("histories_are_legal", "cancelled_keeps_nothing")
def a_completed_order_is_called_cancelled(world: World) -> None:
    Order.objects.filter(pk=world.completed).update(status="CANCELLED")


# —— Orphans ——————————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("no_orphans")
def stock_is_set_aside_for_nobody(world: World) -> None:
    Reservation.objects.create(order_id=NOBODYS, status="RELEASED")


@breaks("no_orphans")
def something_is_shipped_for_an_order_that_is_not_there(world: World) -> None:
    move(NOBODYS, "SHIPMENT", -1)


@breaks("no_orphans")
def there_is_a_payment_for_nobody(world: World) -> None:
    Payment.objects.create(order_id=NOBODYS, idempotency_key="order-nobodys", status="VOIDED")


@breaks("no_orphans")
def there_is_a_parcel_for_nobody(world: World) -> None:
    Delivery.objects.create(order_id=NOBODYS, status="CANCELLED")


@breaks("no_orphans")
def somebody_is_told_of_nothing(world: World) -> None:
    Notification.objects.create(event_id=uuid7(), order_id=NOBODYS, user_id=1, type="SHIPPED", channel="SMS")


@breaks("no_orphans")
def something_is_handled_for_nobody(world: World) -> None:
    NotificationsInbox.objects.create(step="notifications.notify", event_id=uuid7(), correlation_id=NOBODYS)


@breaks("no_orphans")
def something_is_emitted_for_nobody(world: World) -> None:
    Outbox.objects.create(event_id=uuid7(), correlation_id=NOBODYS, payload={})


@breaks("no_orphans")
def an_order_is_gone(world: World) -> None:
    Order.objects.get(pk=world.cancelled_before_charge).delete()


# —— Messages —————————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("outbox_drained")
def an_event_was_never_published(world: World) -> None:
    rearm("orders", [world.completed])


@breaks("no_dead_letters")
def an_event_could_not_be_handled(world: World) -> None:
    DeadLetter.objects.create(
        step="inventory.ship_stock", correlation_id=world.completed, payload="{}", error="ValueError"
    )


@breaks("carriers_agree")
def the_carrier_says_that_it_delivered_what_was_cancelled(world: World) -> None:
    Delivery.objects.filter(order_id=world.cancelled_after_charge).update(disputed_by="DELIVERED")


@breaks("events_are_handled")
def a_shipment_was_never_heard_of(world: World) -> None:
    InventoryInbox.objects.filter(step="inventory.ship_stock", correlation_id=world.completed).delete()


@breaks("events_are_handled")
def the_customer_was_never_told(world: World) -> None:
    NotificationsInbox.objects.filter(event_type="OrderCancelled", correlation_id=world.refused).delete()


@breaks("events_are_handled")
def a_payment_was_never_noted(world: World) -> None:
    OrdersInbox.objects.filter(step="orders.mark_paid", correlation_id=world.completed).delete()


@breaks("events_are_handled")
def what_was_published_was_lost(world: World) -> None:
    with transaction.atomic(using="orders"):
        emit(DeliveryCancellationRefused(order_id=world.completed), service="orders")
    Unsent.objects.all().delete()


# —— Privacy ——————————————————————————————————————————————————————————————————————————————————————————————————————————
LONG_AGO = timezone.now() - settings.PRIVACY_AFTER - timedelta(days=2)


def erased(**fields: Any) -> User:
    """Somebody who was erased; user 1 is the one whose orders the world has."""
    return User.objects.create(**{"email": "erased-1@erased.invalid", "erased_at": timezone.now()} | fields)


@breaks("forgotten_in_time")
def an_address_is_kept_for_ever(world: World) -> None:
    Delivery.objects.filter(order_id=world.completed).update(created_at=LONG_AGO, updated_at=LONG_AGO)


@breaks("forgotten_in_time")
def the_address_of_a_change_is_kept_for_ever(world: World) -> None:
    OrderChange.objects.filter(order=world.changed).update(updated_at=LONG_AGO)


@breaks("forgotten_in_time")
def a_token_is_kept_after_its_charge(world: World) -> None:
    payment(world.declined).update(token="sealed")


@breaks("erased_is_gone")
def somebody_who_was_erased_has_a_name(world: World) -> None:
    erased(name="Hana")


@breaks("erased_is_gone")
def what_somebody_was_told_who_was_erased_is_still_there(world: World) -> None:
    erased(pk=1)
    Delivery.objects.update(address="")
    Payment.objects.update(token="")


@breaks("erased_is_gone")
def where_somebody_lived_who_was_erased_is_still_known(world: World) -> None:
    erased(pk=1)
    Notification.objects.all().delete()
    Payment.objects.update(token="")


@breaks("erased_is_gone")
def where_somebody_moved_who_was_erased_is_still_known(world: World) -> None:
    erased(pk=1)
    Notification.objects.all().delete()
    Payment.objects.update(token="")
    Delivery.objects.update(address="")


@breaks("erased_is_gone")
def what_somebody_ordered_who_was_erased_is_still_with_payments(world: World) -> None:
    erased(pk=1)
    payment(world.declined).update(checkout={"user_id": 1})
    Notification.objects.all().delete()
    Delivery.objects.update(address="")


@breaks("erased_is_gone")
def nobody_has_heard_of_an_erasure(world: World) -> None:
    with transaction.atomic(using="accounts"):
        emit(CustomerErased(user_id=erased().pk, order_ids=()), service="accounts")
    AccountsUnsent.objects.all().delete()


# —— Returns ——————————————————————————————————————————————————————————————————————————————————————————————————————————
@breaks("returns_were_delivered")
def more_is_returned_than_was_delivered(world: World) -> None:
    another = Return.objects.create(id=NOBODYS, order_id=world.sent_back, user_id=1, kind="REFUND", refunded=0, kept=0)
    another.items.create(product_id=1, quantity=1, unit_price=1000)


@breaks("returns_were_delivered", "accepted_is_restocked")
def something_came_back_that_nobody_returned(world: World) -> None:
    StockMovement.objects.filter(return_id__isnull=False, kind="RETURN").update(return_id=NOBODYS)


@breaks("returns_add_up")
def more_is_due_than_the_pieces_cost(world: World) -> None:
    Return.objects.filter(order_id=world.sent_back).update(refund_due=F("refund_due") + 1)


@breaks("returns_add_up")
def less_is_refunded_than_the_refunds_say(world: World) -> None:
    Return.objects.filter(order_id=world.sent_back).update(refunded=F("refunded") - 1)


@breaks("accepted_is_restocked")
def what_was_accepted_is_not_on_the_shelf(world: World) -> None:
    came_back = StockMovement.objects.filter(order_id=world.sent_back, return_id__isnull=False, kind="RETURN")
    came_back.update(delta=F("delta") - 1)
    on_shelf(1, -1)


@breaks("returns_are_looked_after")
def nobody_looks_after_a_return(world: World) -> None:
    Return.objects.update(status="SETTLING", look_at=None)


@breaks("returns_are_looked_after")
def a_parcel_is_still_expected(world: World) -> None:
    ReturnParcel.objects.update(status="EXPECTED")


@breaks("returns_events_are_handled")
def nobody_heard_of_an_inspection(world: World) -> None:
    InventoryInbox.objects.filter(step="inventory.restock_return").delete()


# —— Exchanges ————————————————————————————————————————————————————————————————————————————————————————————————————————
def exchanged(order_id: int) -> Any:
    """The return for which an order was given."""
    return Return.objects.filter(exchanges=order_id)


@breaks("exchanges_have_one_order")
def somebody_else_is_given_the_exchange(world: World) -> None:
    Order.objects.filter(pk=world.brought).update(user_id=2)


@breaks("exchanges_have_one_order", "completed_is_whole")
def more_is_given_than_was_taken_back(world: World) -> None:
    OrderLine.objects.filter(order_id=world.brought).update(quantity=2)


@breaks("exchanges_have_one_order", "returns_add_up")
def what_was_taken_back_is_never_exchanged(world: World) -> None:
    Return.objects.filter(order_id=world.sent_back).update(kind="EXCHANGE")


@breaks("exchanges_cost_nothing")
def an_exchange_is_charged(world: World) -> None:
    payment(world.brought).get().operations.create(kind="CHARGE", key=str(uuid7()), amount=1, currency="KRW")


@breaks("exchanges_cost_nothing", "order_adds_up", "completed_is_whole")
def an_exchange_has_a_price(world: World) -> None:
    drop(Order, "orders_total_positive")
    Order.objects.filter(pk=world.brought).update(total_price=1)


@breaks("returns_add_up")
def what_an_exchange_did_not_bring_is_not_refunded(world: World) -> None:
    Refund.objects.filter(order_id=world.swapped).delete()
    exchanged(world.not_brought).update(refund_due=0, refunded=0)


@breaks("returns_add_up", "cancelled_keeps_nothing")
def what_an_exchange_was_to_bring_is_kept(world: World) -> None:
    Order.objects.filter(pk=world.brought).update(status="CANCELLED")
    TimelineEntry.objects.filter(order_id=world.brought, status="COMPLETED").update(status="CANCELLED")


@breaks("returns_are_looked_after")
def nobody_heard_that_an_exchange_has_arrived(world: World) -> None:
    exchanged(world.brought).update(status="EXCHANGING", look_at=timezone.now())
