from rest_framework import serializers

from notifications.models import Notification, Suppression
from shop.api.schema import example
from shop.api.serializers import Boolean, Choice, ModelSerializer, Moment, Serializer


@example(
    response={
        "id": 31,
        "orderId": 42,
        "userId": 7,
        "type": "ORDER_RECEIVED",
        "channel": "EMAIL",
        "recipient": "hana@example.com",
        "subject": "주문이 접수되었습니다",
        "body": "주문번호 42",
        "status": "SENT",
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class NotificationSerializer(ModelSerializer[Notification]):
    """A notification as its recipient reads it."""

    class Meta:
        model = Notification
        fields = ["id", "order_id", "user_id", "type", "channel", "recipient", "subject", "body", "status"]
        read_only_fields = fields


SMS_OFF = {"type": "SHIPPED", "channel": "SMS", "wanted": False}


class WishSerializer(Serializer):
    """Whether something is wanted by a channel."""

    type = Choice(choices=Notification.Type.choices)
    channel = Choice(choices=Notification.Channel.choices)
    wanted = Boolean()


@example(request={"preferences": [SMS_OFF]})
class WishesSerializer(Serializer):
    """What is to be different; the rest stays as it is."""

    preferences = serializers.ListField(child=WishSerializer(), max_length=50, required=False)


class PreferenceSerializer(Serializer):
    """Whether something is wanted by a channel. What is `always` sent cannot be switched off."""

    type = Choice(choices=Notification.Type.choices, read_only=True)
    channel = Choice(choices=Notification.Channel.choices, read_only=True)
    wanted = Boolean(read_only=True)
    always = Boolean(read_only=True)


class StoppedSerializer(Serializer):
    """A channel by which nothing is sent any more: e-mails to the address came back (BOUNCED), or its owner has
    reported one as spam (COMPLAINED). Another address is written to at once."""

    channel = Choice(choices=Notification.Channel.choices, read_only=True)
    reason = Choice(choices=Suppression.Reason.choices, read_only=True)
    since = Moment(read_only=True)


@example(
    response={
        "preferences": [SMS_OFF | {"always": False}],
        "stopped": [{"channel": "EMAIL", "reason": "BOUNCED", "since": "2026-11-23T09:00:00Z"}],
    }
)
class MessagePreferencesSerializer(Serializer):
    """By which channel a customer wants to be told what, and where nothing reaches them."""

    preferences = PreferenceSerializer(many=True, read_only=True)
    stopped = StoppedSerializer(many=True, read_only=True)
