from rest_framework import serializers

from inventory.models import StockItem
from shop.api.serializers import Identifier, Integer, ModelSerializer, Serializer, Text

MOST_PIECES = 1_000_000_000


class StockSerializer(Serializer):
    """What anybody may know of a product's stock."""

    product_id = Identifier(read_only=True)
    quantity = Integer(source="available", read_only=True, help_text="Pieces that can be sold now.")


class StaffStockSerializer(ModelSerializer):
    """The same for staff, with what lies on the shelf and what is promised."""

    quantity = Integer(source="available", read_only=True, help_text="Pieces that can be sold now.")

    class Meta:
        model = StockItem
        fields = ["product_id", "quantity", "on_hand", "reserved"]
        read_only_fields = fields


class AdjustmentSerializer(Serializer):
    """Pieces booked in or out."""

    delta = Integer(min_value=-MOST_PIECES, max_value=MOST_PIECES, help_text="Positive came, negative went.")
    reason = Text(max_length=200)

    def validate_delta(self, delta: int) -> int:
        if delta == 0:
            raise serializers.ValidationError("An adjustment changes something.")
        return delta
