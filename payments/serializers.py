from payments.models import Payment
from shop.api.schema import example
from shop.api.serializers import ModelSerializer


@example(
    response={
        "id": 12,
        "orderId": 42,
        "userId": 7,
        "amount": 66000,
        "currency": "KRW",
        "gateway": "TOSS_PAYMENTS",
        "status": "COMPLETED",
        "captured": 66000,
        "refunded": 33000,
        "reason": "",
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class PaymentSerializer(ModelSerializer[Payment]):
    """A payment as its customer sees it, with what has been taken and given back of it. Amounts are in the currency's
    minor unit."""

    class Meta:
        model = Payment
        fields = [
            "id",
            "order_id",
            "user_id",
            "amount",
            "currency",
            "gateway",
            "status",
            "captured",
            "refunded",
            "reason",
        ]
        read_only_fields = fields
