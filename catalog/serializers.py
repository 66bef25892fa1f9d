"""Products on the wire."""

from rest_framework import serializers

from catalog.models import Product
from shop.api.serializers import Integer, ModelSerializer


class DisplayNameSerializer(serializers.Serializer):
    """A name in both languages."""

    ko = serializers.CharField(read_only=True)
    en = serializers.CharField(read_only=True)


class ProductSerializer(ModelSerializer):
    """A product."""

    price = Integer(help_text="Above zero, in the currency's minor unit: 3500000 is ₩3,500,000.")
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
