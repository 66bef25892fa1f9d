from delivery.models import Delivery
from shop.api.schema import example
from shop.api.serializers import Choice, ModelSerializer, Serializer, Text

Status = Delivery.Status


@example(
    response={
        "id": 9,
        "orderId": 42,
        "number": 1,
        "userId": 7,
        "trackingNumber": "CJ0000000042",
        "carrier": "CJ대한통운",
        "address": "서울특별시 중구 세종대로 110",
        "status": "IN_TRANSIT",
        "reason": "",
        "handedOverAt": "2026-11-23T09:00:03Z",
        "deliveredAt": None,
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:03Z",
    }
)
class DeliverySerializer(ModelSerializer[Delivery]):
    """A delivery as its customer sees it."""

    class Meta:
        model = Delivery
        fields = [
            "id",
            "order_id",
            "number",
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


REPORTED = [(status.value, status.label) for status in (Status.IN_TRANSIT, Status.DELIVERED, Status.FAILED)]


@example(request={"eventId": "cj-1", "trackingNumber": "CJ0000000042", "status": "DELIVERED"})
class CarrierEventSerializer(Serializer):
    """What a carrier says has become of a parcel."""

    event_id = Text(
        max_length=64,
        help_text="The carrier's own. The same message again changes nothing; another with it is a 422.",
    )
    tracking_number = Text(max_length=32)
    status = Choice(choices=REPORTED)
    reason = Text(max_length=200, required=False, allow_blank=True, help_text="Why it failed.")
