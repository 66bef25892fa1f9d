from payments.models import Payment
from shop.api.serializers import ModelSerializer


class PaymentSerializer(ModelSerializer):
    """A payment as its customer sees it; the amount is in the currency's minor unit."""

    class Meta:
        model = Payment
        fields = ["id", "order_id", "user_id", "amount", "currency", "gateway", "status", "reason"]
        read_only_fields = fields
