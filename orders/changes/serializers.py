"""Changes as they are asked for over HTTP, and as they are shown."""

from typing import Any

from rest_framework import serializers

from orders.models import OrderChange
from orders.serializers import MOST_LINES, MOST_PIECES
from shop.api.schema import example
from shop.api.serializers import Choice, Identifier, Integer, Lines, Moment, Serializer, Text
from shop.money import LARGEST


class WantedLine(Serializer):
    """How many pieces of a product the order is to have; 0 for none."""

    product_id = Identifier()
    quantity = Integer(min_value=0, max_value=MOST_PIECES)


class ChangeLineSerializer(Serializer):
    """So many pieces of a product fewer, and what they cost."""

    product_id = Identifier(read_only=True)
    product_name = Text(read_only=True)
    unit_price = Integer(read_only=True)
    quantity = Integer(read_only=True, help_text="Less than nothing is taken away.")
    line_total = Integer(read_only=True)


@example(
    response={
        "id": "0193579a-0000-7000-8000-000000000001",
        "status": "REQUESTED",
        "items": [
            {
                "productId": 7,
                "productName": "클린 코드",
                "unitPrice": 33000,
                "quantity": -1,
                "lineTotal": -33000,
            }
        ],
        "amount": -33000,
        "address": "서울특별시 종로구 사직로 161",
        "reason": "one is enough",
        "refusal": "",
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    },
)
class ChangeSerializer(Serializer):
    """A change of an order before its parcel is handed over."""

    id = serializers.UUIDField(read_only=True)
    status = Choice(choices=OrderChange.Status.choices, read_only=True)
    items = ChangeLineSerializer(many=True, read_only=True, source="pieces")
    amount = Integer(read_only=True, help_text="What there is to pay for it; less than nothing is given back.")
    address = Lines(
        read_only=True,
        source="new_address",
        help_text="Where the order goes by it; empty if that stays, or was refused or long ago.",
    )
    reason = Text(read_only=True)
    refusal = Text(read_only=True, help_text="Why the order stays as it was.")
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


class ChangeInput(Serializer):
    """What an order is to be like: `items`, `address` or both. What is not named stays."""

    items = serializers.ListField(child=WantedLine(), required=False, allow_empty=False, max_length=MOST_LINES)
    address = Lines(required=False, max_length=500, help_text="Where it is to be delivered instead.")
    reason = Text(required=False, max_length=200, help_text="Why; for the shop.")
    expected_total = Integer(
        required=False,
        min_value=0,
        max_value=LARGEST,
        help_text="What the order is to cost then, as it was seen: another total is refused.",
    )

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        if "items" in fields:
            fields["items"].source = "quantities"  # `items` is a method of the dict that validation returns
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        lines = attrs.get("quantities", [])
        if not lines and "address" not in attrs:
            raise serializers.ValidationError("Give items, an address, or both.")
        quantities = {line["product_id"]: line["quantity"] for line in lines}
        if len(quantities) < len(lines):
            raise serializers.ValidationError({"items": ["Name each product once, with its whole quantity."]})
        return {**attrs, "quantities": quantities}


# The two forms apart, as those of an order.
class ChangeOfPieces(ChangeInput):
    """Fewer pieces, and perhaps another address."""

    items = serializers.ListField(child=WantedLine(), allow_empty=False, max_length=MOST_LINES)


class ChangeOfAddress(ChangeInput):
    """Another address for what was ordered."""

    items = None  # type: ignore[assignment]
    address = Lines(max_length=500, help_text="Where it is to be delivered instead.")
