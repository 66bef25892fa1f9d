"""Orders as they are placed over HTTP, and as they are shown."""

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from orders.models import Order, OrderLine, OrderShipment, Refund, TimelineEntry
from shop.api.schema import example
from shop.api.serializers import Choice, Identifier, Integer, Lines, ModelSerializer, Moment, Serializer, Text
from shop.contracts.events import Line
from shop.money import LARGEST

MOST_PIECES, MOST_LINES = 1000, 100


class LineInput(Serializer):
    """So many pieces of a product. There is no price here: it is the catalogue's."""

    product_id = Identifier()
    quantity = Integer(min_value=1, max_value=MOST_PIECES)


@extend_schema_field({"type": "string", "enum": list(settings.PAYMENT_GATEWAYS)})
class Gateway(Text):
    """A payment gateway. Which there are is for `services` to say: another one is PAY005."""


class OrderInput(Serializer):
    """An order of one product (`productId`, `quantity`), or of several (`items`)."""

    product_id = Identifier(required=False)
    quantity = Integer(required=False, min_value=1, max_value=MOST_PIECES)
    items = serializers.ListField(child=LineInput(), required=False, allow_empty=False, max_length=MOST_LINES)
    user_id = Identifier(required=False, help_text="Your own id; staff may order for others.")
    address = Lines(max_length=500, help_text="Where it is to be delivered.")
    payment_gateway = Gateway(required=False, max_length=32)
    payment_token = Text(
        max_length=64,
        required=False,
        help_text="What the gateway charges, as its own form gave it. Without one, the customer pays on a page of the "
        "gateway, if it has one: `nextAction`.",
    )
    expected_total = Integer(
        required=False, min_value=1, max_value=LARGEST, help_text="The total that was seen: another one is refused."
    )

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        if "items" in fields:
            fields["items"].source = "lines"  # `items` is a method of the dict that validation returns
        return fields

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        single = {"product_id", "quantity"} & attrs.keys()
        if bool(single) == ("lines" in attrs):
            raise serializers.ValidationError("Give either productId and quantity, or items.")
        if single:
            missing = {"product_id": "productId", "quantity": "quantity"}.items()
            if errors := {wire: ["This field is required."] for name, wire in missing if name not in attrs}:
                raise serializers.ValidationError(errors)
            attrs["lines"] = [{"product_id": attrs.pop("product_id"), "quantity": attrs.pop("quantity")}]
        gateway = settings.PAYMENT_GATEWAYS.get(attrs.get("payment_gateway", settings.DEFAULT_PAYMENT_GATEWAY))
        if gateway and gateway.needs_token and "payment_token" not in attrs:
            raise serializers.ValidationError({"paymentToken": ["This field is required."]})
        lines = [Line(**line) for line in attrs["lines"]]
        if len({line.product_id for line in lines}) < len(lines):
            raise serializers.ValidationError({"items": ["Name each product once, with its whole quantity."]})
        return {**attrs, "lines": lines}


# The two forms apart, as the schema shows them: generators make no types of what is required only sometimes.
class OrderOfOneProduct(OrderInput):
    """An order of one product."""

    items = None  # type: ignore[assignment]
    product_id = Identifier()
    quantity = Integer(min_value=1, max_value=MOST_PIECES)

    def get_initial(self) -> dict[str, Any]:
        """What the form of the browsable API begins with."""
        return {"productId": 7, "quantity": 2, "address": "", "paymentToken": "tok_ok" if settings.SANDBOX else ""}


class OrderOfSeveralProducts(OrderInput):
    """An order of several products, each of them named once."""

    product_id = quantity = None  # type: ignore[assignment]
    items = serializers.ListField(child=LineInput(), allow_empty=False, max_length=MOST_LINES)


@example(
    request={"amount": 10000, "reason": "arrived with a scratch"},
    response={
        "id": "0193579a-0000-7000-8000-000000000001",
        "amount": 10000,
        "reason": "arrived with a scratch",
        "status": "REQUESTED",
        "refusal": "",
        "returnId": None,
        "shipment": None,
        "createdAt": "2026-11-23T09:00:00Z",
    },
)
class RefundSerializer(Serializer):
    """A part of an order's money that is given back."""

    id = serializers.UUIDField(read_only=True)
    amount = Integer(min_value=1, max_value=LARGEST, help_text="In the currency's minor unit.")
    reason = Text(max_length=200, help_text="Why; for the books.")
    status = Choice(choices=Refund.Status.choices, read_only=True)
    refusal = Text(read_only=True)
    return_id = Identifier(read_only=True, allow_null=True, source="for_return_id", help_text="That it pays back.")
    shipment = Integer(
        read_only=True, allow_null=True, source="for_shipment", help_text="Of several, which did not arrive."
    )
    created_at = Moment(read_only=True)


