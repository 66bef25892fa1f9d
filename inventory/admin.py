from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext_lazy as _

from desk import people, words
from desk.admin import DeadLetterAdmin, DeskAdmin, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline, StaffActionAdmin
from desk.sheets import SheetAdmin
from desk.stale import UnlessStale
from inventory import services
from inventory.models import (
    LOW_BELOW,
    DeadLetter,
    Location,
    Outbox,
    Reservation,
    ReservationLine,
    StaffAction,
    StockItem,
    StockMovement,
)
from inventory.sheets import StockSheet
from sagas.outages import OUTAGES
from shop.api.permissions import may
from shop.api.problems import Problem
from shop.calls import connect
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.text import LineField

admin.site.register(StaffAction, StaffActionAdmin)

SHOWN_MOVEMENTS = 20
AVAILABLE = F("on_hand") - F("reserved")
LOW = Q(free__lt=F("low_below"))

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


class AdjustmentForm(UnlessStale):
    """Stock is never overwritten: units are booked in or out with a reason, which leaves a movement."""

    delta = forms.IntegerField(label=_("Pieces to book"), required=False, help_text=_("Positive came, negative went."))
    reason = LineField(label=_("Reason"), max_length=200, required=False)
    booking = forms.UUIDField(widget=forms.HiddenInput)

    class Meta:
        model = StockItem
        fields = ["product_id", "location", "low_below"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["booking"] = uuid4()
        if "low_below" in self.fields and self.instance._state.adding:
            self.initial["low_below"] = LOW_BELOW

    def clean_delta(self) -> int | None:
        delta: int | None = self.cleaned_data["delta"]
        if delta is not None:
            left = self.instance.on_hand + delta
            if not delta or not self.instance.reserved <= left <= services.MOST_ON_HAND:
                least = self.instance.reserved - self.instance.on_hand
                raise forms.ValidationError(_("From %d to a billion pieces can be booked, but not 0.") % least)
        return delta

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("delta") is not None and not cleaned.get("reason"):
            self.add_error("reason", _("Say why: it stays with the movement."))
        changes_nothing = self.instance._state.adding or "low_below" not in self.changed_data
        if cleaned.get("delta") is None and "delta" not in self.errors and changes_nothing:
            self.add_error("delta", _("Say how many pieces came or went."))
        return cleaned


class LowStockFilter(admin.SimpleListFilter):
    """Filters by how much stock is left."""

    title = _("stock")
    parameter_name = "stock"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("low", _("low, and on sale")), ("none", _("sold out")), ("enough", _("enough"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StockItem]) -> QuerySet[StockItem]:
        items = queryset.alias(free=AVAILABLE)
        match self.value():
            case "low":
                return items.filter(LOW).exclude(product_id__in=_off_sale())
            case "none":
                return items.filter(free__lte=0)
            case "enough":
                return items.exclude(LOW)
        return queryset


def _off_sale() -> list[int]:
    """Return the products that are not on sale; none while the catalogue is down, which the list says anyway."""
    try:
        return people.off_sale()
    except OUTAGES:
        return []


@admin.register(StockItem)
class StockItemAdmin(SheetAdmin, DeskAdmin):
    """Stock, with its movements. It is changed by booking units in or out."""

    logged_by_services = as_cards = True
    list_display = ["product_id", "product", "location", "free", "reserved", "low_below", "enough", "updated_at"]
    list_display_links = ["product_id", "product"]
    list_filter = [LowStockFilter, "location"]
    search_fields = ["=product_id"]
    search_help_text = _("A product's number or name.")
    ordering = ["product_id", "location_id"]
    form = AdjustmentForm
    resource_classes = [StockSheet]

    def get_readonly_fields(self, request: HttpRequest, obj: StockItem | None = None) -> list[str]:
        shown = [
            "product_id",
            "location",
            "of_product",
            "can_be_sold",
            "on_hand",
            "reserved",
            "updated_at",
            "movements",
        ]
        return shown if obj else []

    def get_fields(self, request: HttpRequest, obj: StockItem | None = None) -> Any:
        shown = ["of_product", "can_be_sold", "on_hand", "reserved"] if obj else []
        return [
            "product_id",
            "location",
            *shown,
            "delta",
            "reason",
            "low_below",
            *(["movements"] if obj else []),
            "booking",
            "seen",
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[StockItem], search_term: str
    ) -> tuple[QuerySet[StockItem], bool]:
        """Search by the product's number, and by its name in the catalogue."""
        found, _duplicates = super().get_search_results(request, queryset, search_term)
        try:
            named = people.find_products(search_term)
        except OUTAGES:
            named = []
        return (found | queryset.filter(product_id__in=named) if named else found), False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill in the product's number, which the link on the product's page passes on, and the first location."""
        return {"product_id": request.GET.get("product_id", ""), "location": services.first_location()}

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        item = super().get_object(request, object_id, from_field)
        if item is not None:
            item.leads_to_product = may(request.user, "catalog.view_product")
        return item

    @admin.display(description=_("product"))
    def of_product(self, item: Any) -> SafeString | str:
        if not item.leads_to_product:
            return self.name(item)
        page = reverse("admin:catalog_product_change", args=[item.product_id])
        return format_html('<a href="{}">{}</a>', page, self.name(item))

    def name(self, item: StockItem) -> str:
        try:
            found = connect(CatalogService).get_products([item.product_id]).get(item.product_id)
        except OUTAGES:
            return "–"
        return found.name if found else "–"

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the page, with the names of all its products from the catalogue in one call."""
        page = super().get_changelist_instance(request)
        items = list(page.result_list)
        products: dict[int, ProductSnapshot] = {}
        try:
            products = connect(CatalogService).get_products([item.product_id for item in items])
        except OUTAGES:
            messages.warning(request, _("The catalogue is away: products are shown by number only."))
        for item in items:
            item.found_product = products.get(item.product_id)
        page.result_list = items
        return page

    @admin.display(description=_("product"))
    def product(self, item: Any) -> str | None:
        return item.found_product and item.found_product.name

    @admin.display(description=_("can be sold"), ordering=AVAILABLE)
    def free(self, item: StockItem) -> str:
        """Of what is on hand; as the list of products says it."""
        return _("%(free)d of %(all)d") % {"free": item.available, "all": item.on_hand}

    @admin.display(description=_("can be sold"))
    def can_be_sold(self, item: StockItem) -> int:
        return item.available

    @admin.display(description=_("enough"), boolean=True)
    def enough(self, item: StockItem) -> bool:
        return item.available >= item.low_below

    @admin.display(description=_("latest movements"))
    def movements(self, item: StockItem) -> SafeString:
        """Every change of what is on hand there, newest first."""
        here = StockMovement.objects.filter(product_id=item.product_id, location=item.location_id)
        latest = here.order_by("-pk")[:SHOWN_MOVEMENTS]
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    date_format(localtime(one.created_at), "DATETIME_FORMAT"),
                    f"{one.delta:+d}",
                    one.get_kind_display(),
                    one.order_id or "",
                    words.reason(one.reason),
                )
                for one in latest
            ),
        )
        every = f"{reverse('admin:inventory_stockmovement_changelist')}?product_id={item.product_id}"
        columns = (_("when"), _("pieces"), _("kind"), _("order"), _("reason"))
        head = format_html_join("", "<th>{}</th>", ((column,) for column in columns))
        table = format_html('<div class="wide"><table><tr>{}</tr>{}</table></div>', head, rows)
        return format_html('{}<a href="{}">{}</a>', table, every, _("all movements"))

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Log how many units were booked, and why."""
        delta, said = form.cleaned_data["delta"], []
        if delta:
            said = [f"Booked {delta:+d}: {form.cleaned_data['reason']}"]
        if "low_below" in form.changed_data:
            said.append(f"Low below {form.cleaned_data['low_below']}.")
        return " ".join(said)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Lead on from a product, as its page links it, to its stock record if there is only one."""
        product_id = request.GET.get("product_id", "")
        if request.GET.keys() == {"product_id"} and product_id.isdecimal() and len(product_id) < 19:
            items = StockItem.objects.filter(product_id=product_id).values_list("pk", flat=True)[:2]
            if len(items) == 1:
                return HttpResponseRedirect(reverse("admin:inventory_stockitem_change", args=[items[0]]))
        return super().changelist_view(request, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Run without Django's transaction: booking opens its own, and calls the catalogue before."""
        context = {**(extra_context or {}), "show_save_and_add_another": False}
        if item := object_id and self.get_object(request, object_id):
            title = f"{self.name(item)}, {item.location}"
            context |= {"title": title, "subtitle": None, "named": title}
        try:
            return self._changeform_view(request, object_id, form_url, context)
        except Problem as refusal:
            messages.error(request, str(refusal.detail))
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: StockItem, form: Any, change: bool) -> None:
        wanted = form.cleaned_data
        if wanted["delta"]:
            booked = services.adjust_stock(
                product_id=obj.product_id,
                location=obj.location_id,
                delta=wanted["delta"],
                reason=wanted["reason"],
                booking=wanted["booking"],
            ).at(obj.location_id)
            obj.pk, obj.on_hand, obj.reserved = booked.pk, booked.on_hand, booked.reserved
        if "low_below" in form.changed_data:
            services.set_low_below(obj.product_id, obj.location_id, wanted["low_below"])

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Location)
class LocationAdmin(DeskAdmin):
    """Where stock lies. A location that is not used any more keeps its row; book what is there out."""

    list_display = ["code", "name", "priority"]
    search_fields = ["code", "name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Location | None = None) -> list[str]:
        return ["code"] if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LineInline(ReadOnlyInline):
    model = ReservationLine
    fields = ["product_id", "location", "quantity", "shipment", "status"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReservationLine]:
        return super().get_queryset(request).select_related("location")


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ["order_id", "badge", "why", "created_at", "updated_at"]
    list_filter = ["status"]
    search_fields = ["=order_id"]
    inlines = [LineInline]

    @admin.display(description=_("reason"), ordering="reason")
    def why(self, row: Reservation) -> str:
        return words.reason(row.reason)


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "product_id", "location", "delta", "kind", "order_id", "why"]
    list_filter = ["kind", "location", "created_at"]
    search_fields = ["=product_id", "=order_id", "reason"]

    @admin.display(description=_("reason"), ordering="reason")
    def why(self, row: StockMovement) -> str:
        return words.reason(row.reason)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup == "product_id" or super().lookup_allowed(lookup, value, request)
