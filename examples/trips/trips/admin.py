from django.contrib import admin

from sagas.admin import DeadLetterAdmin, OutboxAdmin, ReadOnlyAdmin
from trips.models import DeadLetter, Outbox, Trip


@admin.register(Trip)
class TripAdmin(ReadOnlyAdmin):
    list_display = ["id", "flight", "hotel", "car", "status", "touched_at"]
    list_filter = ["status"]


admin.site.register(Outbox, OutboxAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
