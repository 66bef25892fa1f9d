from django.contrib import admin

from hotels.models import DeadLetter, Hotel, Room
from sagas.admin import DeadLetterAdmin, ReadOnlyAdmin


@admin.register(Room)
class RoomAdmin(ReadOnlyAdmin):
    list_display = ["trip_id", "hotel", "status"]
    list_filter = ["status"]
    search_fields = ["=trip_id"]


admin.site.register(Hotel)
admin.site.register(DeadLetter, DeadLetterAdmin)