class LineSerializer(ModelSerializer[OrderLine]):
    """What was ordered of a product, at the price of that moment."""

    line_total = Integer(read_only=True)

    class Meta:
        model = OrderLine
        fields = ["product_id", "product_name", "unit_price", "quantity", "line_total"]

    created_at = updated_at = None  # type: ignore[assignment]

    def get_field_names(self, declared_fields: Any, info: Any) -> list[str]:
        return list(self.Meta.fields)


class TimelineSerializer(serializers.ModelSerializer[TimelineEntry]):
    """Something that has happened to an order."""

    at = Moment(read_only=True)

    class Meta:
        model = TimelineEntry
        fields = ["at", "service", "event", "detail"]


class NextActionSerializer(Serializer):
    """What the customer has to do for the order to go on."""

    url = Text(help_text="Where to send the customer, who pays there.")
    until = Moment(help_text="The order waits until then.")


PLACED = {
    "id": 42,
    "userId": 7,
    "status": "PENDING",
    "cancellationReason": "",
    "currency": "KRW",
    "totalPrice": 66000,
    "exchangeFor": None,
    "nextAction": None,
    "items": [{"productId": 7, "productName": "클린 코드", "unitPrice": 33000, "quantity": 2, "lineTotal": 66000}],
    "createdAt": "2026-11-23T09:00:00Z",
    "updatedAt": "2026-11-23T09:00:00Z",
}


@example(response=PLACED)
class OrderSerializer(ModelSerializer[Order]):
    """An order."""

    exchange_for = Identifier(
        read_only=True,
        allow_null=True,
        source="exchange_for_id",
        help_text="The return for which it is given in exchange, and costs nothing.",
    )
    next_action = NextActionSerializer(read_only=True, allow_null=True)
    items = LineSerializer(many=True, read_only=True, source="lines")

    class Meta:
        model = Order
        fields = [
            *("id", "user_id", "status", "cancellation_reason", "currency", "total_price", "exchange_for"),
            *("next_action", "items"),
        ]


_order = OrderSerializer()


def answer_of(order: Order) -> dict[str, Any]:
    """What the request that placed an order is answered with."""
    return _order.to_representation(order)


@example(response=PLACED | {"userName": "김하나", "userEmail": "hana@example.com"})
class ListedOrderSerializer(OrderSerializer):
    """An order, with who placed it."""

    user_name = serializers.SerializerMethodField("get_user_name")
    user_email = serializers.SerializerMethodField("get_user_email")

    class Meta(OrderSerializer.Meta):
        fields = [*OrderSerializer.Meta.fields, "user_name", "user_email"]

    # `owner` is the user as accounts knows them; None while accounts is away.
    def get_user_name(self, order: Order) -> str:
        return order.owner.name if order.owner else "Unknown User"  # type: ignore[attr-defined]

    def get_user_email(self, order: Order) -> str:
        return order.owner.email if order.owner else ""  # type: ignore[attr-defined]


class ShippedLineSerializer(Serializer):
    """Pieces in a shipment."""

    product_id = Identifier(read_only=True)
    quantity = Integer(read_only=True)


class ShipmentSerializer(Serializer):
    """What is sent together."""

    number = Integer(read_only=True, help_text="Of the order's shipments, from 1.")
    status = Choice(choices=OrderShipment.Status.choices, read_only=True)
    tracking_number = Text(read_only=True)
    items = ShippedLineSerializer(many=True, read_only=True)


@example(
    response=PLACED
    | {
        "paymentGateway": "TOSS_PAYMENTS",
        "capture": "",
        "trackingNumber": "",
        "shipments": [
            {
                "number": 1,
                "status": "SHIPPED",
                "trackingNumber": "CJ0000000042",
                "items": [{"productId": 7, "quantity": 2}],
            }
        ],
        "timeline": [{"at": "2026-11-23T09:00:00Z", "service": "orders", "event": "OrderCreated", "detail": ""}],
    }
)
class OrderDetailSerializer(OrderSerializer):
    """An order, with what is known of payment and delivery, and with what has happened so far."""

    shipments = ShipmentSerializer(many=True, read_only=True)
    timeline = TimelineSerializer(many=True, read_only=True, source="entries")

    class Meta(OrderSerializer.Meta):
        fields = [
            *OrderSerializer.Meta.fields,
            "payment_gateway",
            "capture",
            "tracking_number",
            "shipments",
            "timeline",
        ]
