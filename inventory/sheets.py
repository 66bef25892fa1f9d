"""Stock as CSV: the present stock, and a booking per row. Stock is never overwritten."""

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from import_export.fields import Field

from desk.cells import NUMBER
from desk.sheets import Sheet, Whole
from inventory import services
from inventory.models import LOW_BELOW, StockItem
from inventory.rows import lock_stock
from sagas.db.prepared import query
from sagas.outages import OUTAGES
from shop.calls import connect
from shop.contracts.catalog import CatalogService
from shop.text import check_line, tidy

MOST = 1_000_000_000  # units, of a booking or a threshold


class OfTheLine(Field):
    """A field of the import only; an export leaves it empty, to be filled in."""

    def get_value(self, instance: Any) -> Any:
        return getattr(instance, self.attribute, "")


class StockSheet(Sheet):
    """Books `delta` units in or out at a `location` for a `reason`, and changes `low_below` there. Rows that do neither
    are skipped; rows without a location are about the first."""

    product_id = Field(attribute="product_id", column_name="product_id", widget=Whole())
    location = Field(attribute="location_id", column_name="location")
    name = Field(column_name="name", readonly=True)
    on_hand = Field(attribute="on_hand", column_name="on_hand", readonly=True)
    reserved = Field(attribute="reserved", column_name="reserved", readonly=True)
    low_below = Field(attribute="low_below", column_name="low_below", widget=Whole())
    delta = OfTheLine(attribute="delta", column_name="delta", widget=Whole())
    reason = OfTheLine(attribute="reason", column_name="reason")

    class Meta:
        model = StockItem
        import_id_fields = ("product_id", "location")
        fields = ("product_id", "location", "name", "on_hand", "reserved", "low_below", "delta", "reason")
        export_order = import_order = fields
        report_skipped = True

    names: dict[int, str] = {}

    def import_data(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the catalogue before the transaction begins."""
        column = dataset["product_id"] if "product_id" in (dataset.headers or []) else []
        written = (str(text).strip() for text in column)  # as `Whole` reads it
        self._look_up([int(text) for text in written if NUMBER.fullmatch(text) and len(text) < 19])
        return super().import_data(dataset, *args, **kwargs)

    def before_export(self, queryset: Any, **kwargs: Any) -> None:
        self._look_up(list(queryset.order_by().values_list("product_id", flat=True).distinct()))

    def _look_up(self, product_ids: list[int]) -> None:
        try:
            self.names = {key: one.name for key, one in connect(CatalogService).get_products(product_ids).items()}
        except OUTAGES:
            self.names = {}

    def dehydrate_name(self, item: StockItem) -> str:
        return self.names.get(item.product_id, "")

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        """Lock all rows first, in the order that the saga's steps use. New ones cannot be locked yet, and are in the
        order of the file: so there is one import at a time."""
        super().before_import(dataset, **kwargs)
        if "location" not in (dataset.headers or []):
            dataset.append_col([""] * len(dataset), header="location")
        query("inventory", "SELECT pg_advisory_xact_lock(hashtext('stock import'))")
        lock_stock(self.names)

    def before_import_row(self, row: Any, **kwargs: Any) -> None:
        row["location"] = tidy(str(row.get("location") or "")) or services.first_location()

    def after_init_instance(self, instance: StockItem, new: bool, row: Any, **kwargs: Any) -> None:
        if new:
            instance.low_below = LOW_BELOW  # the instance does not have the database's default yet

    def skip_row(self, instance: Any, original: Any, row: Any, import_validation_errors: Any = None) -> bool:
        if import_validation_errors:
            return False
        return getattr(instance, "delta", None) is None and instance.low_below == original.low_below

    def write(self, row: Any, instance: Any, is_create: bool, booking: UUID) -> None:
        delta, reason = getattr(instance, "delta", None), tidy(str(getattr(instance, "reason", "") or ""))
        if instance.low_below is None or not 0 <= instance.low_below <= MOST:
            raise ValidationError({"low_below": _("From 0 to a billion.")})
        if delta is not None:
            if not delta or abs(delta) > MOST:
                raise ValidationError({"delta": _("Up to a billion pieces can be booked, but not 0.")})
            if not reason or len(reason) > 200:
                raise ValidationError({"reason": _("Say why, in up to 200 characters: it stays with the movement.")})
            check_line(reason)
            if is_create and instance.product_id not in self.names:
                raise ValidationError(_("There is no product %(id)s to keep stock of.") % {"id": instance.product_id})
            booked = services.book(
                product_id=instance.product_id,
                location=instance.location_id,
                delta=delta,
                reason=reason,
                booking=booking,
            )
            instance.on_hand = booked.at(instance.location_id).on_hand
        elif is_create:
            raise ValidationError({"delta": _("Say how many pieces came or went.")})
        services.set_low_below(instance.product_id, instance.location_id, instance.low_below)
