from typing import Any

from rest_framework import serializers

from notifications.webhooks.events import PING, TYPES
from notifications.webhooks.models import Webhook, WebhookMessage
from shop.api.schema import example
from shop.api.serializers import Boolean, Choice, Integer, ModelSerializer, Moment, Serializer, Text, Url

URL, EVENTS = "https://erp.example.com/shop", ["order.paid", "order.cancelled"]
SHOWN = {
    "id": 3,
    "ownerId": 12,
    "url": URL,
    "events": EVENTS,
    "description": "ERP",
    "enabled": True,
    "disabledReason": "",
    "failingSince": None,
    "createdAt": "2026-11-23T09:00:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}
MESSAGE = {
    "id": 3107,
    "eventId": "019ac1b0-5d2e-7c61-8d0f-3b9a51c0c7ab",
    "type": "order.paid",
    "orderId": 42,
    "status": "SENT",
    "attempts": 1,
    "answer": 200,
    "error": "",
    "dueAt": "2026-11-23T09:00:00Z",
    "sentAt": "2026-11-23T09:00:01Z",
    "createdAt": "2026-11-23T09:00:00Z",
}
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD5u+5fWl5rJY="  # noqa: S105  # nosec B105


def _events(**options: Any) -> Any:
    return serializers.ListField(child=Choice(choices=list(TYPES)), allow_empty=False, max_length=len(TYPES), **options)


@example(request={"url": URL, "events": EVENTS, "description": "ERP"})
class WebhookInput(Serializer):
    """Where a program wants to be told, and of what."""

    url = Url(secure=True, max_length=500)
    events = _events()
    description = Text(max_length=200, required=False, allow_blank=True)


@example(request={"enabled": True})
class WebhookChange(Serializer):
    """What is to be different. With `enabled` one that was disabled is tried again."""

    url = Url(secure=True, max_length=500, required=False)
    events = _events(required=False)
    description = Text(max_length=200, required=False, allow_blank=True)
    enabled = Boolean(required=False)


@example(response=SHOWN)
class WebhookSerializer(ModelSerializer[Webhook]):
    """A subscription. One that has taken nothing for three days is disabled, and says why."""

    events = _events(read_only=True)
    failing_since = Moment(read_only=True, allow_null=True)

    class Meta:
        model = Webhook
        fields = ["id", "owner_id", "url", "events", "description", "enabled", "disabled_reason", "failing_since"]
        read_only_fields = fields


@example(response=SHOWN | {"secret": SECRET})
class NewWebhookSerializer(WebhookSerializer):
    """A subscription, with the secret that its messages are signed with: it is shown this once."""

    secret = serializers.CharField(read_only=True, source="shown_secret")

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]


@example(response={"secret": SECRET})
class SecretSerializer(Serializer):
    """The secret that signs from now on."""

    secret = serializers.CharField(read_only=True)


@example(response=MESSAGE)
class WebhookMessageSerializer(ModelSerializer[WebhookMessage]):
    """One event for one subscription: whether it was taken, and the HTTP status that was answered last."""

    type = Choice(choices=[*TYPES, PING], read_only=True)
    answer = Integer(read_only=True, allow_null=True)
    order_id = Integer(read_only=True, allow_null=True)
    sent_at = Moment(read_only=True, allow_null=True)
    updated_at = None  # type: ignore[assignment]

    class Meta:
        model = WebhookMessage
        fields = ["id", "event_id", "type", "order_id", "status", "attempts", "answer", "error", "due_at", "sent_at"]
        read_only_fields = fields

    def get_field_names(self, declared_fields: Any, info: Any) -> list[str]:
        return [*self.Meta.fields, "created_at"]


@example(request={"since": "2026-11-23T09:00:00Z"})
class ReplayInput(Serializer):
    """From when on everything is to be sent again."""

    since = Moment()


@example(response={"messages": 17})
class ReplayedSerializer(Serializer):
    """How many messages are on their way again."""

    messages = Integer(read_only=True)
