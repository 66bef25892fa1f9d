"""The admin's home page: what today is like. Each part by itself, so that a service that is away takes only its own."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from console.state import State, state
from desk import people, words
from sagas.db.prepared import query
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.contracts.orders import FOR_STAFF

ORDERS = "orders.view_order"
MOST = 100_000  # orders of today that are counted
MINUTES = 60
PAID = ("PAYMENT_AUTHORIZED", "PAYMENT_COMPLETED", "DELIVERY_STARTED", "SHIPPED", "COMPLETED")  # or held

BY_MINUTE = """
    SELECT floor(extract(epoch FROM clock_timestamp() - created_at) / 60)::int, count(*) FROM orders_order
    WHERE created_at > clock_timestamp() - make_interval(mins => %s) GROUP BY 1
"""
UNPAID = "SELECT count(*) FROM orders_order WHERE capture = 'FAILED' AND status <> 'CANCELLED'"
BY_END = """
    SELECT status, cancellation_reason, count(*) FROM (
        SELECT status, cancellation_reason FROM orders_order WHERE created_at >= %s ORDER BY created_at DESC LIMIT %s
    ) AS today GROUP BY 1, 2
"""


@dataclass
class Tile:
    """A figure with what it is; a `link` to the rows behind it. Without a `figure` its service is away."""

    title: str
    figure: str = ""
    link: str = ""
    bad: bool = False
    bars: Sequence[tuple[int, int]] = ()  # (x, height), of a plot that is 60 wide and 20 high
    said: str = ""  # what the plot shows, for those who do not see it
    parts: list[tuple[str, int]] = field(default_factory=list)  # what the figure is made of


STAFFS = ("orders", "catalog", "inventory", "payments", "delivery", "notifications", "accounts")  # what they use most
INSIDE = ("DeadLetter", "Outbox", "StaffAction")  # every service has them


def home(request: HttpRequest) -> HttpResponseBase:
    """The admin's first page, with today above the list of what there is."""
    apps_here = arranged(admin.site.get_app_list(request))
    more = {"tiles": list(tiles(request.user)), "app_list": apps_here, "may_find": may(request.user, ORDERS)}
    return admin.site.index(request, extra_context=more)


def arranged(listed: list[Any]) -> list[Any]:
    """Return the admin's list with what staff use most first, and what every service has last, in one group."""
    inside: list[dict[str, Any]] = []
    for app in listed:
        own = [model for model in app["models"] if model["object_name"] in INSIDE]
        app["models"] = [model for model in app["models"] if model not in own]
        inside += ({**model, "name": f"{model['name']}: {app['name']}"} for model in own)
    inside.sort(key=lambda model: INSIDE.index(model["object_name"]))
    place = {name: at for at, name in enumerate(STAFFS)}
    kept = sorted((app for app in listed if app["models"]), key=lambda app: place.get(app["app_label"], len(place)))
    name, url = _("What goes on inside"), reverse("dead-letters")
    return [*kept, *([{"name": name, "app_label": "inside", "app_url": url, "models": inside}] if inside else [])]


def tiles(user: Any) -> Iterator[Tile]:
    """What a user may know of today. A day begins at midnight of the shop's time zone."""
    if may(user, ORDERS):
        yield from _orders()
    if may(user, "orders.view_return"):
        yield from _returns()
    if may(user, "inventory.view_stockitem"):
        yield _low_stock()
    if may(user, "notifications.view_webhook"):
        yield from _webhooks()
    if may(user, "shop.operate"):
        yield from _operations(state())


def _orders() -> Iterator[Tile]:
    orders = reverse("admin:orders_order_changelist")
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        by_minute = dict(query("orders", BY_MINUTE, [MINUTES]))
        ends = query("orders", BY_END, [midnight, MOST])
        ((unpaid,),) = query("orders", UNPAID)
    except OUTAGES:
        yield from map(Tile, (_("Orders a minute"), _("Orders today"), _("Paid today"), _("Cancelled today")))
        return
    busiest = max(by_minute.values(), default=0)
    yield Tile(
        _("Orders a minute"),
        str(by_minute.get(1, 0)),  # the minute that is over; the present one has only begun
        orders,
        bars=[(MINUTES - 1 - ago, round(20 * count / busiest)) for ago, count in sorted(by_minute.items())],
        said=_("The last hour; at most %d a minute.") % busiest,
    )
    yield Tile(_("Orders today"), str(sum(count for *_names, count in ends)), orders)
    paid = sum(count for status, _reason, count in ends if status in PAID)
    yield Tile(_("Paid today"), str(paid), orders)
    if unpaid:  # which is for staff to see to
        yield Tile(_("Unpaid"), str(unpaid), f"{orders}?progress=unpaid", bad=True)
    why = Counter[str]()
    for status, reason, count in ends:
        if status in ("CANCELLING", "CANCELLED"):
            why[words.kind_of_reason(reason)] += count
    yield Tile(_("Cancelled today"), str(why.total()), f"{orders}?status=CANCELLED", parts=why.most_common())


def _returns() -> Iterator[Tile]:
    """Those that wait for staff, if there are any."""
    returns: Any = apps.get_model("orders.Return")
    try:
        waiting = returns.objects.filter(status__in=FOR_STAFF)[:MOST].count()
    except OUTAGES:  # as the tiles about orders say
        return
    if waiting:
        yield Tile(_("Returns to decide"), str(waiting), f"{reverse('admin:orders_return_changelist')}?waits=staff")


def _webhooks() -> Iterator[Tile]:
    """Those that take nothing any more, if there are any."""
    webhooks: Any = apps.get_model("notifications.Webhook")
    tile = Tile(_("Dead webhooks"), link=f"{reverse('admin:notifications_webhook_changelist')}?state=dead", bad=True)
    try:
        dead = webhooks.objects.filter(enabled=False).exclude(disabled_reason="").count()
    except OUTAGES:
        yield tile
        return
    if dead:
        tile.figure = str(dead)
        yield tile


def _low_stock() -> Tile:
    items: Any = apps.get_model("inventory.StockItem")
    tile = Tile(_("Low stock"), link=f"{reverse('admin:inventory_stockitem_changelist')}?stock=low")
    try:
        low = items.objects.alias(free=F("on_hand") - F("reserved")).filter(free__lt=F("low_below"))
        count = low.exclude(product_id__in=people.off_sale()).count()
    except OUTAGES:
        return tile
    tile.figure, tile.bad = str(count), count > 0
    return tile


def _operations(now: State) -> Iterator[Tile]:
    stalled = Tile(_("Stalled orders"), link=f"{reverse('admin:orders_order_changelist')}?progress=stalled")
    if now.stalled is not None:
        stalled.figure, stalled.bad = str(now.stalled), now.stalled > 0
    yield stalled
    letters = sum(one.dead_letters + (one.queue.dead if one.queue else 0) for one in now.services)
    yield Tile(_("Dead letters"), str(letters), reverse("dead-letters"), bad=letters > 0)
    if now.down:
        yield Tile(_("Away now"), ", ".join(now.down), reverse("landing"), bad=True)
