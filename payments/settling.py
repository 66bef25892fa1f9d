"""Payments that are still open: asked about again until their gateway knows, when their time has come, their customer
comes back, or their provider tells something."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from prometheus_client import Counter

from fastdb.bulk import insert_rows
from fastdb.clock import database_time
from payments import captures, ledger, transitions
from payments.gateway_calls import Answers, Asked, Operated, capture, charge, confirm, find, refund, void
from payments.gateways import Authorized, Captured, Notification, State
from payments.models import GatewayNotification, Payment, PaymentAttempt
from payments.names import order_in
from payments.rows import lock, log, save
from sagas import emit
from sagas.crash_points import crash_point
from sagas.outages import OUTAGES
from sagas.retention import delete_portion

logger = logging.getLogger(__name__)

Operation, Status = PaymentAttempt.Operation, Payment.Status

LOOKED_UP = (Status.REFUNDING, Status.VOIDED, Status.AUTHORIZED, Status.FAILED)
OVER = (Status.FAILED, Status.VOIDED)  # nothing was taken; what is taken all the same is given back
PUT_OFF = Counter(
    "shop_payments_put_off_total", "Payments that could not be settled for an error of ours.", ["gateway"]
)
LEASE = timedelta(seconds=30)  # how long one timer asks before another one takes over
PORTION = 100  # payments that a timer takes at once


def settle_due() -> int:
    """Ask the gateways about payments whose outcome is open and due; how many there were."""
    claimed = _claim_due()
    if claimed:
        _settle(claimed)
    return len(claimed)


def _settle(claimed: Sequence[Payment]) -> None:
    """Ask and write the answers down; if that fails, each half by itself, until a payment fails alone. That one is put
    off: it is asked about again when its lease ends."""
    try:
        _ask_and_apply(claimed)
    except OUTAGES:
        raise
    except Exception as error:
        if len(claimed) > 1:
            logger.warning("%d payments cannot be settled together, now each half of them: %r", len(claimed), error)
            middle = len(claimed) // 2
            _settle(claimed[:middle])
            _settle(claimed[middle:])
        else:
            PUT_OFF.labels(claimed[0].gateway).inc()
            logger.exception("The payment of order %d cannot be settled, and is put off", claimed[0].order_id)


def _ask_and_apply(claimed: Sequence[Payment]) -> None:
    """Ask the gateways, and apply their answers in one transaction.

    A charge is asked for again with the same key, and so is a capture. A payment that waits for its customer is
    confirmed, or ended when its time is over. One that is to be undone is looked up and, if charged, refunded. Held and
    failed ones are looked up, too.
    """
    charges = charge(payment for payment in claimed if payment.status == Status.PENDING)
    waiting = confirm(payment for payment in claimed if payment.status == Status.WAITING)
    taken, capturing = _with_rows(claimed, Status.COMPLETED), _with_rows(claimed, Status.CAPTURING)
    refused = {payment.order_id for payment in capturing if captures.is_refused(payment)}
    found = find(one for one in claimed if one.status in LOOKED_UP or one.order_id in refused)
    intended = _intend(found, waiting, claimed)
    operated = {**void(intended), **refund([*intended, *taken]), **capture(capturing)}
    crash_point("settle.answered")
    with transaction.atomic(using="payments", durable=True):
        now = database_time("payments")
        payments = {payment.order_id: payment for payment in lock(payment.order_id for payment in claimed)}
        asked = {**charges, **waiting, **found}
        followers: list[transitions.News | None] = []
        for order_id, payment in payments.items():
            followers += captures.captured(payment, operated, now)
            followers += transitions.refunded_in_part(payment, operated, now)
            if order_id in asked:
                followers += _settled(payment, asked[order_id], operated, now, since_refusal=order_id in refused)
        save(payments.values(), now)
        log(payments, asked, operated)
        if events := [event for event in followers if event is not None]:
            emit(*events, service="payments")
        crash_point("settle.written")
    crash_point("settle.committed")


def _with_rows(claimed: Sequence[Payment], status: str) -> list[Payment]:
    """Those of the payments that have a status, with their operations."""
    payments = [payment for payment in claimed if payment.status == status]
    ledger.load(payments)
    return payments


def _settled(
    payment: Payment, asked: Asked, operated: Operated, now: datetime, *, since_refusal: bool
) -> Sequence[transitions.News | None]:
    """Apply what was answered about a payment; the events that follow."""
    if asked.operation == Operation.FIND and payment.status in captures.HELD:
        return captures.looked_up(payment, asked.outcome, now, since_refusal=since_refusal)
    if asked.operation == Operation.FIND and payment.status == Status.FAILED:
        transitions.looked_up_after_failure(payment, asked.outcome, now)
        return []
    if asked.operation == Operation.FIND:
        return [transitions.undone(payment, asked.outcome, operated, now)]
    if ledger.open_rows(payment, ledger.Kind.VOID) and not isinstance(asked.outcome, Captured | Authorized):
        return [transitions.expired(payment, operated, now)]
    return [transitions.charged(payment, asked.outcome, now)]


def _claim_due() -> list[Payment]:
    """Payments to ask about, kept from other processes until the lease ends."""
    now = database_time("payments")
    with transaction.atomic(using="payments", durable=True):
        due = Payment.objects.filter(due_at__lte=now).order_by("due_at").select_for_update(skip_locked=True)
        claimed = list(due[:PORTION])
        if claimed:
            Payment.objects.filter(pk__in=[payment.pk for payment in claimed]).update(due_at=now + LEASE)
        crash_point("settle.claim_written")
    crash_point("settle.claim_committed")
    return claimed


def _intend(found: Answers, waiting: Answers, claimed: Sequence[Payment]) -> list[Payment]:
    """Enter what the gateways are to do next: refund or void payments that are being undone, and void those that have
    waited for their customers past the deadline.

    Some gateways take money only when we confirm a payment, and have nothing to void. So a customer who came back after
    we asked is confirmed first; see also `come_back`.
    """
    brought = {payment.order_id: payment.returned_with for payment in claimed}
    states = {order_id: asked.outcome for order_id, asked in found.items() if isinstance(asked.outcome, State)}
    paid = Captured | Authorized
    waits = {order_id: asked.outcome for order_id, asked in waiting.items() if not isinstance(asked.outcome, paid)}
    if not states and not waits:
        return []
    with transaction.atomic(using="payments", durable=True):
        now = database_time("payments")
        payments = lock([*states, *waits])
        for payment in payments:
            state, wait = states.get(payment.order_id), waits.get(payment.order_id)
            if state is not None and payment.status in (Status.REFUNDING, Status.VOIDED):
                ledger.learn(payment, state, now)
                if state.captured > state.refunded:
                    ledger.intend_refund_of_rest(payment, state)
                elif not state.captured and not state.voided:
                    ledger.intend_void(payment)
                payment.updated_at = now
            elif (
                wait is not None
                and payment.status == Status.WAITING
                and payment.returned_with == brought[payment.order_id]
                and transitions.is_over(payment, wait, now)
            ):
                ledger.intend_void(payment)
                payment.updated_at = now
        save(payments, now)
        crash_point("settle.operation_written")
    crash_point("settle.operation_committed")
    return [one for one in payments if one.updated_at == now]


# --- Customers who come back, providers that tell something -----------------------------------------------------------
def come_back(order_id: int, parameters: Mapping[str, str]) -> None:
    """A customer came back from the provider's page, with this query, which the provider is asked to confirm.

    The query is stored first: some providers take money only with it, and without an answer `settle_due` asks again.
    A payment that is being voided is not confirmed, or the provider might take money after the void. One that failed or
    was voided is looked up: its customer may have paid all the same.
    """
    with transaction.atomic(using="payments", durable=True):
        waiting = [
            payment
            for payment in lock([order_id])
            if payment.status == Status.WAITING and not ledger.open_rows(payment, ledger.Kind.VOID)
        ]
        Payment.objects.filter(pk__in=[one.pk for one in waiting]).update(returned_with=dict(parameters))
        over = Payment.objects.filter(order_id=order_id, status__in=OVER).exclude(gateway="")
        over.update(due_at=database_time("payments"))
        crash_point("return.note_written")
    crash_point("return.note_committed")
    for payment in waiting:
        payment.returned_with = dict(parameters)
    answers = confirm(waiting)
    if not answers:
        return  # confirmed before, or over
    with transaction.atomic(using="payments", durable=True):
        now = database_time("payments")
        payments = {payment.order_id: payment for payment in lock(answers)}
        for payment in payments.values():
            if event := transitions.charged(payment, answers[order_id].outcome, now):
                emit(event, service="payments")
        save(payments.values(), now)
        log(payments, answers)
        crash_point("return.written")
    crash_point("return.committed")


def take_notification(gateway: str, told: Notification) -> None:
    """A provider says that something has happened to a payment: the timer looks it up at its next tick.

    The notification is stored, so that a repeated one does nothing, but only if there is something to look up: anybody
    can send unsigned ones.
    """
    row = {
        "gateway": gateway,
        "event_id": told.event_id[:128],
        "payment": told.payment[:64],
        "reference": told.reference[:128],
    }
    with transaction.atomic(using="payments", durable=True):
        payments = _open_or_over(gateway, told)
        if payments.exists() and insert_rows(
            GatewayNotification, [row], then="ON CONFLICT (gateway, event_id) DO NOTHING RETURNING id"
        ):
            payments.update(due_at=database_time("payments"))
        crash_point("notification.written")
    crash_point("notification.committed")


def _open_or_over(gateway: str, told: Notification) -> QuerySet[Payment]:
    """The payment that a notification is about, if it is open, or has failed or was voided."""
    payments, is_open = Payment.objects.filter(gateway=gateway), Q(due_at__isnull=False)
    if order_id := order_in(told.payment):
        return payments.filter(is_open | Q(status__in=OVER), order_id=order_id, idempotency_key=told.payment)
    return payments.filter(is_open, reference=told.reference) if told.reference else payments.none()


def purge() -> int:
    """Delete a portion of the providers' notifications past their retention; how many that was."""
    before = database_time("payments") - settings.SAGAS.retention
    return delete_portion("payments", GatewayNotification._meta.db_table, "received_at < %s", [before])
