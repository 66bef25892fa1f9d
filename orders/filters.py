from django.db.models import QuerySet
from django_filters import rest_framework as filters

from orders.models import Order
from shop.api.filters import IntegerFilter
from shop.contracts.orders import FINAL


class OrderFilter(filters.FilterSet):
    """`?userId=` for staff; others see their own whatever they ask for. `?status=` for anybody."""

    userId = IntegerFilter(field_name="user_id")
    status = filters.ChoiceFilter(choices=Order.Status.choices, method="by_status")

    def by_status(self, orders: QuerySet[Order], name: str, value: str) -> QuerySet[Order]:
        """Orders in a status. Those that have not ended are few among many: the index of what is open has them all."""
        found = orders.filter(status=value)
        return found if value in FINAL else found.filter(look_at__isnull=False)

    class Meta:
        model = Order
        fields: list[str] = []
