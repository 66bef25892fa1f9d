from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from desk.admin import ReadOnlyAdmin
from notifications.webhooks import subscriptions
from notifications.webhooks.models import Webhook, WebhookMessage

SHOWN: Any = ["url", "owner_id", "events", "description", "enabled", "disabled_reason", "failures", "failing_since",
              "free_at", "created_at", "updated_at"]  # fmt: skip


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
    logged_by_services = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return SHOWN

    @admin.display(description=_("state"))
    def state(self, webhook: Webhook) -> Any:
        if webhook.enabled:
            return _("failing") if webhook.failing_since else _("well")
        return _("disabled: dead") if webhook.disabled_reason else _("switched off")

    @admin.action(description=_("Enable, and try again what is waiting"), permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        self._change(request, chosen, enabled=True)

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        self._change(request, chosen, enabled=False)

    @admin.action(description=_("Send a test message"), permissions=["change"])
    def ping(self, request: HttpRequest, chosen: QuerySet[Webhook]) -> None:
        for webhook in chosen:
            subscriptions.ping(webhook.pk)
        messages.success(request, _("Test messages that will be sent now: %d.") % len(chosen))

    def _change(self, request: HttpRequest, chosen: QuerySet[Webhook], *, enabled: bool) -> None:
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
    logged_by_services = True

    @admin.action(description=_("Send again"), permissions=["change"])
    def replay(self, request: HttpRequest, chosen: QuerySet[WebhookMessage]) -> None:
        """Also those that have arrived: with the ids that they had."""
        count = subscriptions.replay_messages(chosen)
        messages.success(request, _("Messages that will be sent again: %d.") % count)
