from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from catalog import services
from catalog.models import Product
from sagas.outages import OUTAGES
from shop.calls import connect
from shop.contracts.inventory import InventoryService, StockView

SHORT = 60  # characters of a value that the log repeats


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products. They are taken off sale rather than deleted, because orders refer to them."""

    list_display = ["id", "name", "category", "brand", "shown_price", "active", "stock"]
    list_display_links = ["id", "name"]
    list_filter = ["active", "category", "brand"]
    search_fields = ["name", "brand"]
    ordering = ["id"]
    list_per_page = 50
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    readonly_fields = ["version", "created_at", "updated_at"]
    actions = ["activate", "deactivate"]

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The page, with the stock of all its products from inventory, asked for once."""
        page = super().get_changelist_instance(request)
        products = list(page.result_list)
        stock: dict[int, StockView] = {}
        try:
            stock = connect(InventoryService).get_stock([product.pk for product in products])
        except OUTAGES:
            messages.warning(request, _("Inventory is away: no stock is shown."))
        for product in products:
            product.found_stock = stock.get(product.pk)
        page.result_list = products
        return page

    @admin.display(description=_("price"), ordering="price")
    def shown_price(self, product: Product) -> str:
        return f"₩{product.price:,}" if product.currency == "KRW" else f"{product.price:,} {product.currency}"

    @admin.display(description=_("stock, free"))
    def stock(self, product: Any) -> str | None:
        found = product.found_stock
        return found and _("%(free)d of %(all)d") % {"free": found.on_hand - found.reserved, "all": found.on_hand}

    @admin.action(description=_("Put on sale"), permissions=["change"])
    def activate(self, request: HttpRequest, products: QuerySet[Product]) -> None:
        """Those that are on sale already are left as they are."""
        self._set_active(request, products, active=True)

    @admin.action(description=_("Take off sale"), permissions=["change"])
    def deactivate(self, request: HttpRequest, products: QuerySet[Product]) -> None:
        """Orders that were placed go on."""
        self._set_active(request, products, active=False)

    def _set_active(self, request: HttpRequest, products: QuerySet[Product], *, active: bool) -> None:
        what = "Put on sale." if active else "Taken off sale."
        changed = list(products.exclude(active=active))
        for product in changed:
            services.change_product(product.pk, {"active": active})
            self.log_change(request, product, what)
        said = _("Put on sale: %d.") if active else _("Taken off sale: %d.")
        self.message_user(request, said % len(changed))

    def save_model(self, request: HttpRequest, obj: Product, form: ModelForm, change: bool) -> None:
        if change:
            services.change_product(obj.pk, {name: form.cleaned_data[name] for name in form.changed_data})
        else:
            obj.pk = services.create_product(**form.cleaned_data).pk

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """The log says what was changed from what to what."""
        if add:
            return super().construct_change_message(request, form, formsets, add)
        changes = (
            f"{name}: {_short(form.initial[name])} → {_short(form.cleaned_data[name])}" for name in form.changed_data
        )
        return "; ".join(changes) or "No fields changed."

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"
