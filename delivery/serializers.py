from delivery.models import Delivery
from shop.api.serializers import Choice, ModelSerializer, Serializer, Text


class DeliverySerializer(ModelSerializer):
    """A delivery as its customer sees it."""

    class Meta:
        model = Delivery
        fields = [
            "id",
            "order_id",
            "user_id",
            "tracking_number",
            "carrier",
            "address",
            "status",
            "reason",
            "handed_over_at",
            "delivered_at",
        ]
        read_only_fields = fields


class CarrierEventSerializer(Serializer):
    """What a carrier says has become of a parcel."""

    event_id = Text(max_length=64, help_text="The carrier's own: a second message with it changes nothing.")
    tracking_number = Text(max_length=32)
    status = Choice(choices=[Delivery.Status.IN_TRANSIT, Delivery.Status.DELIVERED, Delivery.Status.FAILED])
    reason = Text(max_length=200, required=False, allow_blank=True, help_text="Why it failed.")
