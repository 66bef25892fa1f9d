"""Changes many prices at once in the admin: by a percentage or an amount, after a preview."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.core import signing
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from catalog import services
from catalog.models import Product
from shop.api.problems import Problem
from shop.money import LARGEST, minor_units, money

MOST = 1000  # products at once
PERCENT, AMOUNT = "percent", "amount"
SALT = "catalog.prices"


@dataclass(frozen=True)
class Change:
    """A product and its new price in the currency's minor unit. `wrong` says why the price is invalid."""

    product: Product
    price: int
    wrong: str

    @property
    def before(self) -> str:
        return money(self.product.price, self.product.currency)

    @property
    def after(self) -> str:
        return money(self.price, self.product.currency)


class PriceForm(forms.Form):
    """By how much."""

    by = forms.DecimalField(label=_("by"), min_value=-LARGEST, max_value=LARGEST, max_digits=18, decimal_places=3)
    unit = forms.ChoiceField(
        label=_("unit"),
        choices=[(PERCENT, _("per cent")), (AMOUNT, _("in the currency"))],
    )
    step = forms.TypedChoiceField(
        label=_("rounded to"),
        coerce=int,
        choices=[(1, _("the currency's smallest unit"))]
        + [(step, _("%d of these") % step) for step in (10, 50, 100, 500, 1000)],
        initial=1,
    )

    def changes(self, product_ids: Iterable[str]) -> list[Change]:
        """Return the changes of these products; half a step is rounded away from zero."""
        return [self._change(product) for product in Product.objects.filter(pk__in=list(product_ids)).order_by("pk")]

    def _change(self, product: Product) -> Change:
        by, step = self.cleaned_data["by"], self.cleaned_data["step"]
        if self.cleaned_data["unit"] == PERCENT:
            exact = product.price * (100 + by) / 100
        else:
            exact = product.price + minor_units(by, product.currency)
        price = int((exact / step).quantize(Decimal(1), ROUND_HALF_UP)) * step
        wrong = str(_("not a price")) if not 0 < price <= LARGEST else ""
        return Change(product, price, wrong)


def page(desk: Any, request: HttpRequest, products: QuerySet[Product]) -> HttpResponse | None:
    """Ask by how much, preview the new prices, and ask for confirmation; return None when it is done or impossible.

    What is confirmed is what was shown: the products, their versions and the change are signed in the form.
    """
    if agreed := _signed(request, "agreed"):
        _give(desk, request, agreed)
        return None
    seen = _signed(request, "seen")
    if not seen:
        seen = {str(pk): version for pk, version in products.values_list("pk", "version")[: MOST + 1]}
        if len(seen) > MOST:
            messages.error(request, _("At most %d at once.") % MOST)
            return None
    form = PriceForm(request.POST if "by" in request.POST else None)
    changes = form.changes(seen) if form.is_valid() else []
    if any(one.wrong for one in changes):
        form.add_error("by", _("Some of these would be no prices."))
    given = {name: form.data.get(name) for name in form.fields}
    context = {
        **desk.admin_site.each_context(request),
        "opts": desk.opts,
        "form": form,
        "changes": changes,
        "count": len(seen),
        "first": next(iter(seen), ""),
        "seen": signing.dumps(seen, salt=SALT, compress=True),
        "agreed": signing.dumps({"seen": seen, **given}, salt=SALT, compress=True) if form.is_valid() else "",
    }
    return TemplateResponse(request, "admin/catalog/product/prices.html", context)


def _signed(request: HttpRequest, name: str) -> dict[str, Any]:
    try:
        return dict(signing.loads(request.POST.get(name, ""), salt=SALT))
    except signing.BadSignature:
        return {}


def _give(desk: Any, request: HttpRequest, agreed: dict[str, Any]) -> None:
    seen, form = agreed["seen"], PriceForm(agreed)
    changes = form.changes(seen) if form.is_valid() else []
    try:
        services.change_prices(
            {one.product.pk: one.price for one in changes}, expected={int(pk): version for pk, version in seen.items()}
        )
    except services.StaleVersion:
        messages.error(request, _("No price was changed: a product has changed since you looked. Choose them again."))
    except Problem as refusal:
        messages.error(request, str(refusal.detail))
    else:
        for one in changes:
            desk.log_change(request, one.product, f"price: {one.product.price} → {one.price}")
        messages.success(request, _("Prices changed: %d.") % len(changes))
