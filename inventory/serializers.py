from typing import Any

from drf_spectacular.utils import extend_schema_field

from shop.api.schema import example
from shop.api.serializers import Identifier, Integer, Moment, Serializer, Text

MOST_PIECES = 1_000_000_000


class StockSerializer(Serializer):
    """A product's stock as everybody may see it."""

    product_id = Identifier(read_only=True)
    quantity = Integer(source="available", read_only=True, help_text="Units that can be sold now.")


class LocatedStockSerializer(Serializer):
    """A product's stock at one location."""

    location = Text(source="location_id", read_only=True, help_text="The location's code.")
    quantity = Integer(source="available", read_only=True, help_text="Units that can be sold now.")
    on_hand = Integer(read_only=True)
    reserved = Integer(read_only=True)


@example(
    response={
        "productId": 7,
        "quantity": 148,
        "onHand": 150,
        "reserved": 2,
        "locations": [
            {"location": "MAIN", "quantity": 98, "onHand": 100, "reserved": 2},
            {"location": "BUSAN", "quantity": 50, "onHand": 50, "reserved": 0},
        ],
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class StaffStockSerializer(Serializer):
    """A product's stock as staff see it, with what is on hand and what is reserved, together and by location."""

    product_id = Identifier(read_only=True)
    quantity = Integer(source="available", read_only=True, help_text="Units that can be sold now.")
    on_hand = Integer(read_only=True)
    reserved = Integer(read_only=True)
    locations = LocatedStockSerializer(source="items", many=True, read_only=True)
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


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


@example(request={"delta": 50, "reason": "Delivery note 4711", "location": "MAIN"})
class AdjustmentSerializer(Serializer):
    """Units to book in or out."""

    delta = Delta(help_text="Positive books in, negative books out.")
    reason = Text(max_length=200)
    location = Text(
        max_length=16, required=False, help_text="The location's code; without it, the first location is meant."
    )
