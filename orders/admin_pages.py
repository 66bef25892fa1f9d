"""Pages of the admin on which staff act on one order: refund a part, request a return for its customer, note something.

Each is for who has the right, and only as long as the order allows it; what cannot be done is not offered.
"""

from collections.abc import Iterator, Mapping
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
from orders.models import Order, Return
from orders.notes import write_note
from orders.refunds import request_refund
from orders.returns.exchanges import Bought, bought
from orders.returns.requests import Wanted, request_return, returnable
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.api.problems import Problem
from shop.api.serializers import BIGGEST
from shop.contracts.events import Line
from shop.money import LARGEST, minor_units, money
from shop.text import LineField, LinesField

CHANGE, REFUND, RETURN = "orders.change_order", "payments.change_payment", "orders.add_return"
PIECES, OTHER = "pieces-", "other-"  # what fields about a product begin with


class PiecesForm(forms.Form):
    """How many pieces of each product, at most so many, and why."""

    reason = LineField(label=_("Reason"), max_length=200)

    def __init__(self, order: Order, most: Mapping[int, int], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order = order
        fields = {
            name: field
            for product_id, one in bought(order.pk).items()
            if most.get(product_id)
            for name, field in self.fields_of(product_id, one, most[product_id])
        }
        self.fields = {**fields, **self.fields}

    def fields_of(self, product_id: int, one: Bought, most: int) -> Iterator[tuple[str, forms.Field]]:
        """What is asked about a product, by name."""
        yield (
            f"{PIECES}{product_id}",
            forms.IntegerField(
                label=f"{one.name}, {money(one.price, self.order.currency)}",
                help_text=_("Pieces, of %d.") % most,
                min_value=0,
                max_value=most,
                initial=0,
                required=False,
            ),
        )

    def pieces(self) -> dict[int, int]:
        """{product: pieces}, without those of which there are none."""
        return self.numbers(PIECES)

    def numbers(self, prefix: str) -> dict[int, int]:
        """What was given in fields whose names begin with this, by product."""
        given = self.cleaned_data.items()
        return {int(name.removeprefix(prefix)): number for name, number in given if name.startswith(prefix) and number}


class ReturnForm(PiecesForm):
    """Pieces that are to come back, and whether money is given for them or other pieces."""

    kind = forms.ChoiceField(
        label=_("For"),
        choices=[(Return.Kind.REFUND, _("a refund")), (Return.Kind.EXCHANGE, _("an exchange"))],
        initial=Return.Kind.REFUND,
        required=False,
    )

    def fields_of(self, product_id: int, one: Bought, most: int) -> Iterator[tuple[str, forms.Field]]:
        yield from super().fields_of(product_id, one, most)
        yield (
            f"{OTHER}{product_id}",
            forms.IntegerField(
                label=_("exchanged for product"),
                help_text=_("Its number. Empty: the same product."),
                min_value=1,
                max_value=BIGGEST,
                required=False,
            ),
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not self.pieces():
            raise forms.ValidationError(_("Say how many pieces."))
        if not self.errors and self.exchanges() and cleaned["kind"] != Return.Kind.EXCHANGE:
            self.add_error("kind", _("Another product is given for an exchange only."))
        return cleaned

    def exchanges(self) -> dict[int, int]:
        """{product: the one that it is exchanged for}, of the pieces that come back."""
        return {one: other for one, other in self.numbers(OTHER).items() if one in self.pieces() and other != one}


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
    arrived = order.status == Order.Status.COMPLETED and order.exchange_for_id is None
    return arrived and may(user, RETURN) and any(returnable(order.pk).values())


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
            names, pieces = {line.product_id: line.product_name for line in order.lines}, form.pieces()
            what = ", ".join(f"{count} × {names[product_id]}" for product_id, count in pieces.items())
            said = f"Refund of {shown} asked for: {why}{f' ({what})' if what else ''}"
            admin.ModelAdmin.log_change(desk, request, order, said)
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
    form = ReturnForm(order, returnable(order_id), request.POST or None)
    if form.is_valid():
        lines = [Line(product_id, count) for product_id, count in form.pieces().items()]
        why, kind = form.cleaned_data["reason"], form.cleaned_data["kind"] or Return.Kind.REFUND
        try:
            made = request_return(order_id, Wanted(lines=lines, reason=why, kind=kind, exchanges=form.exchanges()))
        except OUTAGES:
            form.add_error(None, _("The catalogue is away: nothing can be exchanged for another product now."))
        except Problem as refusal:
            form.add_error(None, str(refusal.detail))
        else:
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
