"""Returns in the admin: staff approve, refuse, receive and inspect them, each after a question, with reasons."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from desk.admin import ReadOnlyAdmin, ReadOnlyInline
from orders.models import Return, ReturnLine
from orders.returns import decisions
from shop.api.problems import Problem
from shop.money import money

SHOWN: Any = [
    "badge", "of_order", "reason", "refusal", "tracking_number", "due", "kept_back", "given_back", "approved_at",
    "created_at", "progress_at",
]  # fmt: skip


class ReturnLineInline(ReadOnlyInline):
    model = ReturnLine
    fields = ["product_id", "quantity", "accepted", "written_off", "rejected"]


class ReturnAdmin(ReadOnlyAdmin):
    """Returns are moved by their sagas; staff decide when it is their turn."""

    list_display = ["id", "badge", "customer", "of_order", "pieces", "given_back", "tracking_number", "created_at"]
    list_filter = ["status", "kind"]
    search_fields = ["=id", "=order_id", "=user_id", "=tracking_number"]
    by_customer = True
    fields = SHOWN
    show_full_result_count = False
    inlines = [ReturnLineInline]
    actions = ["approve", "refuse", "receive", "inspect"]
    logged_by_services = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    def get_queryset(self, request: HttpRequest) -> QuerySet[Return]:
        return super().get_queryset(request).prefetch_related("items")

    @admin.display(description=_("order"))
    def of_order(self, of: Return) -> SafeString:
        return format_html('<a href="{}">{}</a>', reverse("admin:orders_order_change", args=[of.order_id]), of.order_id)

    @admin.display(description=_("pieces"))
    def pieces(self, of: Return) -> str:
        return ", ".join(map(str, of.items.all()))

    @admin.display(description=_("due"))
    def due(self, of: Return) -> str:
        return "" if of.refund_due is None else money(of.refund_due, of.currency)

    @admin.display(description=_("kept"))
    def kept_back(self, of: Return) -> str:
        return money(of.kept, of.currency) if of.kept else ""

    @admin.display(description=_("given back"))
    def given_back(self, of: Return) -> str:
        return money(of.refunded, of.currency) if of.refunded else ""

    @admin.action(description=_("Approve the selected returns"), permissions=["change"])
    def approve(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back; then have carriers bring the parcels."""
        return self._decide(request, returns, "approve", lambda of, _why: decisions.approve(of.pk))

    @admin.action(description=_("Refuse the selected returns"), permissions=["change"])
    def refuse(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back, and for the reason that the customer reads."""
        return self._decide(request, returns, "refuse", lambda of, why: decisions.refuse(of.pk, reason=why), why=True)

    @admin.action(description=_("Receive the selected returns"), permissions=["change"])
    def receive(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back; the parcels are here."""
        return self._decide(request, returns, "receive", lambda of, _why: decisions.receive(of.pk))

    def _decide(
        self,
        request: HttpRequest,
        returns: QuerySet[Return],
        action: str,
        decide: Callable[[Return, str], Any],
        *,
        why: bool = False,
    ) -> HttpResponse | None:
        reason = request.POST.get("why", "").strip()[:200]
        if "confirmed" not in request.POST or (why and not reason):
            return self._ask(request, "confirm", action=action, title=QUESTIONS[action], returns=returns, why=why)
        done = 0
        for of in returns:
            try:
                decide(of, reason)
            except Problem as refusal:
                messages.warning(request, str(refusal.detail))
            else:
                done += 1
        messages.success(request, _("Decided: %d.") % done)
        return None

    @admin.action(description=_("Inspect the selected return"), permissions=["change"])
    def inspect(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask of each product what was found."""
        if len(returns) != 1:
            messages.warning(request, _("Select one return to inspect."))
            return None
        of = returns.get()
        given = request.POST if "confirmed" in request.POST else None
        lines = [(line, LineForm(given, prefix=f"product-{line.product_id}")) for line in of.lines]
        if given is None or not all(form.is_valid() for _line, form in lines):
            return self._ask(
                request, "inspect", action="inspect", title=QUESTIONS["inspect"], returns=[of], lines=lines
            )
        try:
            decisions.inspect(of.pk, {line.product_id: form.found() for line, form in lines})
        except Problem as refusal:
            detail = "; ".join(error["reason"] for error in refusal.errors) or str(refusal.detail)
            messages.warning(request, detail)
        else:
            messages.success(request, _("Inspected: stock and money follow."))
        return None

    def _ask(self, request: HttpRequest, template: str, **more: Any) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **more}
        return TemplateResponse(request, f"admin/orders/return/{template}.html", context)


QUESTIONS = {
    "approve": _("Approve these returns?"),
    "refuse": _("Refuse these returns?"),
    "receive": _("Are these parcels here?"),
    "inspect": _("What was found?"),
}


class LineForm(forms.Form):
    """What was found of a product's pieces."""

    accepted = forms.IntegerField(label=_("accepted: refunded, on the shelf again"), min_value=0, initial=0)
    written_off = forms.IntegerField(label=_("written off: refunded, not to be sold"), min_value=0, initial=0)
    rejected = forms.IntegerField(label=_("rejected: not refunded"), min_value=0, initial=0)

    def found(self) -> decisions.Found:
        """The numbers given."""
        return decisions.Found(**self.cleaned_data)
