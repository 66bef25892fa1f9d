"""How a customer leaves: the account is closed at once, and everything that identifies them is erased when possible.

That is once nobody can order in their name any more (access tokens are valid until they expire) and all of their orders
have ended. Then accounts erases who they were and emits `CustomerErased`, again until every service has handled it.
What has to be kept, orders with amounts and dates, stays under a number that cannot be traced to a person.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from secrets import token_hex

from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts import second_factor
from accounts.contacts import digits_of
from accounts.models import Letter, SignIn, User
from fastdb.clock import database_time
from sagas import emit
from sagas.crash_points import crash_point
from sagas.db.prepared import query
from sagas.outbox import rearm
from sagas.reconciliation import missing
from shop import mailfiles, stafflog
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.events import CustomerErased
from shop.contracts.orders import OrdersService

PORTION = 20  # users per tick of the timer
ORDERS = 1000  # per event
CLOCKS = timedelta(minutes=1)  # clock skew of the services that verify tokens
UNDER_WAY = timedelta(minutes=10)  # until a user whose orders have not ended is examined again
ON_ITS_WAY = timedelta(minutes=1)  # until the first check whether every service has handled the event
# The admin's log entries about the user and the orders, by number, and those with the user's address or phone number.
# Names are not looked for: a name may be any word, and staff's words about others would go as well.
LOGGED = r"""
    UPDATE django_admin_log SET object_repr = coalesce(object_id, ''), change_message = ''
    FROM django_content_type AS kind
    WHERE kind.id = content_type_id AND (
        kind.app_label = 'accounts' AND kind.model = 'user' AND object_id = %(user)s
        OR kind.app_label = 'orders' AND kind.model = 'order' AND object_id = ANY(%(orders)s::text[])
        OR kind.app_label IN ('orders', 'payments', 'delivery', 'notifications')
            AND substring(object_repr FROM '(?:^| )order (\d+)\M') = ANY(%(orders)s::text[])
        OR object_repr ~* ANY(%(patterns)s::text[]) OR change_message ~* ANY(%(patterns)s::text[])
    )
"""


class StaffStays(Problem):
    """This is a staff account, and the staff log must keep naming it. Have its permissions removed first."""

    code = "U004"


def close(user_id: int) -> datetime:
    """Close a customer's account and schedule its erasure; return the earliest time of that. Idempotent.

    Reactivating the account before then cancels the erasure. Raises `StaffStays`.
    """
    with transaction.atomic(using="accounts", durable=True):
        user = User.objects.select_for_update().get(pk=user_id)
        if user.is_staff or user.is_superuser:
            raise StaffStays
        now = database_time("accounts")
        known = user.erased_at if user.is_active else user.erasure_due_at or user.erased_at
        due = known or now + settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"] + CLOCKS
        if user.erased_at is None:
            User.objects.filter(pk=user_id).update(
                is_active=False, sign_outs=F("sign_outs") + 1, erasure_due_at=due, updated_at=now
            )
            SignIn.objects.filter(user_id=user_id, ended_at=None).update(ended_at=now)
            stafflog.record("accounts", "close", f"user {user_id}")
        return due


def erase_closed() -> int:
    """Process one batch of closed accounts that are due; return their number.

    Raises `Unavailable` while a service that has to be called is down.
    """
    now = database_time("accounts")
    due = User.objects.filter(erasure_due_at__lte=now).order_by("erasure_due_at", "pk")[:PORTION]
    found = list(due)
    for user in found:
        if user.erased_at:
            _tell_again(user, now)
        elif user.is_active:
            _look_again(user, None)  # reactivated
        elif (orders := connect(OrdersService).get_orders_of(user.pk)).running:
            _look_again(user, now + UNDER_WAY)
        else:
            _erase(user, orders.ended, now)
    return len(found)


def _look_again(user: User, at: datetime | None) -> None:
    """Set the time of the next look, unless the account was closed anew meanwhile."""
    seen = User.objects.filter(pk=user.pk, erased_at=user.erased_at, erasure_due_at=user.erasure_due_at)
    seen.update(erasure_due_at=at)


def _tell_again(user: User, now: datetime) -> None:
    """Publish the event again, unless every service has handled it: then the erasure is complete."""
    if missing([user.pk], of=CustomerErased):
        rearm("accounts", [user.pk])
        _look_again(user, now + UNDER_WAY)
    else:
        _look_again(user, None)


def _erase(user: User, order_ids: Sequence[int], now: datetime) -> None:
    with transaction.atomic(using="accounts", durable=True):
        due = User.objects.select_for_update().filter(erased_at=None, is_active=False, erasure_due_at__lte=now)
        for gone in due.filter(pk=user.pk):
            mailfiles.delete(gone.email)
            Letter.objects.filter(email=gone.email).delete()
            _forget_in_admin(gone, order_ids)
            gone.email = f"erased-{gone.pk}-{token_hex(8)}@erased.invalid"  # nobody can have signed up with it
            gone.name = gone.phone = ""
            gone.set_unusable_password()
            gone.last_login = gone.verified_at = None
            gone.erased_at, gone.erasure_due_at = now, now + ON_ITS_WAY
            gone.save()
            gone.signins.all().delete()
            second_factor.forget(gone)  # a former member of staff may have one
            emit(*_events(gone.pk, order_ids), service="accounts")
        crash_point("erasure.written")
    crash_point("erasure.committed")


def _events(user_id: int, order_ids: Sequence[int]) -> Iterator[CustomerErased]:
    """Yield at least one event: some services keep data that belongs to no order."""
    for first in range(0, len(order_ids) or 1, ORDERS):
        yield CustomerErased(user_id=user_id, order_ids=tuple(order_ids[first : first + ORDERS]))


def _forget_in_admin(user: User, order_ids: Sequence[int]) -> None:
    """Erase a user from the log of Django's admin, which exists only where there is an admin."""
    ((there,),) = query("accounts", "SELECT to_regclass('django_admin_log') IS NOT NULL")
    if there:
        orders = [str(order_id) for order_id in order_ids]
        query("accounts", LOGGED, {"user": str(user.pk), "orders": orders, "patterns": list(_patterns(user))})


def _patterns(user: User) -> Iterator[str]:
    """Yield PostgreSQL's regular expressions that find a user's address and phone number, but no longer ones."""
    address = re.sub(r"(\W)", r"\\\1", user.email)
    yield rf"(?<![\w.+-]){address}(?![\w-]|\.\w)"
    for digits in digits_of(user.phone):
        yield rf"(?<!\d){'[-. ()]*'.join(digits)}(?!\d)"
