from django.contrib import admin

from cars.models import DeadLetter, Rental
from sagas.admin import DeadLetterAdmin, ReadOnlyAdmin


@admin.register(Rental)
class RentalAdmin(ReadOnlyAdmin):
    list_display = ["trip_id", "status"]
    list_filter = ["status"]
    search_fields = ["=trip_id"]


admin.site.register(DeadLetter, DeadLetterAdmin)
