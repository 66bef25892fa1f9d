"""What the services know about one order, for the order's page: each part as far as the reader may see it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.apps import apps
from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from desk import people, words
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.money import money


@dataclass
class Part:
    """A box on the page. `facts` are (label, value); `away` says that its service did not answer."""

    title: str
    link: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    away: bool = False


def around(order: Any, user: Any) -> Iterator[Part]:
    """Customer, payment, delivery, stock and notifications of an order."""
    for part, permission, find in (
        (_("Customer"), "orders.view_order", _customer),
        (_("Payment"), "payments.view_payment", _payment),
        (_("Delivery"), "delivery.view_delivery", _delivery),
        (_("Stock"), "inventory.view_reservation", _reservation),
        (_("Notifications"), "notifications.view_notification", _notifications),
    ):
        if user.has_perm(permission):
            try:
                found = find(Part(part), order, user)
            except OUTAGES:
                found = Part(part, away=True)
            yield from found if isinstance(found, list) else [found]


def _customer(part: Part, order: Any, user: Any) -> Part:
    if not may(user, "accounts.view_user"):
        part.facts = [(_("number"), order.user_id)]
        return part
    known = people.users([order.user_id]).get(order.user_id)
    part.link = reverse("admin:accounts_user_change", args=[order.user_id])
    if known is None:
        part.facts = [(_("number"), order.user_id)]
        return part
    orders = reverse("admin:orders_order_changelist")
    part.facts = [(_("name"), known.name), (_("email"), known.email)]
    contact = apps.get_model("accounts.User").objects.filter(pk=order.user_id).values_list("phone", flat=True)
    if may(user, "accounts.view_phone"):
        part.facts += [(_("phone"), number) for number in contact if number]
    part.facts.append((_("orders"), Link(_("all orders of this customer"), f"{orders}?user_id={order.user_id}")))
    return part


def _payment(part: Part, order: Any, _user: Any) -> Part:
    for row in _rows("payments.Payment", order):
        part.link = reverse("admin:payments_payment_change", args=[row.pk])
        part.facts = [
            (_("status"), Status(row.status, row.get_status_display())),
            (_("amount"), money(row.amount, row.currency) if row.amount else ""),
            (_("gateway"), row.gateway),
            (_("reason"), words.reason(row.reason)),
            (_("asked again"), row.due_at),
            (_("given back"), money(row.refunded, row.currency) if row.refunded else ""),
            (_("refunded"), row.refunded_at),
        ]
    return part


def left_to_give_back(order: Any) -> int:
    """Return what was taken for an order and can still be given back, without what was asked for already; in the
    currency's minor unit. Raises one of `OUTAGES` while payments is down."""
    taken = sum(row.captured - row.refunded for row in _rows("payments.Payment", order))
    asked = sum(one.amount for one in order.refunds.filter(status="REQUESTED"))
    return max(0, taken - asked)


def _delivery(part: Part, order: Any, user: Any) -> list[Part]:
    """A part for each of several shipments."""
    names = {line.product_id: line.product_name for line in order.lines}
    found = []
    for row in _rows("delivery.Delivery", order).order_by("number"):
        one = Part(part.title, reverse("admin:delivery_delivery_change", args=[row.pk]))
        if row.parts > 1:
            one.title = f"{part.title} {row.number}/{row.parts}, {row.location}"
            pieces = (f"{line['quantity']} × {names.get(line['product_id'], line['product_id'])}" for line in row.lines)
            one.facts.append((_("pieces"), ", ".join(pieces)))
        one.facts += [
            (_("status"), Status(row.status, row.get_status_display())),
            (_("address"), row.address if may(user, "delivery.view_address") else ""),
            (_("address forgotten after"), _forgotten_after(row)),
            (_("carrier"), row.carrier),
            (_("tracking number"), row.tracking_number),
            (_("the carrier says"), row.disputed_by and Status("stalled", row.get_disputed_by_display())),
            (_("reason"), words.reason(row.reason)),
            (_("handed over"), row.handed_over_at),
            (_("delivered"), row.delivered_at),
        ]
        found.append(one)
    return found or [part]


def _forgotten_after(delivery: Any) -> datetime | None:
    """Return when the address of an ended delivery is erased."""
    ended: datetime = delivery.updated_at
    return ended + settings.PRIVACY_AFTER if delivery.address and delivery.due_at is None else None


def _reservation(part: Part, order: Any, _user: Any) -> Part:
    for row in _rows("inventory.Reservation", order):
        part.link = reverse("admin:inventory_reservation_change", args=[row.pk])
        part.facts = [
            (_("status"), Status(row.status, row.get_status_display())),
            (_("reason"), words.reason(row.reason)),
            (_("since"), row.updated_at),
        ]
    return part


def _notifications(part: Part, order: Any, _user: Any) -> Part:
    part.link = f"{reverse('admin:notifications_notification_changelist')}?q={order.pk}"
    for row in _rows("notifications.Notification", order).order_by("pk")[:20]:
        shown = f"{row.get_type_display()}, {row.get_channel_display()}"
        part.facts.append((shown, Status(row.status, row.get_status_display())))
    return part


def _rows(model: str, order: Any) -> Any:
    rows: Any = apps.get_model(model)
    return rows.objects.filter(order_id=order.pk)


@dataclass
class Link:
    """A value with a link."""

    text: str
    url: str


@dataclass
class Status:
    """A value with a colour."""

    name: str
    text: str
