from functools import partial
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from desk import people, words
from desk.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin, StaffActionAdmin
from desk.around import around
from orders import addresses, admin_pages, cancellation, exports, open_orders
from orders.admin_parts import (
    AgeFilter,
    ChangeInline,
    LineInline,
    ProgressFilter,
    RefundInline,
    ReturnInline,
    TimelineInline,
)
from orders.changes.requests import can_be_changed
from orders.models import FINAL, DeadLetter, Order, OrderLine, OrderNote, Outbox, Return, StaffAction
from orders.returns.admin import ReturnAdmin
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.api.problems import Problem
from shop.contracts.orders import AT_REST
from shop.contracts.reasons import BY_STAFF
from shop.money import money

admin.site.register(StaffAction, StaffActionAdmin)

SHOWN_LINES = 2  # of an order, in the list
SHOWN: Any = [
    "badge", "capture", "reason", "total", "gateway", "parcels", "created_at", "progress_at", "next_check", "checks",
    "exchange_of",
]  # fmt: skip
IN_ROWS: Any = [("badge", "total"), ("created_at", "progress_at"), ("gateway", "parcels")]

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)
admin.site.register(Return, ReturnAdmin)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders are moved by their sagas; what staff can do is ask for a cancellation, or wake one up."""

    list_display = ["id", "badge", "customer", "products", "total", "age", "unmoved", "reason", "saga"]
    list_filter = ["status", ProgressFilter, AgeFilter, "payment_gateway"]
    search_fields = ["=id", "=user_id"]
    search_help_text = _(
        "A number, a tracking number, a product, or the customer's e-mail, name or, if you may see it, phone."
    )
    by_customer = as_cards = True
    change_form_template = "admin/orders/order/change_form.html"
    show_full_result_count = False
    inlines = [LineInline, ChangeInline, RefundInline, ReturnInline, TimelineInline]
    actions = ["cancel", "resume", "export"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    def get_fields(self, request: HttpRequest, obj: Order | None = None) -> Any:
        """Two in a row; without what means nothing for this order."""
        if obj is None:
            return SHOWN
        reason = ["reason"] if obj.cancellation_reason else []
        capture = ["capture"] if obj.capture else []
        exchange = ["exchange_of"] if obj.exchange_for_id else []
        checks = [("next_check", "checks")] if obj.look_at and obj.status not in FINAL else []
        return [*IN_ROWS, *exchange, *reason, *capture, *checks]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        return super().get_queryset(request).prefetch_related("items")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """Also by tracking number and by the name of a product."""
        search_term = search_term.strip().removeprefix("#")
        found, duplicates = super().get_search_results(request, queryset, search_term)
        if search_term and (shipped := people.shipped_as(search_term)):
            return found | queryset.filter(pk__in=shipped), duplicates
        if not search_term or search_term.isdecimal():
            return found, duplicates
        try:
            products = people.find_products(search_term)
        except OUTAGES:
            products = []
        containing = OrderLine.objects.filter(product_id__in=products).values("order_id")
        return (found | queryset.filter(pk__in=containing) if products else found), duplicates

    def get_urls(self) -> list[Any]:
        """The pages on which something is done about one order."""
        pages = {
            "refund": admin_pages.refund,
            "return": admin_pages.return_for_customer,
            "note": admin_pages.note,
        }
        views = {name: self.admin_site.admin_view(partial(view, self)) for name, view in pages.items()}
        own = [path(f"<int:order_id>/{name}/", view, name=f"orders_order_{name}") for name, view in views.items()]
        return [*own, *super().get_urls()]

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Without tables of what has not happened."""
        may_be_empty = {ChangeInline: "changes", RefundInline: "refunds", ReturnInline: "returns"}
        return [
            one
            for one in self.inlines
            if obj is None or one not in may_be_empty or getattr(obj, may_be_empty[one]).exists()
        ]

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
                "can_cancel": cancellation.can_be_cancelled(order),
                "can_change": can_be_changed(order),
                "change_key": uuid4().hex,
                "address": addresses.current(order.pk) if may(request.user, "delivery.view_address") else "",
                "can_resume": open_orders.can_be_resumed(order),
                "can_refund": admin_pages.can_refund(order, request.user),
                "can_return": admin_pages.can_return(order, request.user),
                "notes": self._notes(order),
                "unpaid": self._payment_page(request, order),
            }
            if order
            else {}
        )
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **known})

    def _notes(self, order: Order) -> list[tuple[OrderNote, str]]:
        """The notes on an order, each with its author."""
        notes = list(order.notes.all())
        authors = people.names(note.author_id for note in notes)
        return [(note, authors[note.author_id]) for note in notes]

    def _payment_page(self, request: HttpRequest, order: Order) -> str:
        """The page on which a payment is settled whose money could not be taken, for those who may."""
        unpaid = order.capture == Order.Capture.FAILED and order.status != Order.Status.CANCELLED
        if not unpaid or not may(request.user, admin_pages.REFUND):
            return ""
        return f"{reverse('admin:payments_payment_changelist')}?q={order.pk}"

    @admin.display(description=_("products"))
    def products(self, order: Order) -> str:
        """The first of its lines, and how many more there are."""
        lines = list(order.items.all())
        more = f" +{len(lines) - SHOWN_LINES}" if len(lines) > SHOWN_LINES else ""
        return ", ".join(map(str, lines[:SHOWN_LINES])) + more

    @admin.display(description=_("cancellation reason"), ordering="cancellation_reason", empty_value="")
    def reason(self, order: Order) -> str:
        return words.reason(order.cancellation_reason)

    @admin.display(description=_("payment gateway"))
    def gateway(self, order: Order) -> str:
        """Without the field's help, which is about exchanges."""
        return order.payment_gateway

    @admin.display(description=_("next check"))
    def next_check(self, order: Order) -> str:
        return date_format(localtime(order.look_at), "DATETIME_FORMAT") if order.look_at else ""

    @admin.display(description=_("checks since it last moved"))
    def checks(self, order: Order) -> int:
        return order.looks

    @admin.display(description=_("tracking number"))
    def parcels(self, order: Order) -> str:
        """Those of all its shipments."""
        several = order.several_shipments.order_by("number").values_list("tracking_number", flat=True)
        return ", ".join(filter(None, several)) or order.tracking_number

    @admin.display(description=_("total"), ordering="total_price")
    def total(self, order: Order) -> str:
        return money(order.total_price, order.currency)

    @admin.display(description=_("given in exchange"))
    def exchange_of(self, order: Order) -> SafeString | str:
        """The return for which it is given, and the order that was paid."""
        of = order.exchange_for
        if of is None:
            return ""
        return format_html(
            '<a href="{}">{}</a>, <a href="{}">{}</a>',
            reverse("admin:orders_return_change", args=[of.pk]),
            _("return %d") % of.pk,
            reverse("admin:orders_order_change", args=[of.order_id]),
            _("order %d") % of.order_id,
        )

    @admin.display(description=_("age"), ordering="-created_at")
    def age(self, order: Order) -> str:
        return timesince(order.created_at, depth=1)

    @admin.display(description=_("not moved for"), ordering="-progress_at")
    def unmoved(self, order: Order) -> str | SafeString:
        """How long an order that is under way has stood still; marked when that is too long."""
        if order.status in AT_REST:
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
                cancellation.request_cancellation(order.pk, reason=BY_STAFF)
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
        return exports.answer(orders, priced=True)

    @admin.action(description=_("Resume: emit the selected orders' events again"), permissions=["change"])
    def resume(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """What `manage.py redrive` does."""
        woken = open_orders.rearm_open(orders.values_list("pk", flat=True))
        for order in Order.objects.filter(pk__in=woken):
            self.log_change(request, order, "Emitted again.")
        messages.success(request, _("Emitted again: %d. Closed orders are left alone.") % len(woken))
