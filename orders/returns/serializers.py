from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from orders.returns.decisions import Found
from orders.returns.models import Return, ReturnLine
from orders.serializers import MOST_LINES, MOST_PIECES, LineInput
from shop.api.schema import example
from shop.api.serializers import Choice, Identifier, Integer, Lines, ModelSerializer, Serializer, Text
from shop.contracts.events import Line
from shop.money import LARGEST

REQUESTED: dict[str, Any] = {
    "id": 43,
    "orderId": 42,
    "userId": 7,
    "kind": "REFUND",
    "status": "REQUESTED",
    "reason": "the wrong edition",
    "refusal": "",
    "trackingNumber": "",
    "currency": "KRW",
    "refundDue": None,
    "kept": 0,
    "refunded": 0,
    "exchangeOrderId": None,
    "items": [
        {
            "productId": 7,
            "quantity": 1,
            "unitPrice": 33000,
            "exchangeProductId": None,
            "accepted": 0,
            "writtenOff": 0,
            "rejected": 0,
        }
    ],
    "createdAt": "2026-11-26T09:00:00Z",
    "updatedAt": "2026-11-26T09:00:00Z",
}


class ReturnLineInput(LineInput):
    """So many pieces of a product that are sent back, and what they are exchanged for."""

    exchange_product_id = Identifier(
        required=False,
        help_text="Of an EXCHANGE: another product, which costs what was paid for the piece. Unless given, the same.",
    )


@example(
    request={"items": [{"productId": 7, "quantity": 1}], "reason": "the wrong edition"},
    Exchange={"items": [{"productId": 7, "quantity": 1, "exchangeProductId": 8}], "kind": "EXCHANGE"},
)
class ReturnInput(Serializer):
    """What is to come back: each product once, with as many pieces as are sent back."""

    items = serializers.ListField(child=ReturnLineInput(), allow_empty=False, max_length=MOST_LINES)
    reason = Text(max_length=200, allow_blank=True, required=False, help_text="For the shop; nobody has to give one.")
    kind = Choice(
        choices=Return.Kind.choices,
        required=False,
        help_text="REFUND unless given. An EXCHANGE brings other pieces, in an order that costs nothing; what does not "
        "arrive is refunded.",
    )

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["items"].source = "lines"  # `items` is a method of the dict that validation returns
        return fields

    def validate_items(self, lines: list[Mapping[str, int]]) -> list[Mapping[str, int]]:
        if len({line["product_id"] for line in lines}) < len(lines):
            raise serializers.ValidationError("Name each product once, with all its pieces.")
        return lines

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        lines = attrs["lines"]
        exchanges = {
            line["product_id"]: other
            for line in lines
            if (other := line.get("exchange_product_id")) not in (None, line["product_id"])
        }
        if attrs.get("kind") != Return.Kind.EXCHANGE and any("exchange_product_id" in line for line in lines):
            raise serializers.ValidationError({"kind": ["Only an EXCHANGE has an exchangeProductId."]})
        wanted = [Line(line["product_id"], line["quantity"]) for line in lines]
        return {**attrs, "lines": wanted, "exchanges": exchanges}


class ReturnLineSerializer(ModelSerializer[ReturnLine]):
    """Pieces of a product, and what was found of them."""

    class Meta:
        model = ReturnLine
        fields = ["product_id", "quantity", "unit_price", "exchange_product_id", "accepted", "written_off", "rejected"]
        read_only_fields = fields

    created_at = updated_at = None  # type: ignore[assignment]

    def get_field_names(self, declared_fields: Any, info: Any) -> list[str]:
        return list(self.Meta.fields)


@example(response=REQUESTED)
class ReturnSerializer(ModelSerializer[Return]):
    """A return. Amounts are in the currency's minor unit; `refundDue` is known once it is inspected, and of an exchange
    what did not arrive of it, once its order has ended."""

    order_id = Identifier(read_only=True)
    exchange_order_id = Identifier(
        read_only=True, allow_null=True, help_text="The order that brings what it is exchanged for."
    )
    items = ReturnLineSerializer(many=True, read_only=True, source="lines")

    class Meta:
        model = Return
        fields = [
            *("id", "order_id", "user_id", "kind", "status", "reason", "refusal", "tracking_number", "currency"),
            *("refund_due", "kept", "refunded", "exchange_order_id", "items"),
        ]
        read_only_fields = fields


@example(request={"reason": "worn"})
class RefusalInput(Serializer):
    """Why nothing is taken back."""

    reason = Lines(max_length=200, help_text="The customer reads it.")


class FoundInput(Serializer):
    """What was found of a product; together, all its pieces."""

    product_id = Identifier()
    accepted = Integer(min_value=0, max_value=MOST_PIECES, required=False, help_text="Paid back, and to be sold again.")
    written_off = Integer(min_value=0, max_value=MOST_PIECES, required=False, help_text="Paid back, not to be sold.")
    rejected = Integer(min_value=0, max_value=MOST_PIECES, required=False, help_text="Not paid back.")


@example(request={"items": [{"productId": 7, "accepted": 1}]})
class InspectionInput(Serializer):
    """What was found of each product."""

    items = serializers.ListField(child=FoundInput(), allow_empty=False, max_length=MOST_LINES)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        fields["items"].source = "found"
        return fields

    def validate_items(self, lines: list[Mapping[str, int]]) -> dict[int, Found]:
        found = {
            line["product_id"]: Found(*(line.get(name, 0) for name in ("accepted", "written_off", "rejected")))
            for line in lines
        }
        if len(found) < len(lines):
            raise serializers.ValidationError("Name each product once.")
        return found


@example(request={"amount": 33000})
class AmountInput(Serializer):
    """How much is refunded now; 0 if that was settled in another way."""

    amount = Integer(min_value=0, max_value=LARGEST, help_text="In the currency's minor unit.")
