"""Orders that are not closed yet: stalled ones are resumed, ended ones closed, overdue ones cancelled."""

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from fastdb.bulk import update_rows
from fastdb.clock import database_time
from orders.cancellation import begin_cancellation
from orders.models import BEFORE_PAYMENT, DELIVERY_ARRANGED, FINAL, FORWARD, Order, Refund
from orders.services import lock
from sagas import backlog
from sagas.crash_points import crash_point
from sagas.outbox import rearm
from sagas.reconciliation import missing
from shop import stafflog
from shop.contracts.events import OrderCreated
from shop.contracts.reasons import OVERDUE

LONGEST_PAUSE = 600.0  # seconds between two checks of an order
BUSY = 100  # messages in one queue from which on an order without progress is only waiting its turn
PORTION = 500  # orders that a timer takes at once


def look_after() -> int:
    """Check one portion of the orders that are due (`look_at`), with growing pauses; return how many were due.

    If an order has made no progress, its events are published again. An order that has ended is closed once every
    message of it was handled; otherwise its events are published again, too: the broker may have lost messages that no
    order waits for. An order whose message waits in a queue is not stalled. So during a backlog only orders that have
    been due for long are checked: the backlog may be another service's.
    """
    due, stalled = _claim_due(since=leeway())
    ended = [order.pk for order in stalled if order.status in FINAL]
    # Before the ended ones, for which every service is asked.
    rearm("orders", {order.pk for order in stalled} - set(ended))
    # Whose refund is not answered yet stays open: the message with the answer may be lost, too.
    open_refunds = Refund.objects.filter(order__in=ended, status=Refund.Status.REQUESTED)
    refunding = set(open_refunds.values_list("order_id", flat=True))
    lost = {message.key for message in missing(ended, of=OrderCreated)} if ended else set()
    closed = [pk for pk in ended if pk not in lost | refunding]
    with transaction.atomic(using="orders"):
        lock(closed)
        # What has begun meanwhile, such as another refund, has set `looks` back.
        Order.objects.filter(pk__in=closed, status__in=FINAL, looks__gt=0).update(look_at=None)
    crash_point("look_after.closed")
    rearm("orders", lost)
    crash_point("look_after.rearmed")
    return due


def leeway() -> float:
    """For how many seconds an order, or a return, must have been due to be checked now."""
    return LONGEST_PAUSE if backlog() > BUSY else 0.0


def _claim_due(since: float) -> tuple[int, list[Order]]:
    """Give each order that has been due for so many seconds its next due time; return how many there were, and those
    without recent progress."""
    now = database_time("orders")
    patience, due_at = timedelta(seconds=settings.STALLED_AFTER), now - timedelta(seconds=since)
    with transaction.atomic(using="orders", durable=True):
        due = list(
            Order.objects.filter(look_at__lte=due_at).order_by("look_at").select_for_update(skip_locked=True)[:PORTION]
        )
        stalled = [order for order in due if order.progress_at + patience <= now]
        for order in due:
            order.look_at = order.progress_at + patience
        for order in stalled:
            order.look_at = now + pause_after(order.looks)
            order.looks += 1
        update_rows(due, "look_at", "looks")
        crash_point("look_after.claim_written")
    crash_point("look_after.claim_committed")
    return len(due), stalled


def pause_after(checks: int) -> timedelta:
    """How long to wait before the next check of an order, or a return, after that many without progress."""
    return timedelta(seconds=min(settings.STALLED_AFTER * 2 ** min(checks + 1, 20), LONGEST_PAUSE))


def rearm_open(order_ids: Iterable[int] | None = None, *, dry_run: bool = False) -> list[int]:
    """Publish the events of open orders again, these or all; return their ids.

    For operators, and for a broker that has lost everything.
    """
    open_orders = Order.objects.filter(look_at__isnull=False)
    if order_ids is not None:
        open_orders = open_orders.filter(pk__in=list(order_ids))
    ids = list(open_orders.order_by("pk").values_list("pk", flat=True))
    if not dry_run:
        with transaction.atomic(using="orders"):
            rearm("orders", ids)
            for pk in ids if stafflog.actor() else ():
                stafflog.record("orders", "emit again", f"order {pk}")
    return ids


def can_be_resumed(order: Order) -> bool:
    """Whether publishing its events again may bring it on: it has not ended."""
    return order.look_at is not None and order.status not in FINAL


def cancel_overdue() -> int:
    """Cancel one portion of the orders whose delivery was not booked before their deadline; return how many.

    The time in which an order waits for its customer to pay is not counted.
    """
    deadline = database_time("orders") - timedelta(seconds=settings.ORDER_DEADLINE)
    paid = [status for status in FORWARD if status not in (*BEFORE_PAYMENT, *DELIVERY_ARRANGED)]
    with transaction.atomic(using="orders", durable=True):
        overdue = list(
            Order.objects.filter(look_at__isnull=False, status__in=(*BEFORE_PAYMENT, *paid), created_at__lt=deadline)
            .filter(
                Q(action_until=None)
                | Q(status__in=BEFORE_PAYMENT, action_until__lt=deadline)
                | Q(status__in=paid, progress_at__lt=deadline)
            )
            .order_by("pk")
            .select_for_update(skip_locked=True)[:PORTION]
        )
        if overdue:
            begin_cancellation(overdue, OVERDUE)
        crash_point("overdue.written")
    crash_point("overdue.committed")
    return len(overdue)
