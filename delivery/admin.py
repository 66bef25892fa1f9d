from django.contrib import admin

from delivery.models import CarrierEvent, DeadLetter, Delivery, Outbox
from shop.desk.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Deliveries are moved by their sagas, by time and by the carriers."""

    list_display = ["order_id", "customer", "tracking_number", "carrier", "badge", "reason", "due_at", "created_at"]
    list_filter = ["status", "carrier"]
    search_fields = ["=order_id", "=user_id", "=tracking_number"]
    by_customer = True


@admin.register(CarrierEvent)
class CarrierEventAdmin(ReadOnlyAdmin):
    """What the carriers told us."""

    list_display = ["received_at", "tracking_number", "status", "reason", "event_id"]
    list_filter = ["status"]
    search_fields = ["=tracking_number", "=event_id"]
