from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from desk.admin import DeadLetterAdmin, ReadOnlyAdmin, StaffActionAdmin
from notifications import services
from notifications.models import DeadLetter, Notification, StaffAction, Webhook, WebhookMessage
from notifications.webhooks.admin import WebhookAdmin, WebhookMessageAdmin

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
