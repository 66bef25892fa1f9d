from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from desk.admin import DeadLetterAdmin, ReadOnlyAdmin, StaffActionAdmin
from notifications import services, suppressions
from notifications.models import DeadLetter, Notification, StaffAction, Suppression, Webhook, WebhookMessage
from notifications.webhooks.admin import WebhookAdmin, WebhookMessageAdmin
from shop.api.permissions import may

admin.site.register(StaffAction, StaffActionAdmin)

RECIPIENT = "notifications.view_recipient"

admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Webhook, WebhookAdmin)
admin.site.register(WebhookMessage, WebhookMessageAdmin)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """What customers were told: to read, and to send once more what could not be sent."""

    list_display = (
        "id",
        "order_id",
        "customer",
        "type",
        "channel",
        "recipient",
        "badge",
        "attempts",
        "created_at",
        "sent_at",
    )
    list_filter = ("status", "type", "channel")
    search_fields = ("=order_id", "=user_id")
    by_customer = True
    hidden = {"recipient": RECIPIENT, "error": RECIPIENT}  # providers answer with the recipient, in words of their own
    show_full_result_count = False
    actions = ("send_again",)

    @admin.action(description=_("Send again what has failed"), permissions=["change"])
    def send_again(self, request: HttpRequest, chosen: QuerySet[Notification]) -> None:
        """FAILED ones get all their attempts anew; what is sent or pending already is left as it is."""
        count = services.send_again(chosen.values_list("pk", flat=True))
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, _("Had failed and will be sent now: %d.") % count, level)


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    """Addresses that nothing is sent to any more: found by their customer or as they are written, and lifted."""

    list_display = ("id", "customer", "channel", "reason", "detail", "since")
    list_filter = ("channel", "reason", "since")
    by_customer = True
    hidden = {"detail": RECIPIENT}
    actions = ("lift",)
    search_fields = ("=address_hash",)
    search_help_text = _("A customer's name, number or e-mail address, or the address that nothing is sent to.")
    logged_by_services = True

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Suppression], search_term: str
    ) -> tuple[QuerySet[Suppression], bool]:
        """Also by an address, in clear text."""
        found, distinct = super().get_search_results(request, queryset, search_term)
        if "@" in search_term and may(request.user, RECIPIENT):
            found |= queryset.filter(address_hash=suppressions.address_hash(search_term))
        return found, distinct

    @admin.action(description=_("Send there again"), permissions=["change"])
    def lift(self, request: HttpRequest, chosen: QuerySet[Suppression]) -> None:
        """What was not sent meanwhile is not sent later."""
        count = suppressions.lift(chosen.values_list("pk", flat=True))
        messages.success(request, _("Addresses that are sent to again: %d.") % count)
