from typing import Any

from drf_spectacular.utils import extend_schema_field

from inventory.models import StockItem
from shop.api.schema import example
from shop.api.serializers import Identifier, Integer, ModelSerializer, Serializer, Text

MOST_PIECES = 1_000_000_000


class StockSerializer(Serializer):
    """A product's stock as everybody may see it."""

    product_id = Identifier(read_only=True)
    quantity = Integer(source="available", read_only=True, help_text="Units that can be sold now.")


@example(
    response={
        "productId": 7,
        "quantity": 148,
        "onHand": 150,
        "reserved": 2,
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class StaffStockSerializer(ModelSerializer[StockItem]):
    """A product's stock as staff see it, with what is on hand and what is reserved."""

    quantity = Integer(source="available", read_only=True, help_text="Units that can be sold now.")

    class Meta:
        model = StockItem
        fields = ["product_id", "quantity", "on_hand", "reserved"]
        read_only_fields = fields


@extend_schema_field(
    {"type": "integer", "minimum": -MOST_PIECES, "maximum": MOST_PIECES, "not": {"const": 0}},
)
class Delta(Integer):
    """A number of units, positive or negative."""

    default_error_messages = {"zero": "An adjustment must not be zero."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": -MOST_PIECES, "max_value": MOST_PIECES} | kwargs)

    def to_internal_value(self, data: Any) -> int:
        delta = super().to_internal_value(data)
        if delta == 0:
            self.fail("zero")
        return delta


@example(request={"delta": 50, "reason": "Delivery note 4711"})
class AdjustmentSerializer(Serializer):
    """Units to book in or out."""

    delta = Delta(help_text="Positive books in, negative books out.")
    reason = Text(max_length=200)
