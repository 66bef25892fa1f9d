from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from orders import services
from orders.models import DeadLetter, Order, OrderLine, Outbox, TimelineEntry
from shop.api.problems import Problem
from shop.messaging.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin, ReadOnlyInline

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


class LineInline(ReadOnlyInline):
    model = OrderLine


class TimelineInline(ReadOnlyInline):
    model = TimelineEntry
    fields = ["at", "service", "event", "status", "detail"]


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders are moved by their sagas; what staff can do is ask for a cancellation, or wake one up."""

    list_display = ["id", "user_id", "status", "total_price", "currency", "cancellation_reason", "created_at"]
    list_filter = ["status", "payment_gateway"]
    search_fields = ["id", "user_id", "tracking_number"]
    inlines = [LineInline, TimelineInline]
    actions = ["cancel", "resume"]

    @admin.action(description="Cancel the selected orders", permissions=["change"])
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """Ask for each to be cancelled; say which cannot be."""
        asked = 0
        for order_id in orders.values_list("pk", flat=True):
            try:
                services.request_cancellation(order_id)
                asked += 1
            except Problem as refusal:
                messages.warning(request, str(refusal.detail))
        messages.success(request, f"{asked} cancellations asked for; delivery decides.")

    @admin.action(description="Emit the selected orders' events again", permissions=["change"])
    def resume(self, request: HttpRequest, orders: QuerySet[Order]) -> None:
        """What `manage.py redrive` does."""
        woken = services.rearm_open(orders.values_list("pk", flat=True))
        messages.success(request, f"{len(woken)} unfinished orders are emitted again.")
