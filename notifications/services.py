"""The rules of telling customers, and the only code that writes notifications.

A notification is written down in the transaction that handles its event and sent later, outside any transaction: at
least once, with the same reference each time. They are written in the order of the saga where events arrive together,
and an order is never complete before it has been delivered, in whatever order events arrive.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache

import phonenumbers
from django.conf import settings
from django.db import transaction
from django.db.models import Count, F

from fastdb.bulk import Row, insert_rows
from fastdb.clock import database_time
from notifications.kinds import TYPES, News, customer_of, kind_of
from notifications.models import Inbox, Notification, WebhookMessage
from notifications.preferences import unwanted
from notifications.senders import Mailer, OutOfTime, Sms, send_portion, sms_sender
from notifications.suppressions import WHY, WITHHELD, suppressed
from notifications.templates import Drafts, Due, compose, drafts_in_use
from sagas import Unavailable, purge_messages
from sagas.crash_points import crash_point
from sagas.retention import delete_portion
from shop import mailfiles, stafflog
from shop.contracts.accounts import Contact
from shop.contracts.events import (
    DeliveryCompleted,
    OrderCancelled,
    OrderChanged,
    OrderCompleted,
    PaymentActionRequired,
    PaymentAuthorized,
    PaymentCompleted,
    PaymentRefundCompleted,
)
from shop.contracts.return_events import ReturnCompleted
from shop.money import money

logger = logging.getLogger(__name__)

Channel, Status, Type = Notification.Channel, Notification.Status, Notification.Type

STAGES = {event: stage for stage, event in enumerate(TYPES)}
PORTION = 100  # notifications sent between claiming and marking
LEASE = timedelta(minutes=5)  # until what a sender that died had claimed is sent by another
SENDING = LEASE.total_seconds() / 3  # for the e-mails of a portion, and for its texts: both end well before the lease
MAX_ATTEMPTS = 10
TOO_MANY, SETTLED = "TOO_MANY", "SETTLED"
PAID_SINCE = "It was paid, or the order had ended, before this was sent."
SETTLES = [one.__name__ for one in (PaymentCompleted, PaymentAuthorized, OrderCancelled)]
PRICED = PaymentActionRequired | PaymentRefundCompleted | ReturnCompleted
HOUR = timedelta(hours=1)  # of `settings.MESSAGES_PER_HOUR`
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)  # between attempts, doubling: 85 minutes in all

UNVERIFIED = "The customer's e-mail address is not verified."
UNWANTED = "The customer does not want to be told this by this channel."


def write_down(news: Iterable[News], contacts: Mapping[int, Contact]) -> None:
    """Have each customer told, by e-mail and, where there is a phone, by SMS; once per event and channel.

    A customer without contact is not told; one whose address is not verified is not, either, nor one abroad by SMS, nor
    by a channel that they do not want, but it is written down that they were not. Runs inside a transaction on
    `notifications`.
    """
    known = [(event, contact) for event in _in_order(list(news)) if (contact := contacts.get(customer_of(event)))]
    if not known:
        return
    drafts, off = drafts_in_use(), unwanted({contact.user_id for _event, contact in known})
    rows = [row for event, contact in known for row in _notifications(event, contact, drafts, off)]
    insert_rows(Notification, rows, then="ON CONFLICT DO NOTHING")


def _in_order(news: Sequence[News]) -> list[News]:
    """In the order of the saga; before an order is complete, that it has been delivered, if that is still to come.

    It has the id of the event that is to come, which then finds it written down. The same events are always in the same
    order, so that inserts cannot deadlock.
    """
    here = {event.event_id for event in news}
    to_come: list[News] = [
        DeliveryCompleted(
            event_id=event.caused_by,
            order_id=event.order_id,
            user_id=event.user_id,
            tracking_number=event.tracking_number,
        )
        for event in news
        if isinstance(event, OrderCompleted) and event.caused_by and event.tracking_number
        if event.caused_by not in here
    ]
    return sorted([*news, *to_come], key=lambda event: (STAGES[type(event)], event.event_id.int))


def _notifications(event: News, contact: Contact, drafts: Drafts, off: Collection[tuple[int, str, str]]) -> list[Row]:
    kind = kind_of(event)
    text = compose(
        kind,
        language=contact.language,
        name=contact.name,
        order=event.order_id,
        tracking=getattr(event, "tracking_number", ""),
        reason=getattr(event, "reason", ""),
        amount=_amount(event),
        due=Due(event.url, event.until, event.bank, event.account, event.holder)
        if isinstance(event, PaymentActionRequired)
        else None,
        returned=getattr(event, "return_id", 0),
        exchange=getattr(event, "exchange_order_id", 0),
        drafts=drafts,
    )
    ways = [(Channel.EMAIL, contact.email, text.subject, text.body), (Channel.SMS, contact.phone, "", text.sms)]
    return [
        {
            "event_id": event.event_id,
            "order_id": event.order_id,
            "user_id": contact.user_id,
            "type": kind,
            "channel": channel,
            "recipient": recipient,
            "subject": subject,
            "body": body,
            "status": Status.SUPPRESSED if error else Status.PENDING,
            "error": error,
        }
        for channel, recipient, subject, body in ways
        if recipient
        for error in [UNWANTED if (contact.user_id, kind, channel) in off else _obstacle(channel, contact)]
    ]


def _amount(event: News) -> str:
    """The amount that an event tells of: of an order that was changed, what it comes to now."""
    if isinstance(event, OrderChanged):
        return money(event.total, event.currency)
    return money(event.amount, event.currency) if isinstance(event, PRICED) and event.currency else ""


def _obstacle(channel: str, contact: Contact) -> str:
    """Why a customer is told nothing by a channel; "" if they are."""
    if not contact.verified:
        return UNVERIFIED
    if channel == Channel.SMS and _region(contact.phone) != settings.PHONE_REGION:
        return f"SMS go to numbers of {settings.PHONE_REGION} only."
    return ""


@lru_cache(maxsize=1000)  # an order's customer is told several times
def _region(phone: str) -> str | None:
    """The country that a phone number is of; None if it is of none."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(phone, settings.PHONE_REGION))
    except phonenumbers.NumberParseException:
        return None


