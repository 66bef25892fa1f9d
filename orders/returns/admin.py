"""Returns in the admin: staff approve, refuse, receive and inspect them, each after a question, with reasons."""

from collections.abc import Callable, Collection
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

from desk.admin import OnPage, ReadOnlyAdmin, ReadOnlyInline
from desk.cells import major_units
from orders.models import Return, ReturnLine
from orders.returns import decisions, requests
from orders.returns.models import FINAL
from shop.api.permissions import may
from shop.api.problems import Problem
from shop.contracts.orders import FOR_STAFF
from shop.money import DECIMALS, minor_units, money

SHOWN: Any = [
    "badge", "kind", "customer", "of_order", "saga", "reason", "refusal", "tracking_number", "due", "kept_back",
    "given_back", "exchanged_for", "approved_at", "created_at", "progress_at",
]  # fmt: skip
ALWAYS: Any = [("badge", "kind"), ("of_order", "saga"), ("created_at", "progress_at"), ("customer", "reason")]


SHOWN_OF_LINE: Any = ["product", "quantity", "other", "accepted", "written_off", "rejected"]


def name(line: ReturnLine) -> str:
    """A product's name, as the order knows it, or what it was exchanged for."""
    order = line.of_return.order
    names = {
        other.exchange_product_id: other.exchange_product_name
        for return_ in order.returns.all()
        for other in return_.lines
    }
    names |= {item.product_id: item.product_name for item in order.items.all()}
    return names.get(line.product_id, str(line.product_id))


def pieces(return_: Return) -> str:
    """What is to come back, and for what."""
    others = {line.pk: f" → {line.exchange_product_name}" for line in return_.lines if line.exchange_product_id}
    return ", ".join(f"{line.quantity} × {name(line)}{others.get(line.pk, '')}" for line in return_.lines)


class WaitsFilter(admin.SimpleListFilter):
    """For whom a return waits."""

    title = _("waits for")
    parameter_name = "waits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("staff", _("staff")), ("others", _("customer, carrier or money")), ("nobody", _("nobody: ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Return]) -> QuerySet[Return]:
        match self.value():
            case "staff":
                return queryset.filter(status__in=FOR_STAFF)
            case "others":
                return queryset.exclude(status__in=(*FOR_STAFF, *FINAL))
            case "nobody":
                return queryset.filter(status__in=FINAL)
        return queryset


class ReturnLineInline(ReadOnlyInline):
    model = ReturnLine
    fields = SHOWN_OF_LINE

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN_OF_LINE

    @admin.display(description=_("product"))
    def product(self, line: ReturnLine) -> str:
        return name(line)

    @admin.display(description=_("exchanged for"))
    def other(self, line: ReturnLine) -> str:
        return line.exchange_product_name


