from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.forms import CharField
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from delivery import reports
from delivery.models import CarrierEvent, DeadLetter, Delivery, Outbox, StaffAction
from desk import words
from desk.admin import DeadLetterAdmin, OnPage, OutboxAdmin, ReadOnlyAdmin, StaffActionAdmin

# What a parcel's page begins with: the first six two in a row; not the address, which not everybody may see.
FIRST = ["badge", "of_order", "carrier", "tracking_number", "handed_over_at", "delivered_at"]
NEXT = ["customer", "address", "why"]
INSTEAD_OF = {"id", "status", "order_id", "user_id", "reason"}

admin.site.register(StaffAction, StaffActionAdmin)

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


class DisputedFilter(admin.SimpleListFilter):
    """Parcels of which the carrier says something else than the shop."""

    title = _("disputed by the carrier")
    parameter_name = "disputed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("to be settled"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return queryset.exclude(disputed_by="") if self.value() == "1" else queryset


class SettleForm(ActionForm):
    """Beside the choice of the action: what was done about it."""

    reason = CharField(required=False, max_length=200, label=_("What was done, to settle:"))


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Deliveries are moved by their sagas, by time and by the carriers."""

    list_display = [
        "order_id", "customer", "tracking_number", "carrier", "badge", "disputed", "why", "created_at",
    ]  # fmt: skip
    list_filter = ["status", "account", DisputedFilter]
    search_fields = ["=order_id", "=user_id", "=tracking_number"]
    by_customer = as_cards = True
    hidden = {"address": "delivery.view_address", "label_url": "delivery.view_address"}
    action_form = SettleForm
    actions = ["settle"]
    on_page = {"settle": OnPage(_("Settle"), _("Somebody has seen to what the carrier says."), reason=True)}

    def get_fields(self, request: HttpRequest, obj: Delivery | None = None) -> Any:
        """What people ask first, then the rest."""
        rest = [name for name in super().get_fields(request, obj) if name not in INSTEAD_OF.union(FIRST, NEXT)]
        return [*zip(FIRST[::2], FIRST[1::2], strict=True), *NEXT, *rest]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "badge", "of_order", "customer", "why"]

    @admin.display(description=_("order"))
    def of_order(self, delivery: Delivery) -> SafeString:
        page = reverse("admin:orders_order_change", args=[delivery.order_id])
        return format_html('<a href="{}">{}</a>', page, delivery.order_id)

    def possible(self, row: Delivery) -> Collection[str]:
        return self.on_page if row.disputed_by else ()

    @admin.display(description=_("reason"), ordering="reason", empty_value="")
    def why(self, delivery: Delivery) -> str:
        return words.reason(delivery.reason)

    @admin.display(description=_("disputed by the carrier"), ordering="disputed_by", empty_value="")
    def disputed(self, delivery: Delivery) -> SafeString | str:
        if not delivery.disputed_by:
            return ""
        return format_html('<b class="stalled">{}</b>', delivery.get_disputed_by_display())

    @admin.action(description=_("Settled: somebody has seen to what the carrier says"), permissions=["change"])
    def settle(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """Clear the mark; the log keeps what was done about it."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            messages.error(request, _("Nothing was settled: say what was done, in the field beside the action."))
            return
        disputed = list(chosen.exclude(disputed_by=""))
        reports.settle(delivery.pk for delivery in disputed)
        for delivery in disputed:
            self.log_change(request, delivery, f"Settled ({delivery.disputed_by}): {reason}")
        messages.success(request, _("Settled: %d.") % len(disputed))


@admin.register(CarrierEvent)
class CarrierEventAdmin(ReadOnlyAdmin):
    """What the carriers told us."""

    list_display = ["received_at", "tracking_number", "status", "reason", "event_id"]
    list_filter = ["status"]
    search_fields = ["=tracking_number", "=event_id"]