def send_due() -> int:
    """Send one portion of what is due; how many notifications that was, sent or not.

    What is too much for its recipient, or would go to a suppressed address, is suppressed. What fails is due again
    after a growing pause, and FAILED after MAX_ATTEMPTS. What a slow server leaves no time for is due again at once,
    and that is no attempt. Raises `Unavailable`, everything written down, when there was no mail server to talk to: the
    rest had better wait for the next tick.
    """
    portion = _claim()
    if not portion:
        return 0
    withheld = _stopped(portion) | _too_many(portion) | _settled_since(portion)
    wanted = [notification for notification in portion if notification.pk not in withheld]
    with Mailer(SENDING) as mailer:
        errors = _send_emails([one for one in wanted if one.channel == Channel.EMAIL], mailer)
    errors |= _send_texts([one for one in wanted if one.channel == Channel.SMS])
    for notification in wanted:
        if (error := errors.get(notification.pk)) and not isinstance(error, OutOfTime):
            logger.warning("%s (id %d) not sent: %s", notification, notification.pk, type(error).__name__)
    _settle(portion, errors, withheld)
    if mailer.away:
        raise Unavailable(f"No mail server: {type(mailer.away).__name__}")
    return len(portion)


def _send_emails(emails: Sequence[Notification], mailer: Mailer) -> dict[int, Exception]:
    """Send them; by key, why some were not."""
    errors: dict[int, Exception] = {}
    for one in emails:
        try:
            mailer.send(to=one.recipient, subject=one.subject, body=one.body, reference=one.reference)
            crash_point("sending.sent")
        except Exception as error:  # whatever a provider's library raises: it concerns this notification alone
            errors[one.pk] = error
    return errors


def _send_texts(texts: Sequence[Notification]) -> dict[int, Exception]:
    """Send them; by key, why some were not."""
    messages = [Sms(one.recipient, one.body, one.reference) for one in texts]
    errors = send_portion(sms_sender(), messages, seconds=SENDING)
    if len(errors) < len(texts):
        crash_point("sending.sent")
    return {one.pk: errors[one.reference] for one in texts if one.reference in errors}


def _claim() -> Sequence[Notification]:
    """What is due, made due again only after LEASE, so that nobody else sends it meanwhile."""
    now = database_time("notifications")
    with transaction.atomic(using="notifications", durable=True):
        portion = list(
            Notification.objects.select_for_update(skip_locked=True)
            .filter(status=Status.PENDING, due_at__lte=now)
            .order_by("due_at", "pk")[:PORTION]
        )
        Notification.objects.filter(pk__in=[notification.pk for notification in portion]).update(
            due_at=now + LEASE, attempts=F("attempts") + 1
        )
        crash_point("sending.claim_written")
    crash_point("sending.claim_committed")
    for notification in portion:
        notification.attempts += 1
    return portion


def _stopped(portion: Sequence[Notification]) -> dict[int, str]:
    """By key, the reason for which nothing is sent to a recipient any more."""
    found = suppressed(Channel.EMAIL, {one.recipient for one in portion if one.channel == Channel.EMAIL})
    return {one.pk: found[one.recipient] for one in portion if one.channel == Channel.EMAIL and one.recipient in found}


