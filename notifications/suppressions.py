"""Addresses that nothing is sent to any more, and the only code that writes them.

An address is kept as its hash, so that it is known again when something is to be sent there, and not read by anybody.
"""

import hashlib
from collections.abc import Collection, Iterable
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from prometheus_client import Counter

from fastdb.bulk import insert_rows
from notifications.models import Notification, Suppression
from shop import stafflog

Channel, Reason = Notification.Channel, Suppression.Reason

WITHHELD = Counter("shop_messages_withheld_total", "Messages that were not sent, by what for.", ["channel", "reason"])
WHY = {
    Reason.BOUNCED: "E-mails to this address come back.",
    Reason.COMPLAINED: "Who reads this address has reported our e-mail as spam.",
}


class Stop(NamedTuple):
    """Why nothing is to be sent to an address any more; `detail` in the provider's words."""

    address: str
    reason: str
    detail: str


def address_hash(address: str) -> str:
    """By which an address is known again, however it is written."""
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()


def suppress(stops: Iterable[Stop]) -> None:
    """Send nothing to these e-mail addresses any more; one that is suppressed already stays so for its first reason."""
    found = {stop.address.strip().lower(): stop for stop in stops}
    if not found:
        return
    told = Notification.objects.filter(recipient__in=found, status=Notification.Status.SENT)
    users = dict(told.order_by("pk").values_list("recipient", "user_id"))
    rows = [
        {
            "channel": Channel.EMAIL,
            "address_hash": address_hash(address),
            "user_id": users.get(address),
            "reason": stop.reason,
            "detail": stop.detail[:500],
        }
        for address, stop in found.items()
    ]
    with transaction.atomic(using="notifications"):
        insert_rows(Suppression, rows, then="ON CONFLICT DO NOTHING")


def suppressed(channel: str, addresses: Collection[str]) -> dict[str, str]:
    """Of these addresses the ones that nothing is sent to, and for which reason; one statement."""
    hashes = {address_hash(address): address for address in addresses}
    if not hashes:
        return {}
    rows = Suppression.objects.filter(channel=channel, address_hash__in=hashes)
    reasons = dict(rows.values_list("address_hash", "reason"))
    return {address: reasons[known] for address in addresses if (known := address_hash(address)) in reasons}


def lift(ids: Iterable[int]) -> int:
    """Send to these addresses again; how many that was."""
    with transaction.atomic(using="notifications"):
        rows = list(Suppression.objects.select_for_update().filter(pk__in=list(ids)).order_by("pk"))
        for row in rows:
            stafflog.record("notifications", "lift", f"suppression {row.pk}", before={"reason": row.reason})
        Suppression.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def forget(user_ids: Collection[int], addresses: Collection[str]) -> None:
    """Delete what is known of these customers. Runs inside a transaction on `notifications`."""
    hashes = [address_hash(address) for address in addresses]
    Suppression.objects.filter(Q(user_id__in=user_ids) | Q(channel=Channel.EMAIL, address_hash__in=hashes)).delete()
