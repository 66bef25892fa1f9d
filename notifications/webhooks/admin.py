from collections.abc import Collection
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from desk.admin import OnPage, ReadOnlyAdmin
from notifications.webhooks import owners, subscriptions
from notifications.webhooks.models import Webhook, WebhookMessage
from sagas.outages import OUTAGES

SHOWN: Any = [
    "url", "its_messages", "owner_id", "events", "description", "enabled", "disabled_reason", "failures",
    "failing_since", "free_at", "created_at", "updated_at",
]  # fmt: skip


class StateFilter(admin.SimpleListFilter):
    """Whether a subscriber takes what it is sent."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("well", _("well")),
            ("failing", _("failing")),
            ("dead", _("disabled: dead")),
            ("off", _("switched off")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> QuerySet[Webhook]:
        match self.value():
            case "well":
                return queryset.filter(enabled=True, failing_since=None)
            case "failing":
                return queryset.filter(enabled=True, failing_since__isnull=False)
            case "dead":
                return queryset.filter(enabled=False).exclude(disabled_reason="")
            case "off":
                return queryset.filter(enabled=False, disabled_reason="")
        return queryset


class WebhookAdmin(ReadOnlyAdmin):
    """Webhook subscriptions: created through the API; staff can inspect, test, enable and disable them."""

    list_display = ["id", "url", "owner_id", "state", "failing_since", "disabled_reason"]
    list_filter = [StateFilter]
    search_fields = ["=id", "=owner_id", "url"]
    exclude = ["secret", "former_secret", "former_until"]
    fields = SHOWN
    actions = ["enable", "disable", "ping"]
    on_page = {
        "enable": OnPage(_("Enable"), _("What is waiting is sent now.")),
        "disable": OnPage(_("Disable"), _("Nothing is sent until it is enabled again; until then messages wait.")),
        "ping": OnPage(_("Send a test message"), _("The subscriber gets a message that means nothing.")),
    }
    logged_by_services = True

    def possible(self, row: Webhook) -> Collection[str]:
        return ("disable", "ping") if row.enabled else ("enable", "ping")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    @admin.display(description=_("messages"))
    def its_messages(self, webhook: Webhook) -> SafeString:
        page = f"{reverse('admin:notifications_webhookmessage_changelist')}?q={webhook.pk}"
        return format_html('<a href="{}">{}</a>', page, _("its messages"))

    @admin.display(description=_("state"))
    def state(self, webhook: Webhook) -> Any:
        if webhook.enabled:
            return _("failing") if webhook.failing_since else _("well")
        return _("disabled: dead") if webhook.disabled_reason else _("switched off")

    @admin.action(description=_("Enable, and try again what is waiting"), permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        """Also asks what the owners may be told now."""
        try:
            lacking = owners.lacking(chosen)
        except OUTAGES:
            messages.error(
                request, _("Accounts is away: nobody knows what the owners may be told. Nothing was enabled.")
            )
            return
        for pk, rights in lacking.items():
            if rights:
                said = _("Webhook %(id)d stays disabled: its owner has not the right %(rights)s.")
                messages.error(request, said % {"id": pk, "rights": ", ".join(rights)})
        self._change(request, [one for one in chosen if not lacking[one.pk]], enabled=True)

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        self._change(request, list(chosen), enabled=False)

    @admin.action(description=_("Send a test message"), permissions=["change"])
    def ping(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        for webhook in chosen:
            subscriptions.ping(webhook.pk)
        messages.success(request, _("Test messages that will be sent now: %d.") % len(chosen))

    def _change(self, request: HttpRequest, chosen: Collection[Webhook], *, enabled: bool) -> None:
        for webhook in chosen:
            subscriptions.change(webhook.pk, enabled=enabled)
        messages.success(request, _("Webhooks changed: %d.") % len(chosen))


class WebhookMessageAdmin(ReadOnlyAdmin):
    """What webhooks were told: to read, and to send again, one or all that a filter leaves."""

    list_display = [
        "id",
        "webhook_id",
        "type",
        "order_id",
        "status",
        "attempts",
        "answer",
        "error",
        "created_at",
        "sent_at",
    ]
    list_filter = ["status", "type", "created_at"]
    search_fields = ["=id", "=order_id", "=event_id", "=webhook_id"]
    show_full_result_count = False
    actions = ["replay"]
    on_page = {"replay": OnPage(_("Send again"), _("With the id that it had, so that the subscriber can tell."))}
    logged_by_services = True

    def possible(self, row: WebhookMessage) -> Collection[str]:
        return () if row.status == WebhookMessage.Status.PENDING else self.on_page

    @admin.action(description=_("Send again"), permissions=["change"])
    def replay(self, request: HttpRequest, chosen: QuerySet[WebhookMessage]) -> None:
        """Also those that have arrived: with the ids that they had."""
        count = subscriptions.replay_messages(chosen)
        messages.success(request, _("Messages that will be sent again: %d.") % count)
