from collections.abc import Collection
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from desk.admin import DeadLetterAdmin, DeskAdmin, OnPage, ReadOnlyAdmin, StaffActionAdmin
from notifications import services, suppressions, templates
from notifications.models import (
    DeadLetter,
    MessageTemplate,
    Notification,
    StaffAction,
    Suppression,
    Webhook,
    WebhookMessage,
)
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
        "created_at",
    )
    list_filter = ("status", "type", "channel")
    search_fields = ("=order_id", "=user_id")
    by_customer = True
    hidden = {"recipient": RECIPIENT, "error": RECIPIENT}  # providers answer with the recipient, in words of their own
    show_full_result_count = False
    actions = ("send_again",)
    on_page = {"send_again": OnPage(_("Send again"), _("It gets all its attempts anew."))}

    def possible(self, row: Notification) -> Collection[str]:
        return self.on_page if row.status == Notification.Status.FAILED else ()

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


class TemplateForm(forms.ModelForm):
    """Refuses what could not be sent as it is meant. A new template has no text yet: it begins with ours."""

    def clean(self) -> dict[str, Any] | None:
        given = super().clean() or {}
        one: MessageTemplate = self.instance
        if one.pk and "body" in given:
            draft = templates.Draft(given.get("subject", ""), given["body"])
            templates.check(one.kind, one.channel, draft)
        elif given.get("kind") in templates.LETTERS_ABOUT_ACCOUNTS and given.get("channel") != "EMAIL":
            raise ValidationError({"channel": _("This is sent by e-mail only.")})
        return given


@admin.register(MessageTemplate)
class MessageTemplateAdmin(DeskAdmin):
    """What customers read. One is added with our own text, then changed, looked at, and put to use."""

    form = TemplateForm
    list_display = ("kind", "channel", "language", "subject", "in_use", "updated_at")
    list_filter = ("kind", "channel", "language", "in_use")

    def get_fields(self, request: HttpRequest, obj: MessageTemplate | None = None) -> Any:
        if obj is None:
            return ["kind", "channel", "language"]
        text = ["body"] if obj.channel == Notification.Channel.SMS else ["subject", "body"]
        return ["kind", "channel", "language", *text, "filled_in", "in_use", "preview"]

    def get_readonly_fields(self, request: HttpRequest, obj: MessageTemplate | None = None) -> list[str]:
        return ["kind", "channel", "language", "filled_in", "preview"] if obj else []

    def save_model(self, request: HttpRequest, obj: MessageTemplate, form: Any, change: bool) -> None:
        if not change:
            obj.subject, obj.body = templates.default(obj.kind, obj.channel, obj.language)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: MessageTemplate, post_url_continue: Any = None) -> HttpResponse:
        """On to its text."""
        return HttpResponseRedirect(reverse("admin:notifications_messagetemplate_change", args=[obj.pk]))

    @admin.display(description=_("filled in"))
    def filled_in(self, obj: MessageTemplate) -> str:
        """What may stand in the text."""
        return ", ".join(f"{{{name}}}" for name in templates.placeholders(obj.kind, obj.channel))

    @admin.display(description=_("preview"))
    def preview(self, obj: MessageTemplate) -> SafeString:
        """What a customer would read, with an order that does not exist."""
        text = templates.example(obj.kind, obj.channel, obj.language, templates.Draft(obj.subject, obj.body))
        return format_html('<strong>{}</strong><pre class="preview">{}</pre>', text.subject, text.body)
