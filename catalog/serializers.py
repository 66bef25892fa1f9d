"""Products on the wire."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from catalog.models import Product
from shop.api.schema import example
from shop.api.serializers import Integer, ModelSerializer, Text
from shop.money import CURRENCIES, LARGEST, check_currency


class DisplayNameSerializer(serializers.Serializer[Any]):
    """A name in both languages."""

    ko = serializers.CharField(read_only=True)
    en = serializers.CharField(read_only=True)

    def to_representation(self, names: dict[str, str]) -> dict[str, str]:
        return names


@extend_schema_field({"type": "integer", "format": "int64", "minimum": 1, "maximum": LARGEST})
class Price(Integer):
    """A price. `services` checks that it is above zero, with an error code of its own (P004)."""


@extend_schema_field({"type": "string", "enum": CURRENCIES, "default": "KRW"})
class Currency(Text):
    """A currency, by its ISO 4217 code."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validators=[check_currency], trim_whitespace=False, **kwargs)


BOOK = {
    "name": "클린 코드",
    "description": "애자일 소프트웨어 장인 정신",
    "price": 33000,
    "currency": "KRW",
    "category": "BOOK",
    "brand": "인사이트",
    "imageUrl": "https://example.com/clean-code.jpg",
    "active": True,
}


@example(
    request=BOOK,
    response={
        "id": 7,
        **BOOK,
        "categoryDisplayName": {"ko": "도서", "en": "Books"},
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    },
)
class ProductSerializer(ModelSerializer[Product]):
    """A product."""

    price = Price(max_value=LARGEST, help_text="Above zero, in the currency's minor unit: 3500000 is ₩3,500,000.")
    currency = Currency(required=False)
    category_display_name = DisplayNameSerializer(read_only=True)

    class Meta:
        model = Product
        fields = [
            "id",
            "name",
            "description",
            "price",
            "currency",
            "category",
            "category_display_name",
            "brand",
            "image_url",
            "active",
        ]
