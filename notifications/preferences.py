"""By which channel customers want to be told what, and the only code that writes it.

Everything is wanted until a customer says otherwise. What makes or ends a contract has to reach them, so it is always
sent by e-mail: that an order was received, is to be paid, was changed, not changed, or cancelled, that its parcel
failed, and how a return was decided and paid back (in Korea 전자상거래 등에서의 소비자보호에 관한 법률, articles 14,
15, 17 and 18). Letters about the account itself are no preference: they were asked for, or keep it safe.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q

from fastdb.bulk import insert_rows
from notifications.models import Notification, OptOut, Suppression
from notifications.suppressions import address_hash
from shop.api.problems import FieldError, InvalidInput
from shop.calls import connect
from shop.contracts.accounts import ContactsService

Channel, Type = Notification.Channel, Notification.Type

CONTRACTUAL = (
    *(Type.ORDER_RECEIVED, Type.PAYMENT_DUE, Type.ORDER_CHANGED, Type.ADDRESS_CHANGED, Type.CHANGE_REFUSED),
    *(
        Type.CANCELLED,
        Type.DELIVERY_FAILED,
        Type.SHIPMENT_FAILED,
        Type.RETURN_APPROVED,
        Type.RETURN_REFUNDED,
        Type.RETURN_REFUSED,
    ),
)
ALWAYS = {(kind, Channel.EMAIL) for kind in CONTRACTUAL}
HAS_TO = "This has to be sent: it says what becomes of an order and its money."


class Preference(NamedTuple):
    """Whether a customer wants to be told something by a channel; or `always`, for what they are told in any case."""

    type: str
    channel: str
    wanted: bool
    always: bool


class Stopped(NamedTuple):
    """A channel by which nothing reaches a customer, and why. Another address is written to at once."""

    channel: str
    reason: str
    since: datetime


def unwanted(user_ids: Collection[int]) -> set[tuple[int, str, str]]:
    """Of these customers, what they do not want by which channel; one statement."""
    return set(OptOut.objects.filter(user_id__in=user_ids).values_list("user_id", "type", "channel"))


def of(user_id: int) -> list[Preference]:
    """What a customer wants, of every kind by every channel."""
    off = unwanted([user_id])
    return [
        Preference(kind, channel, (user_id, kind, channel) not in off, (kind, channel) in ALWAYS)
        for kind in Type.values
        for channel in Channel.values
    ]


def stopped(user_id: int) -> list[Stopped]:
    """By which channels nothing reaches a customer. Raises `Unavailable` while accounts is away."""
    contact = connect(ContactsService).get_contacts([user_id]).get(user_id)
    if contact is None:
        return []
    rows = Suppression.objects.filter(channel=Channel.EMAIL, address_hash=address_hash(contact.email))
    return [Stopped(*row) for row in rows.values_list("channel", "reason", "since")]


def change(user_id: int, wishes: Sequence[tuple[str, str, bool]]) -> None:
    """Take down what a customer wants: kind, channel, and whether; of two wishes about the same, the last one counts.

    Raises `InvalidInput` for not wanting what has to be sent.
    """
    refused: list[FieldError] = [
        {"field": f"preferences[{index}].wanted", "value": wanted, "reason": HAS_TO}
        for index, (kind, channel, wanted) in enumerate(wishes)
        if not wanted and (kind, channel) in ALWAYS
    ]
    if refused:
        raise InvalidInput(errors=refused)
    last = {(kind, channel): wanted for kind, channel, wanted in wishes}
    on = Q()
    for (kind, channel), wanted in last.items():
        on |= Q(type=kind, channel=channel) if wanted else Q()
    off = [
        {"user_id": user_id, "type": kind, "channel": channel} for (kind, channel), wanted in last.items() if not wanted
    ]
    with transaction.atomic(using="notifications"):
        if on:
            OptOut.objects.filter(on, user_id=user_id).delete()
        if off:
            insert_rows(OptOut, off, then="ON CONFLICT DO NOTHING")
