"""The list of orders, newest first, with filters and a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from desk import people, words
from sagas.outages import OUTAGES
from shop.contracts.orders import AT_REST, FINAL
from shop.money import money

SHOWN = 50
BIGGEST = 2**63 - 1
FILTERS = ("open", "stalled", "ended")


@dataclass
class Listed:
    """A page of orders. `orders` is None while their database is down; `older` is the id before which to go on, or
    0."""

    orders: list[Any] | None = None
    older: int = 0
    statuses: list[tuple[str, str]] = field(default_factory=list)


def listed(wanted: Mapping[str, str], *, know: bool, phones: bool) -> Listed:
    """Return orders filtered by `status`, `progress` (one of FILTERS), `q` (a search text) and `before` (an id).

    `know` says whether the reader may see customers and search by them, `phones` whether also by phone number.
    """
    model: Any = apps.get_model("orders", "Order")
    found = Listed(statuses=[(value, str(label)) for value, label in model._meta.get_field("status").choices])
    try:
        orders = _narrowed(model.objects.all(), wanted, know=know, phones=phones)
        page = list(orders.order_by("-pk").prefetch_related("items")[: SHOWN + 1])
    except OUTAGES:
        return found
    found.orders, found.older = page[:SHOWN], page[SHOWN - 1].pk if len(page) > SHOWN else 0
    describe(found.orders, know=know)
    return found


def _narrowed(orders: QuerySet[Any], wanted: Mapping[str, str], *, know: bool, phones: bool) -> QuerySet[Any]:
    if status := wanted.get("status"):
        orders = orders.filter(status=status)
        if status not in FINAL:
            orders = orders.filter(look_at__isnull=False)  # these few are found by its index
    since = timezone.now() - timedelta(seconds=settings.STALLED_AFTER)
    match wanted.get("progress"):
        case "open":
            orders = orders.filter(look_at__isnull=False).exclude(status__in=FINAL)
        case "stalled":
            orders = orders.filter(look_at__isnull=False, progress_at__lt=since).exclude(status__in=AT_REST)
        case "ended":
            orders = orders.filter(status__in=FINAL)
    if text := wanted.get("q", "").strip():
        orders = orders.filter(_about(text, know=know, phones=phones))
    if before := _number(wanted.get("before", "")):
        orders = orders.filter(pk__lt=before)
    return orders


def _about(text: str, *, know: bool, phones: bool) -> Q:
    """Return the condition for orders that match a text: by number, tracking number, product, or customer."""
    text = text.removeprefix("#")
    shipped = Q(pk__in=people.shipped_as(text))
    if number := _number(text):
        return Q(pk=number) | shipped
    lines: Any = apps.get_model("orders", "OrderLine")
    try:
        customers = people.find_users(text, by_phone=phones) if know else []
        containing = lines.objects.filter(product_id__in=people.find_products(text)).values("order_id")
        return shipped | Q(pk__in=containing) | Q(user_id__in=customers)
    except OUTAGES:
        return Q(pk__in=[])


def _number(text: str) -> int:
    """Parse an id; return 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= BIGGEST else 0


def describe(orders: list[Any], *, know: bool) -> None:
    """Set what the pages show of orders: `who`, `what`, `costs`, `why`."""
    try:
        known = people.users(order.user_id for order in orders) if know else {}
    except OUTAGES:
        known = {}
    for order in orders:
        customer = known.get(order.user_id)
        lines = [f"{line.quantity} × {line.product_name}" for line in order.items.all()]
        order.who = customer.name if customer else f"#{order.user_id}"
        order.what = ", ".join(lines[:2]) + (f" +{len(lines) - 2}" if len(lines) > 2 else "")
        order.costs = money(order.total_price, order.currency)
        order.why = partial(words.reason, order.cancellation_reason)  # in each reader's language