class ReturnAdmin(ReadOnlyAdmin):
    """Returns are moved by their sagas; staff decide when it is their turn."""

    list_display = ["id", "badge", "customer", "of_order", "pieces", "given_back", "tracking_number", "created_at"]
    list_filter = [WaitsFilter, "status", "kind"]
    search_fields = ["=id", "=order_id", "=user_id", "=tracking_number"]
    search_help_text = _("The number of a return, of its order or customer, a tracking number, or a customer.")
    by_customer = as_cards = True
    show_full_result_count = False
    inlines = [ReturnLineInline]
    actions = ["approve", "refuse", "receive", "inspect", "refund_again", "withdraw"]
    on_page = {
        "approve": OnPage(_("Approve")),
        "refuse": OnPage(_("Refuse")),
        "receive": OnPage(_("The parcel is here")),
        "inspect": OnPage(_("Inspect")),
        "refund_again": OnPage(_("Settle the refund")),
        "withdraw": OnPage(_("Withdraw for the customer")),
    }
    logged_by_services = True

    def possible(self, row: Return) -> Collection[str]:
        return [name for name, statuses in WHEN.items() if row.status in statuses]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    def get_fields(self, request: HttpRequest, obj: Return | None = None) -> Any:
        """Without what there is not yet."""
        known = {
            "refusal": obj and obj.refusal,
            "tracking_number": obj and obj.tracking_number,
            "approved_at": obj and obj.approved_at,
            "due": obj and obj.refund_due is not None,
            "kept_back": obj and obj.kept,
            "given_back": obj and obj.refunded,
            "exchanged_for": obj and obj.exchange_order_id,
        }
        return [*ALWAYS, *(name for name, there in known.items() if there)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Return]:
        rows = super().get_queryset(request).select_related("order")
        return rows.prefetch_related("items", "exchanges", "order__items", "order__returns__items")

    def has_refund_permission(self, request: HttpRequest) -> bool:
        """Django asks for it about actions with `permissions=["refund"]`."""
        return may(request.user, "payments.change_payment")

    @admin.display(description=_("saga"))
    def saga(self, return_: Return) -> SafeString:
        """It is told with its order's."""
        return format_html('<a href="{}">{}</a>', reverse("saga", args=[return_.order_id]), _("timeline"))

    @admin.display(description=_("order"))
    def of_order(self, return_: Return) -> SafeString:
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:orders_order_change", args=[return_.order_id]), return_.order_id
        )

    @admin.display(description=_("exchanged for"))
    def exchanged_for(self, return_: Return) -> SafeString | str:
        pk = return_.exchange_order_id
        if pk is None:
            return ""
        return format_html('<a href="{}">{}</a>', reverse("admin:orders_order_change", args=[pk]), _("order %d") % pk)

    @admin.display(description=_("pieces"))
    def pieces(self, return_: Return) -> str:
        return pieces(return_)

    @admin.display(description=_("due"))
    def due(self, return_: Return) -> str:
        return "" if return_.refund_due is None else money(return_.refund_due, return_.currency)

    @admin.display(description=_("kept"))
    def kept_back(self, return_: Return) -> str:
        return money(return_.kept, return_.currency) if return_.kept else ""

    @admin.display(description=_("given back"))
    def given_back(self, return_: Return) -> str:
        return money(return_.refunded, return_.currency) if return_.refunded else ""

    @admin.action(description=_("Approve the selected returns"), permissions=["change"])
    def approve(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back; then have carriers bring the parcels."""
        return self._decide(request, returns, "approve", lambda return_, _why: decisions.approve(return_.pk))

    @admin.action(description=_("Refuse the selected returns"), permissions=["change"])
    def refuse(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back, and for the reason that the customer reads."""
        return self._decide(
            request, returns, "refuse", lambda return_, why: decisions.refuse(return_.pk, reason=why), why=True
        )

    @admin.action(description=_("Receive the selected returns"), permissions=["change"])
    def receive(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back; the parcels are here."""
        return self._decide(request, returns, "receive", lambda return_, _why: decisions.receive(return_.pk))

    @admin.action(description=_("Withdraw the selected returns"), permissions=["change"])
    def withdraw(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """Ask back; nothing is sent back after all."""
        return self._decide(request, returns, "withdraw", lambda return_, _why: requests.withdraw(return_.pk))

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
        for return_ in returns:
            try:
                decide(return_, reason)
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
        return_ = returns.get()
        given = request.POST if "confirmed" in request.POST else None
        lines = [
            (f"{line.quantity} × {name(line)}", LineForm(line, given, prefix=f"product-{line.product_id}"))
            for line in return_.items.all()
        ]
        wrong = [form for _name, form in lines if not form.is_valid()]  # each of them says what is wrong with it
        if given is None or wrong:
            return self._ask(
                request, "inspect", action="inspect", title=QUESTIONS["inspect"], returns=[return_], lines=lines
            )
        try:
            decisions.inspect(return_.pk, {form.line.product_id: form.found() for _name, form in lines})
        except Problem as refusal:
            detail = "; ".join(error["reason"] for error in refusal.errors) or str(refusal.detail)
            messages.warning(request, detail)
        else:
            messages.success(request, _("Inspected: stock and money follow."))
        return None

    @admin.action(description=_("Settle the refund of the selected return"), permissions=["refund"])
    def refund_again(self, request: HttpRequest, returns: QuerySet[Return]) -> HttpResponse | None:
        """After a refusal, ask how much is to be refunded: what is due, less, or nothing."""
        if len(returns) != 1:
            messages.warning(request, _("Select one return to settle."))
            return None
        return_ = returns.get()
        given = request.POST if "confirmed" in request.POST else None
        form = AmountForm(return_, given)
        if given is None or not form.is_valid():
            title = QUESTIONS["refund_again"]
            return self._ask(request, "refund", action="refund_again", title=title, returns=[return_], form=form)
        try:
            decisions.refund_again(return_.pk, amount=form.amount())
        except Problem as refusal:
            messages.warning(request, str(refusal.detail))
        else:
            messages.success(request, _("Decided: %d.") % 1)
        return None

    def _ask(self, request: HttpRequest, template: str, **more: Any) -> TemplateResponse:
        for return_ in more["returns"]:
            return_.shown = pieces(return_)
        context = {**self.admin_site.each_context(request), "opts": self.opts, **more}
        return TemplateResponse(request, f"admin/orders/return/{template}.html", context)


QUESTIONS = {
    "approve": _("Approve these returns?"),
    "refuse": _("Refuse these returns?"),
    "receive": _("Are these parcels here?"),
    "inspect": _("What was found?"),
    "refund_again": _("How much is to be refunded?"),
    "withdraw": _("Withdraw these returns?"),
}
WHEN = {  # the statuses in which each is possible
    "approve": (Return.Status.REQUESTED,),
    "refuse": (Return.Status.REQUESTED,),
    "receive": decisions.TO_BE_RECEIVED,
    "inspect": decisions.TO_BE_INSPECTED,
    "refund_again": (Return.Status.REFUND_REFUSED,),
    "withdraw": requests.TO_BE_WITHDRAWN,
}


class LineForm(forms.Form):
    """What was found of a product's pieces: of each of them."""

    accepted = forms.IntegerField(
        label=_("accepted: refunded or exchanged, on the shelf again"), min_value=0, initial=0
    )
    written_off = forms.IntegerField(
        label=_("written off: refunded or exchanged, not to be sold"), min_value=0, initial=0
    )
    rejected = forms.IntegerField(label=_("rejected: neither refunded nor exchanged"), min_value=0, initial=0)

    def __init__(self, line: ReturnLine, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.line = line

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and sum(cleaned.values()) != self.line.quantity:
            said = _("Pieces to be inspected: %d. Say of each what was found.")
            raise forms.ValidationError(said % self.line.quantity)
        return cleaned

    def found(self) -> decisions.Found:
        """The numbers given."""
        return decisions.Found(**self.cleaned_data)


class AmountForm(forms.Form):
    """How much of what is due is given back; nothing, when that was settled in another way."""

    def __init__(self, return_: Return, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.currency, decimals = return_.currency, DECIMALS[return_.currency]
        due = major_units(return_.refund_due or 0, return_.currency)
        self.fields["amount"] = forms.DecimalField(
            label=f"{_('amount')} ({return_.currency})",
            min_value=0,
            max_value=due,
            decimal_places=decimals,
            initial=due,
        )

    def amount(self) -> int:
        """The amount in the currency's minor unit."""
        return int(minor_units(self.cleaned_data["amount"], self.currency))