def _settled_since(portion: Sequence[Notification]) -> dict[int, str]:
    """SETTLED, by key, for what asks for a payment that was made in the meantime, or whose order has ended."""
    asking = {one.pk: one.order_id for one in portion if one.type == Type.PAYMENT_DUE}
    if not asking:
        return {}
    heard = Inbox.objects.filter(correlation_id__in=asking.values(), event_type__in=SETTLES)
    orders = set(heard.values_list("correlation_id", flat=True))
    return {pk: SETTLED for pk, order_id in asking.items() if order_id in orders}


def _too_many(portion: Sequence[Notification]) -> dict[int, str]:
    """TOO_MANY, by key, for those with which their recipient would be sent more than MESSAGES_PER_HOUR.

    Two senders at once do not count what the other one sends, so a few more may go out.
    """
    most = settings.MESSAGES_PER_HOUR
    if not most:
        return {}
    recipients = {notification.recipient for notification in portion}
    recent = Notification.objects.filter(
        recipient__in=recipients, status=Status.SENT, sent_at__gt=database_time("notifications") - HOUR
    )
    sent = Counter(dict(recent.values_list("recipient").annotate(Count("pk"))))
    found = {}
    for notification in portion:
        if sent[notification.recipient] >= most:
            found[notification.pk] = TOO_MANY
        else:
            sent[notification.recipient] += 1
    return found


def _settle(portion: Sequence[Notification], errors: Mapping[int, Exception], withheld: Mapping[int, str]) -> None:
    """Write down what became of a portion. Another sender may have been quicker when our lease had ended."""
    now = database_time("notifications")
    why = WHY | {
        SETTLED: PAID_SINCE,
        TOO_MANY: f"{settings.MESSAGES_PER_HOUR} messages had been sent to this recipient within an hour.",
    }
    changed = [notification for notification in portion if notification.pk in errors or notification.pk in withheld]
    for notification in changed:
        notification.updated_at = now
        if reason := withheld.get(notification.pk):
            notification.status, notification.error = Status.SUPPRESSED, why[reason]
            continue
        if isinstance(errors[notification.pk], OutOfTime):
            notification.due_at, notification.attempts = now, notification.attempts - 1
            continue
        notification.error = _described(errors[notification.pk], notification.recipient)
        notification.due_at = now + pause_after(notification.attempts)
        notification.status = Status.FAILED if notification.attempts >= MAX_ATTEMPTS else Status.PENDING
    pending = Notification.objects.filter(status=Status.PENDING)
    sent = [one.pk for one in portion if one.pk not in errors and one.pk not in withheld]
    with transaction.atomic(using="notifications", durable=True):
        pending.filter(pk__in=sent).update(status=Status.SENT, sent_at=now, error="", updated_at=now)
        pending.bulk_update(changed, ["error", "due_at", "attempts", "status", "updated_at"])
        crash_point("sending.written")
    crash_point("sending.committed")
    for notification in changed:
        if reason := withheld.get(notification.pk):
            WITHHELD.labels(notification.channel, reason).inc()


def _described(error: Exception, recipient: str) -> str:
    """What went wrong, without the recipient, whom mail servers name: not all who look at messages may see it."""
    text = f"{type(error).__name__}: {error}".replace("\0", "")
    return re.sub(re.escape(recipient), "…", text, flags=re.IGNORECASE) if recipient else text


def pause_after(attempts: int) -> timedelta:
    """How long to wait after that many failed attempts."""
    return min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)


def send_again(ids: Iterable[int]) -> int:
    """Have what was given up sent after all, with all its attempts before it; how many notifications that is."""
    with transaction.atomic(using="notifications"):
        failed = Notification.objects.select_for_update().filter(pk__in=list(ids), status=Status.FAILED)
        found = list(failed.order_by("pk").values_list("pk", flat=True))
        for pk in found:
            before, after = {"status": Status.FAILED}, {"status": Status.PENDING}
            stafflog.record("notifications", "send again", f"notification {pk}", before=before, after=after)
        return Notification.objects.filter(pk__in=found).update(
            status=Status.PENDING,
            attempts=0,
            due_at=database_time("notifications"),
            updated_at=database_time("notifications"),
        )


def purge() -> int:
    """Delete one portion of the messages and notifications older than RETENTION; how many rows and files that was."""
    before = database_time("notifications") - settings.SAGAS.retention
    table, condition = Notification._meta.db_table, "created_at < %s AND status <> 'PENDING'"
    old = delete_portion("notifications", table, condition, [before]) + mailfiles.delete_older(before)
    old += delete_portion("notifications", WebhookMessage._meta.db_table, "created_at < %s", [before])
    return old + purge_messages("notifications")
