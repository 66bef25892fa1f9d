"""Pages of the admin on which staff act on one order: refund a part, request a return for its customer, note something.

Each is for who has the right, and only as long as the order allows it; what cannot be done is not offered.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from desk.around import left_to_give_back
from orders.amounts import paid_for
from orders.models import Order
from orders.notes import write_note
from orders.refunds import request_refund
from orders.returns.requests import Wanted, request_return, returnable
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.api.problems import Problem
from shop.contracts.events import Line
from shop.money import LARGEST, minor_units, money
from shop.text import LineField, LinesField

CHANGE, REFUND, RETURN = "orders.change_order", "payments.change_payment", "orders.add_return"
PIECES = "pieces-"  # what the field with a product's pieces begins with


class PiecesForm(forms.Form):
    """How many pieces of each product, at most so many, and why."""

    reason = LineField(label=_("Reason"), max_length=200)

    def __init__(self, order: Order, most: Mapping[int, int], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order = order
        lines = [line for line in order.lines if most.get(line.product_id)]
        fields = {
            f"{PIECES}{line.product_id}": forms.IntegerField(
                label=f"{line.product_name}, {money(line.unit_price, order.currency)}",
                help_text=_("Pieces, of %d.") % most[line.product_id],
                min_value=0,
                max_value=most[line.product_id],
                initial=0,
                required=False,
            )
            for line in lines
        }
        self.fields = {**fields, **self.fields}

    def pieces(self) -> dict[int, int]:
        """{product: pieces}, without those of which there are none."""
        given = self.cleaned_data.items()
        return {int(name.removeprefix(PIECES)): count for name, count in given if name.startswith(PIECES) and count}


class RefundForm(PiecesForm):
    """Pieces that are paid back, or another amount. `key` makes it safe to send twice."""

    field_order = ["other", "reason", "key"]  # after the pieces
    other = forms.DecimalField(label=_("or another amount"), required=False, min_value=0)
    key = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, order: Order, left: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(order, {line.product_id: line.quantity for line in order.lines}, *args, **kwargs)
        self.left, self.amount = left, 0
        self.initial["key"] = uuid4().hex
        self.fields["other"].label = f"{self.fields['other'].label} ({order.currency})"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        pieces, other = self.pieces(), cleaned.get("other")
        if other and pieces:
            raise forms.ValidationError(_("Say either how many pieces, or which amount."))
        exact = minor_units(other, self.order.currency) if other else Decimal(paid_for(self.order.lines, pieces))
        if exact != int(exact):
            self.add_error("other", _("The currency has no such unit."))
        elif not exact:
            raise forms.ValidationError(_("Say how many pieces, or which amount."))
        elif exact > min(self.left, LARGEST):
            raise forms.ValidationError(
                _("No more than %s is left to give back.") % money(self.left, self.order.currency)
            )
        self.amount = int(exact)
        return cleaned


class NoteForm(forms.Form):
    text = LinesField(max_length=1000)


def can_refund(order: Order, user: Any) -> bool:
    """Whether this user may give money of the order back, and some is left; False while payments is away."""
    try:
        return may(user, REFUND) and left_to_give_back(order) > 0
    except OUTAGES:
        return False


def can_return(order: Order, user: Any) -> bool:
    """Whether this user may request a return of the order, and something is left to be returned."""
    return order.status == Order.Status.COMPLETED and may(user, RETURN) and any(returnable(order.pk).values())


def refund(desk: Any, request: HttpRequest, order_id: int) -> HttpResponse:
    """Ask for pieces or an amount; say what that comes to, and ask back; then have it given back."""
    order = _order(desk, request, order_id, REFUND)
    try:
        left = left_to_give_back(order)
    except OUTAGES:
        messages.error(request, _("Payments is away: nothing can be refunded now."))
        return redirect("admin:orders_order_change", order_id)
    form = RefundForm(order, left, request.POST or None)
    asked = form.is_valid()
    if asked and request.POST.get("agreed") == str(form.amount):
        shown, why = money(form.amount, order.currency), form.cleaned_data["reason"]
        try:
            request_refund(order_id, key=form.cleaned_data["key"], amount=form.amount, reason=why)
        except Problem as refusal:
            messages.error(request, str(refusal.detail))
        else:
            admin.ModelAdmin.log_change(desk, request, order, f"Refund of {shown} asked for: {why}")
            messages.success(request, _("Refund asked for: %s. Payments carries it out.") % shown)
        return redirect("admin:orders_order_change", order_id)
    return _page(
        desk,
        request,
        order,
        title=_("Refund a part"),
        form=form,
        said=_("Left to give back: %s.") % money(left, order.currency),
        question=_("Give %s back to the customer?") % money(form.amount, order.currency) if asked else "",
        agreed=form.amount if asked else "",
        button=_("Yes, refund this") if asked else _("Show the amount"),
    )


def return_for_customer(desk: Any, request: HttpRequest, order_id: int) -> HttpResponse:
    """Request a return for the order's customer, also after the days in which customers may do so."""
    order = _order(desk, request, order_id, RETURN)
    form = PiecesForm(order, returnable(order_id), request.POST or None)
    if form.is_valid() and not form.pieces():
        form.add_error(None, _("Say how many pieces."))
    if form.is_valid():
        lines = [Line(product_id, count) for product_id, count in form.pieces().items()]
        try:
            made = request_return(order_id, Wanted(lines=lines, reason=form.cleaned_data["reason"]))
        except Problem as refusal:
            messages.error(request, str(refusal.detail))
            return redirect("admin:orders_order_change", order_id)
        messages.success(request, _("Return requested: %d.") % made.pk)
        return redirect("admin:orders_return_change", made.pk)
    return _page(
        desk,
        request,
        order,
        title=_("Request a return"),
        form=form,
        said=_("For the customer, who is told of it and sends the pieces back."),
        button=_("Yes, request this return"),
    )


def note(desk: Any, request: HttpRequest, order_id: int) -> HttpResponse:
    """Keep what the order's page sends as a note."""
    order = _order(desk, request, order_id, CHANGE)
    form, user = NoteForm(request.POST or None), request.user
    if user.pk and form.is_valid():
        write_note(order.pk, author_id=user.pk, text=form.cleaned_data["text"])
    else:
        messages.error(request, _("Nothing was noted: a note has 1 to 1000 characters."))
    return redirect("admin:orders_order_change", order_id)


def _order(desk: Any, request: HttpRequest, order_id: int, right: str) -> Order:
    if not desk.has_view_permission(request) or not may(request.user, right):
        raise PermissionDenied
    order = Order.objects.filter(pk=order_id).first()
    if order is None:
        raise Http404
    return order


def _page(desk: Any, request: HttpRequest, order: Order, **more: Any) -> TemplateResponse:
    context = {**desk.admin_site.each_context(request), "opts": desk.opts, "order": order, **more}
    return TemplateResponse(request, "admin/orders/order/ask.html", context)
