"""Products as CSV."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from import_export.fields import Field

from catalog import services
from catalog.models import Product
from desk.cells import AMOUNT, major_units
from desk.sheets import Sheet, Whole, YesNo
from shop.money import DECIMALS, minor_units

WRITTEN = ("name", "description", "price", "currency", "category", "brand", "image_url", "active")


class PriceField(Field):
    """A price as on its price tag. The row has it in the minor unit of its currency."""

    def export(self, instance: Product, **kwargs: Any) -> str:
        return "" if instance.price is None else str(major_units(instance.price, instance.currency))

    def save(self, instance: Product, row: Any, is_m2m: bool = False, **kwargs: Any) -> None:
        """Raises ValueError, which is reported with the line."""
        text = str(row["price"] or "").strip()
        if text and not AMOUNT.fullmatch(text):
            raise ValueError(_("Give an amount as on a price tag, without separators."))
        currency = row.get("currency") or instance.currency  # a wrong one is reported by itself
        exact = minor_units(Decimal(text), currency) if text and currency in DECIMALS else None
        if exact is not None and exact != int(exact):
            raise ValueError(_("The currency has no such unit."))
        instance.price = None if exact is None else int(exact)  # type: ignore[assignment]  # the model refuses none


class ProductSheet(Sheet):
    """A row with an id changes that product, a row without adds one. Fields without a column stay unchanged."""

    id = Field(attribute="id", column_name="id", widget=Whole())
    price = PriceField(attribute="price", column_name="price")
    active = Field(attribute="active", column_name="active", widget=YesNo())
    version = Field(attribute="version", column_name="version", readonly=True)

    class Meta:
        model = Product
        fields = ("id", *WRITTEN, "version")
        export_order = import_order = fields
        skip_unchanged = report_skipped = True
        clean_model_instances = True

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        """Lock all rows first, in a fixed order, so that concurrent imports cannot deadlock."""
        super().before_import(dataset, **kwargs)
        if "currency" in dataset.headers and "price" not in dataset.headers:
            raise ValueError(_("A file with the column currency has the column price, too."))
        if "id" in dataset.headers:
            ids = [int(text) for text in dataset["id"] if str(text).isdecimal() and len(text) < 19]
            list(Product.objects.select_for_update().filter(pk__in=ids).order_by("pk").values_list("pk"))

    def after_init_instance(self, instance: Product, new: bool, row: Any, **kwargs: Any) -> None:
        if new and row.get("id"):
            missing = _("There is no product %(id)s; leave the id empty for a new one.")
            raise ValidationError(missing % {"id": row["id"]})
        if new and not self.user.has_perm("catalog.add_product"):
            raise ValidationError(_("You may not add products."))

    def skip_row(self, instance: Any, original: Any, row: Any, import_validation_errors: Any = None) -> bool:
        if import_validation_errors or instance.pk is None:
            return False
        return bool(super().skip_row(instance, original, row, import_validation_errors))

    def write(self, row: Any, instance: Product, is_create: bool, booking: UUID) -> None:
        fields = {name: getattr(instance, name) for name in WRITTEN}
        if not is_create:
            seen = str(row.get("version") or "").strip()
            expected = None if not seen else [int(seen)] if seen.isdecimal() else []
            changed = services.change_product(instance.pk, fields, expected=expected)
            instance.version = changed.version
            return
        product, is_new = services.create_once(booking, **fields)
        if not is_new:
            raise ValidationError(_("This line was imported already."))
        instance.pk = product.pk
