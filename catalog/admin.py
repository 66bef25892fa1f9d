from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from catalog import prices, services
from catalog.models import Product, StaffAction
from catalog.sheets import WRITTEN, ProductSheet
from desk.admin import DeskAdmin, StaffActionAdmin
from desk.cells import major_units
from desk.sheets import SheetAdmin
from desk.stale import UnlessStale
from sagas.outages import OUTAGES
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.inventory import InventoryService, StockView
from shop.money import CURRENCIES, minor_units, money

admin.site.register(StaffAction, StaffActionAdmin)

SHORT = 60  # characters of a value that the log repeats


class PriceField(forms.DecimalField):
    """A price as people write it. The row has it in the currency's minor unit."""

    currency = "KRW"  # of the row

    def prepare_value(self, value: Any) -> Any:
        return major_units(value, self.currency) if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class ProductForm(UnlessStale):
    """A product; a new one perhaps with its first stock."""

    price = PriceField(
        label=_("price"),
        max_digits=20,
        decimal_places=3,
        help_text=_("As on its price tag: 33000 in KRW, 19.99 in USD."),
    )
    token = forms.UUIDField(widget=forms.HiddenInput, required=False)
    currency = forms.ChoiceField(label=_("currency"), choices=[(code, code) for code in CURRENCIES], initial="KRW")
    opening_stock = forms.IntegerField(
        label=_("opening stock"),
        required=False,
        min_value=1,
        max_value=1_000_000_000,
        help_text=_("Pieces on the shelf."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():  # as Django writes those of the model's own fields
            field.label = capfirst(field.label)
        if self.instance._state.adding:
            self.initial["token"] = uuid4()
        elif isinstance(price := self.fields.get("price"), PriceField):  # who may only look has none
            price.currency = self.instance.currency

    @cached_property
    def changed_data(self) -> list[str]:
        """With the price, if only its currency is another: 5 USD are more cents than 5 KRW are won."""
        found = super().changed_data
        return [*found, "price"] if "currency" in found and "price" not in found else found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if "price" in cleaned and "currency" in cleaned:
            exact = minor_units(cleaned["price"], cleaned["currency"])
            if exact != int(exact):
                self.add_error("price", _("The currency has no such unit."))
            else:
                cleaned["price"] = int(exact)
        return cleaned


@admin.register(Product)
class ProductAdmin(SheetAdmin, DeskAdmin):
    """Products. They are taken off sale rather than deleted, because orders refer to them."""

    logged_by_services = as_cards = True
    list_display = ["id", "image", "name", "category", "brand", "shown_price", "active", "stock"]
    list_display_links = ["id", "name"]
    form = ProductForm
    resource_classes = [ProductSheet]
    list_filter = ["active", "category", "brand"]
    search_fields = ["=id", "name", "brand"]
    search_help_text = _("A number, or a part of the name or brand.")
    ordering = ["id"]
    list_per_page = 50
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    actions = ["activate", "deactivate", "change_prices"]

    def get_readonly_fields(self, request: HttpRequest, obj: Product | None = None) -> list[str]:
        return ["image", "shown_price", "book", "version", "created_at", "updated_at"] if obj else []

    def get_fields(self, request: HttpRequest, obj: Product | None = None) -> Any:
        if obj is None:
            return [*WRITTEN, "opening_stock", "token", "seen"]
        price = "price" if self.has_change_permission(request, obj) else "shown_price"
        written = [price if name == "price" else name for name in WRITTEN]
        return [*written, "image", "book", "version", "created_at", "updated_at", "seen"]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Run without Django's transaction: a new product must be committed before its stock is booked."""
        try:
            return self._changeform_view(request, object_id, form_url, extra_context)
        except Problem as refusal:
            messages.error(request, str(refusal.detail))
            return HttpResponseRedirect(request.get_full_path())

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the page, with the stock of all its products from inventory in one call."""
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

    @admin.display(description=_("image"), empty_value="")
    def image(self, product: Product) -> SafeString | str:
        """The picture at the product's URL; lists show it small."""
        if not product.image_url:
            return ""
        return format_html(
            '<img class="preview" src="{}" alt="" loading="lazy" referrerpolicy="no-referrer">', product.image_url
        )

    @admin.display(description=_("stock"))
    def book(self, product: Product) -> SafeString | str:
        """The product's stock, with a link to the page where it is booked."""
        try:
            stock = connect(InventoryService).get_stock([product.pk]).get(product.pk)
        except OUTAGES:
            return "–"
        if stock is None:
            page = f"{reverse('admin:inventory_stockitem_add')}?product_id={product.pk}"
            return format_html('<a href="{}">{}</a>', page, _("Book the first stock"))
        page = f"{reverse('admin:inventory_stockitem_changelist')}?product_id={product.pk}"
        free = _("%(free)d of %(all)d") % {"free": stock.on_hand - stock.reserved, "all": stock.on_hand}
        return format_html('<a href="{}">{}</a>', page, free)

    @admin.display(description=_("price"), ordering="price")
    def shown_price(self, product: Product) -> str:
        return money(product.price, product.currency)

    @admin.display(description=_("stock, free"))
    def stock(self, product: Any) -> str | None:
        found = product.found_stock
        return found and _("%(free)d of %(all)d") % {"free": found.on_hand - found.reserved, "all": found.on_hand}

    @admin.action(description=_("Put on sale"), permissions=["change"])
    def activate(self, request: HttpRequest, products: QuerySet[Product]) -> None:
        """Put products on sale, unless they are already."""
        self._set_active(request, products, active=True)

    @admin.action(description=_("Take off sale"), permissions=["change"])
    def deactivate(self, request: HttpRequest, products: QuerySet[Product]) -> None:
        """Take products off sale. Orders that were placed go on."""
        self._set_active(request, products, active=False)

    @admin.action(description=_("Change prices…"), permissions=["change"])
    def change_prices(self, request: HttpRequest, products: QuerySet[Product]) -> HttpResponse | None:
        """Change prices by a percentage or an amount, after a preview."""
        return prices.page(self, request, products)

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
            changes = {name: form.cleaned_data[name] for name in form.changed_data}
            services.change_product(obj.pk, changes, expected=[obj.version])
            return
        fields = {name: form.cleaned_data[name] for name in WRITTEN}
        sent = form.cleaned_data["token"]
        obj.pk = services.create_product(form=sent, **fields).pk
        if pieces := form.cleaned_data["opening_stock"]:
            self._book_opening_stock(request, obj.pk, pieces, sent)

    def _book_opening_stock(self, request: HttpRequest, product_id: int, pieces: int, booking: UUID | None) -> None:
        """Book the first receipt of a new product. The product stays even if that fails."""
        if not request.user.has_perm("inventory.add_stockitem"):
            messages.warning(request, _("No stock was booked: you may not book any."))
            return
        try:
            import_string("inventory.services.adjust_stock")(
                product_id=product_id, delta=pieces, reason="Opening stock", booking=booking
            )
        except Problem as refusal:
            messages.warning(request, str(refusal.detail))
        except OUTAGES:
            messages.warning(request, _("No stock was booked: inventory is away. Book it there later."))

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Log each changed field with its old and its new value."""
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
