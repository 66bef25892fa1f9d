from notifications.models import Notification
from shop.api.serializers import ModelSerializer


class NotificationSerializer(ModelSerializer):
    """A notification as its recipient reads it."""

    class Meta:
        model = Notification
        fields = ["id", "order_id", "user_id", "type", "channel", "recipient", "subject", "body", "status"]
        read_only_fields = fields
