"""The invariants of privacy: what must be erased is erased."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from audit.invariants import Violation, scan
from sagas.reconciliation import missing
from shop.contracts.events import CustomerErased

LATE = timedelta(days=1)  # by then the timers, which tick every hour, have certainly run
PORTION = 1000  # users per batch
OLD_ADDRESSES = """
    SELECT order_id FROM delivery_delivery
    WHERE address <> '' AND due_at IS NULL AND created_at < %(before)s AND updated_at < %(before)s
"""
OLD_CHANGES = "SELECT order_id FROM orders_orderchange WHERE address <> '' AND updated_at < %(before)s"
SPENT_TOKENS = """
    SELECT order_id FROM payments_payment WHERE token <> '' AND status <> 'PENDING' AND updated_at < %(before)s
"""
# Of users who were erased.
NAMES = """
    SELECT id FROM accounts_user
    WHERE id = ANY(%(users)s) AND (name <> '' OR phone <> '' OR email NOT LIKE 'erased-%%@erased.invalid')
"""
ADDRESSES = "SELECT user_id FROM delivery_delivery WHERE user_id = ANY(%(users)s) AND address <> ''"
CHANGES = """
    SELECT user_id FROM orders_order o JOIN orders_orderchange c ON c.order_id = o.id
    WHERE user_id = ANY(%(users)s) AND c.address <> ''
"""
TOKENS = """
    SELECT user_id FROM payments_payment WHERE user_id = ANY(%(users)s) AND (token <> '' OR checkout IS NOT NULL)
"""
MESSAGES = "SELECT user_id FROM notifications_notification WHERE user_id = ANY(%(users)s)"


def forgotten_in_time(before: datetime) -> Iterator[Violation]:
    """No address is kept a day longer than PRIVACY_AFTER, that of a change no longer than events, and no token of a
    settled payment."""
    for service, what, statement, since in (
        ("delivery", "address", OLD_ADDRESSES, timezone.now() - settings.PRIVACY_AFTER - LATE),
        ("orders", "address of a change", OLD_CHANGES, timezone.now() - settings.SAGAS.retention - LATE),
        ("payments", "payment token", SPENT_TOKENS, before),
    ):
        for (order_id,) in scan(service, statement, {"before": since}):
            yield Violation("forgotten_in_time", f"order {order_id}", f"{what} still there")


def erased_is_gone(before: datetime) -> Iterator[Violation]:
    """No service keeps a name, address, token or message of an erased customer, and each has handled the erasure."""
    kept_since = timezone.now() - settings.SAGAS.retention + LATE  # purges do not come at the same moment
    for users in _erased(before):
        for service, what, statement in (
            ("accounts", "a name", NAMES),
            ("delivery", "an address", ADDRESSES),
            ("orders", "an address", CHANGES),
            ("payments", "a token", TOKENS),
            ("notifications", "a message", MESSAGES),
        ):
            for user_id in sorted({user_id for (user_id,) in scan(service, statement, {"users": list(users)})}):
                yield Violation("erased_is_gone", f"user {user_id}", f"{service} keeps {what}")
        recent = [user_id for user_id, erased_at in users.items() if erased_at > kept_since]
        for lost in missing(recent, before=before, of=CustomerErased):
            yield Violation("erased_is_gone", f"user {lost.key}", f"{lost.step} has not heard of it")


def _erased(before: datetime) -> Iterator[dict[int, datetime]]:
    """Yield the users who were erased before a time, with the time of each erasure, in batches."""
    users: Any = apps.get_model("accounts", "User").objects.filter(erased_at__lte=before).order_by("pk")
    last = 0
    while portion := dict(users.filter(pk__gt=last).values_list("pk", "erased_at")[:PORTION]):
        yield portion
        last = max(portion)
