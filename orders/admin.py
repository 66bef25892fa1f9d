from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _

from desk import people, words
from desk.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline, StaffActionAdmin
from desk.around import around
from orders import changes, exports, open_orders, services
from orders.models import FINAL, DeadLetter, Order, OrderChange, OrderLine, Outbox, Return, StaffAction, TimelineEntry
from orders.returns.admin import ReturnAdmin
from shop.api.problems import Problem
from shop.contracts.reasons import BY_STAFF
from shop.money import money

admin.site.register(StaffAction, StaffActionAdmin)

SHOWN_LINES = 2  # of an order, in the list
SHOWN: Any = [
    "badge", "capture", "reason", "total", "payment_gateway", "tracking_number", "created_at", "progress_at", "look_at",
    "looks",
]  # fmt: skip
SHOWN_OF_CHANGE: Any = ["created_at", "pieces", "difference", "reason", "status", "why"]
SHOWN_OF_LINE: Any = ["product_id", "product_name", "quantity", "price", "sum"]

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)
admin.site.register(Return, ReturnAdmin)


def _stalled(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Those that have not ended, and have not moved for STALLED_AFTER."""
    since = timezone.now() - timedelta(seconds=settings.STALLED_AFTER)
    return orders.filter(look_at__isnull=False, progress_at__lt=since).exclude(status__in=FINAL)


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

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_LINE

    @admin.display(description=_("unit price"))
    def price(self, line: OrderLine) -> str:
        return money(line.unit_price, line.order.currency) if line.pk else ""

    @admin.display(description=_("total"))
    def sum(self, line: OrderLine) -> str:
        return money(line.line_total, line.order.currency) if line.pk else ""


class ChangeInline(ReadOnlyInline):
    model = OrderChange
    fields = SHOWN_OF_CHANGE

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_CHANGE

    @admin.display(description=_("pieces"))
    def pieces(self, change: OrderChange) -> str:
        return ", ".join(map(str, change.pieces)) if change.key else ""

    @admin.display(description=_("difference"))
    def difference(self, change: OrderChange) -> str:
        return money(change.amount, change.order.currency) if change.key else ""

    @admin.display(description=_("refusal"))
    def why(self, change: OrderChange) -> str:
        return words.reason(change.refusal) if change.key else ""


class TimelineInline(ReadOnlyInline):
    model = TimelineEntry
    fields = ["at", "service", "event", "status", "detail"]


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders are moved by their sagas; what staff can do is ask for a cancellation, or wake one up."""

    list_display = ["id", "badge", "customer", "products", "total", "age", "unmoved", "reason", "saga"]
    list_filter = ["status", ProgressFilter, AgeFilter, "payment_gateway"]
    search_fields = ["=id", "=user_id"]
    search_help_text = _(
        "An order's number, its tracking number, or the customer's e-mail, name or, if you may see it, phone."
    )
    by_customer = True
    fields = SHOWN
    show_full_result_count = False
    inlines = [LineInline, ChangeInline, TimelineInline]
    actions = ["cancel", "resume", "export"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).prefetch_related("items")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Also by tracking number, which delivery finds by its index."""
        if shipped := people.shipped_as(search_term):
            return queryset.filter(pk__in=shipped), False
        return super().get_search_results(request, queryset, search_term)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in ("user_id", "items__product_id") or super().lookup_allowed(lookup, value, request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Add what other services know about the order, and what can be done about it now."""
        order = self.get_object(request, object_id)
        known = (
            {
                "parts": list(around(order, request.user)),
                "can_cancel": services.can_be_cancelled(order),
                "can_change": changes.can_be_changed(order),
                "change_key": uuid4().hex,
                "can_resume": services.can_be_resumed(order),
            }
            if order
            else {}
        )
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **known})

    @admin.display(description=_("products"))
    def products(self, order: Order) -> str:
        """The first of its lines, and how many more there are."""
        lines = list(order.items.all())
        more = f" +{len(lines) - SHOWN_LINES}" if len(lines) > SHOWN_LINES else ""
        return ", ".join(map(str, lines[:SHOWN_LINES])) + more

    @admin.display(description=_("cancellation reason"), ordering="cancellation_reason")
    def reason(self, order: Order) -> str:
        return words.reason(order.cancellation_reason)

    @admin.display(description=_("total"), ordering="total_price")
    def total(self, order: Order) -> str:
        return money(order.total_price, order.currency)

    @admin.display(description=_("age"), ordering="-created_at")
    def age(self, order: Order) -> str:
        return timesince(order.created_at, depth=1)

    @admin.display(description=_("not moved for"), ordering="-progress_at")
    def unmoved(self, order: Order) -> str | SafeString:
        """How long an order that is under way has stood still; marked when that is too long."""
        if order.status in FINAL:
            return "–"
        seconds = (timezone.now() - order.progress_at).total_seconds()
        return (
            format_html('<b class="stalled">{}</b>', _("stalled: %d s") % round(seconds))
            if seconds > settings.STALLED_AFTER
            else f"{seconds:.0f} s"
        )

    @admin.display(description=_("saga"))
    def saga(self, order: Order) -> SafeString:
        return format_html('<a href="{}">{}</a>', reverse("saga", args=[order.pk]), _("timeline"))

    @admin.action(description=_("Cancel the selected orders"), permissions=["change"])
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        """Ask back, and for a reason; then ask for each to be cancelled, and say which cannot be."""
        why = request.POST.get("why", "").strip()[:200]
        if "confirmed" not in request.POST or not why:
            chosen = list(orders)
            for order in chosen:
                order.shown = f"{self.products(order)} · {self.total(order)}"  # type: ignore[attr-defined]
            context = {**self.admin_site.each_context(request), "orders": chosen, "opts": self.opts}
            return TemplateResponse(request, "admin/orders/order/confirm_cancel.html", context)
        asked = 0
        for order in orders:
            try:
                services.request_cancellation(order.pk, reason=BY_STAFF)
            except Problem as refusal:
                messages.warning(request, str(refusal.detail))
            else:
                self.log_change(request, order, f"Cancellation asked for: {why}")
                asked += 1
        messages.success(request, _("Cancellations asked for: %d. Delivery decides.") % asked)
        return None

    @admin.action(description=_("Export the selected orders as CSV"), permissions=["view"])
    def export(self, request: HttpRequest, orders: QuerySet[Order]) -> StreamingHttpResponse:
        """However many a filter leaves."""
        return exports.answer(orders)

    @admin.action(description=_("Resume: emit the selected orders' events again"), permissions=["change"])
    def resume(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """What `manage.py redrive` does."""
        woken = open_orders.rearm_open(orders.values_list("pk", flat=True))
        for order in Order.objects.filter(pk__in=woken):
            self.log_change(request, order, "Emitted again.")
        messages.success(request, _("Emitted again: %d. Closed orders are left alone.") % len(woken))
