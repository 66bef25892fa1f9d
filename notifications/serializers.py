from notifications.models import Notification
from shop.api.schema import example
from shop.api.serializers import ModelSerializer


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
