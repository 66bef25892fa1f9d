from django_filters import rest_framework as filters

from orders.models import Order
from shop.api.filters import IntegerFilter


class OrderFilter(filters.FilterSet):
    """`?userId=` for staff; others see their own whatever they ask for."""

    userId = IntegerFilter(field_name="user_id")

    class Meta:
        model = Order
        fields: list[str] = []
