from django.contrib import admin

from flights.models import DeadLetter, Flight, Seat
from sagas.admin import DeadLetterAdmin, ReadOnlyAdmin


@admin.register(Seat)
class SeatAdmin(ReadOnlyAdmin):
    list_display = ["trip_id", "flight", "status"]
    list_filter = ["status"]
    search_fields = ["=trip_id"]


admin.site.register(Flight)
admin.site.register(DeadLetter, DeadLetterAdmin)
