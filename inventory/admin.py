from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponseRedirect

from inventory import services
from inventory.models import DeadLetter, Outbox, Reservation, ReservationLine, StockItem, StockMovement
from shop.api.problems import Problem
from shop.messaging.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


class AdjustmentForm(forms.ModelForm):
    """Stock is never typed over: it is booked in or out, with a reason, and leaves a movement."""

    delta = forms.IntegerField(label="Pieces to book", help_text="Positive came, negative went.")
    reason = forms.CharField(max_length=200)

    class Meta:
        model = StockItem
        fields = ["product_id"]

    def clean_delta(self) -> int:
        delta = self.cleaned_data["delta"]
        left = self.instance.on_hand + delta
        if not delta or not self.instance.reserved <= left < 2**31:
            raise forms.ValidationError(
                f"From {self.instance.reserved - self.instance.on_hand} to a billion pieces can be booked, but not 0."
            )
        return delta


@admin.register(StockItem)
class StockItemAdmin(admin.ModelAdmin):
    list_display = ["product_id", "available", "on_hand", "reserved", "updated_at"]
    search_fields = ["product_id"]
    ordering = ["product_id"]
    form = AdjustmentForm

    def get_readonly_fields(self, request: HttpRequest, obj: StockItem | None = None) -> list[str]:
        return ["product_id", "available", "on_hand", "reserved", "updated_at"] if obj else []

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Without the transaction that Django would open here: booking opens its own, and asks the catalogue before."""
        try:
            return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined]
        except Problem as refusal:
            messages.error(request, str(refusal.detail))
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: StockItem, form: Any, change: bool) -> None:
        booked = services.adjust_stock(
            product_id=obj.product_id, delta=form.cleaned_data["delta"], reason=form.cleaned_data["reason"]
        )
        obj.on_hand, obj.reserved = booked.on_hand, booked.reserved

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LineInline(ReadOnlyInline):
    model = ReservationLine


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ["order_id", "status", "reason", "created_at", "updated_at"]
    list_filter = ["status"]
    search_fields = ["order_id"]
    inlines = [LineInline]


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "product_id", "delta", "kind", "order_id", "reason"]
    list_filter = ["kind"]
    search_fields = ["product_id", "order_id"]
