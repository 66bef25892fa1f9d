"""The filters and tables of the order's pages in the admin."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from desk import words
from desk.admin import ReadOnlyInline
from orders.models import FINAL, Order, OrderChange, OrderLine, Refund, Return, TimelineEntry
from orders.returns.admin import pieces
from shop.api.permissions import may
from shop.contracts.orders import AT_REST
from shop.money import money

SHOWN_OF_CHANGE: Any = ["created_at", "what", "difference", "reason", "status", "why"]
SHOWN_OF_REFUND: Any = ["created_at", "given_back", "what", "stated", "status", "why"]
SHOWN_OF_RETURN: Any = ["created_at", "link", "what", "status", "given_back"]
SHOWN_OF_ENTRY: Any = ["at", "service", "event", "status", "what"]
SHOWN_OF_LINE: Any = ["product", "quantity", "price", "sum"]


def _stalled(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Those that have not ended, and have not moved for STALLED_AFTER."""
    since = timezone.now() - timedelta(seconds=settings.STALLED_AFTER)
    return orders.filter(look_at__isnull=False, progress_at__lt=since).exclude(status__in=AT_REST)


class ProgressFilter(admin.SimpleListFilter):
    """Whether an order is under way, and moves."""

    title = _("progress")
    parameter_name = "progress"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        stalled = _("stalled for %g s") % settings.STALLED_AFTER
        return [("open", _("under way")), ("stalled", stalled), ("unpaid", _("unpaid")), ("ended", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        match self.value():
            case "open":
                return queryset.exclude(status__in=FINAL)
            case "stalled":
                return _stalled(queryset)
            case "unpaid":
                return queryset.filter(capture=Order.Capture.FAILED).exclude(status=Order.Status.CANCELLED)
            case "ended":
                return queryset.filter(status__in=FINAL)
        return queryset


class AgeFilter(admin.SimpleListFilter):
    """How long ago an order was placed."""

    title = _("age")
    parameter_name = "age"
    AGES = {"10m": timedelta(minutes=10), "1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("10m", _("less than 10 minutes")),
            ("1h", _("less than an hour")),
            ("1d", _("less than a day")),
            ("7d", _("less than a week")),
            ("older", _("more than a week")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:
        now, value = timezone.now(), self.value()
        if value in self.AGES:
            return queryset.filter(created_at__gte=now - self.AGES[value])
        return queryset.filter(created_at__lt=now - self.AGES["7d"]) if value == "older" else queryset


class LineInline(ReadOnlyInline):
    model = OrderLine
    fields = SHOWN_OF_LINE
    leads_to_products = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrderLine]:
        self.leads_to_products = may(request.user, "catalog.view_product")
        return super().get_queryset(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_LINE

    @admin.display(description=_("product"))
    def product(self, line: OrderLine) -> SafeString | str:
        """Its name when it was ordered, with a link to what it is now for those who may follow it."""
        name = line.product_name or f"#{line.product_id}"
        page = reverse("admin:catalog_product_change", args=[line.product_id])
        return format_html('<a href="{}">{}</a>', page, name) if self.leads_to_products else name

    @admin.display(description=_("unit price"))
    def price(self, line: OrderLine) -> str:
        return money(line.unit_price, line.order.currency)

    @admin.display(description=_("total"))
    def sum(self, line: OrderLine) -> str:
        return money(line.line_total, line.order.currency)


class ChangeInline(ReadOnlyInline):
    model = OrderChange
    fields = SHOWN_OF_CHANGE

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_CHANGE

    @admin.display(description=_("what changes"))
    def what(self, change: OrderChange) -> str:
        return ", ".join([*map(str, change.pieces), *([str(_("another address"))] if change.of_address else [])])

    @admin.display(description=_("difference"))
    def difference(self, change: OrderChange) -> str:
        return money(change.amount, change.order.currency)

    @admin.display(description=_("refusal"))
    def why(self, change: OrderChange) -> str:
        return words.reason(change.refusal)


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = SHOWN_OF_REFUND

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_REFUND

    @admin.display(description=_("amount"))
    def given_back(self, refund: Refund) -> str:
        return money(refund.amount, refund.order.currency)

    @admin.display(description=_("pieces"), empty_value="")
    def what(self, refund: Refund) -> SafeString | str:
        """What came back, or did not arrive. Of a refund that staff ask for only the amount is kept, not the pieces."""
        if of := refund.for_return:
            page = reverse("admin:orders_return_change", args=[of.pk])
            return format_html('<a href="{}">{}</a>: {}', page, _("return %d") % of.pk, pieces(of))
        names = {line.product_id: line.product_name for line in refund.order.lines}
        lost = [line for one in refund.order.several if one.number == refund.for_shipment for line in one.lines]
        return ", ".join(f"{line['quantity']} × {names[line['product_id']]}" for line in lost)

    @admin.display(description=_("reason"))
    def stated(self, refund: Refund) -> str:
        return words.reason(refund.reason)

    @admin.display(description=_("refusal"))
    def why(self, refund: Refund) -> str:
        return words.reason(refund.refusal)


class ReturnInline(ReadOnlyInline):
    model = Return
    fields = SHOWN_OF_RETURN

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_RETURN

    @admin.display(description=_("number"))
    def link(self, of: Return) -> SafeString | str:
        return format_html('<a href="{}">{}</a>', reverse("admin:orders_return_change", args=[of.pk]), of.pk)

    @admin.display(description=_("pieces"))
    def what(self, of: Return) -> str:
        return pieces(of)

    @admin.display(description=_("given back"))
    def given_back(self, of: Return) -> str:
        return money(of.refunded, of.currency) if of.refunded else ""


class TimelineInline(ReadOnlyInline):
    model = TimelineEntry
    fields = SHOWN_OF_ENTRY

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_ENTRY

    @admin.display(description=_("detail"))
    def what(self, entry: TimelineEntry) -> str:
        return words.reason(entry.detail)
