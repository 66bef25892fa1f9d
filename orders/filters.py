"""How orders are found: by what is known of them, each by its index."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from orders.models import Order, ParcelNumber
from shop.api.filters import IntegerFilter, MomentFilter, TextFilter
from shop.api.permissions import may
from shop.api.serializers import BIGGEST
from shop.calls import connect
from shop.contracts.accounts import AccountsService
from shop.contracts.orders import FINAL

WHO = "accounts.view_user"  # the right to find orders by whose they are


class OrderFilter(filters.FilterSet):
    """What a list of orders can be narrowed to. `?userId=` is for staff; others see their own whatever they ask for."""

    userId = IntegerFilter(field_name="user_id")
    status = filters.ChoiceFilter(choices=Order.Status.choices, method="by_status")
    productId = IntegerFilter(field_name="items__product_id")
    paymentGateway = TextFilter(field_name="payment_gateway")
    trackingNumber = TextFilter(method="by_number")
    createdSince = MomentFilter(field_name="created_at", lookup_expr="gte")
    createdBefore = MomentFilter(field_name="created_at", lookup_expr="lt")
    search = TextFilter(
        method="by_text",
        help_text="An order's number or tracking number; for staff who may see users also the beginning of a "
        "customer's e-mail address or name.",
    )

    def by_status(self, orders: QuerySet[Order], name: str, value: str) -> QuerySet[Order]:
        """Orders in a status. Those that have not ended are few among many: the index of what is open has them all."""
        found = orders.filter(status=value)
        return found if value in FINAL else found.filter(look_at__isnull=False)

    def by_number(self, orders: QuerySet[Order], name: str, value: str) -> QuerySet[Order]:
        """The order whose parcel has a tracking number."""
        return orders.filter(pk__in=_with_number(value))

    def by_text(self, orders: QuerySet[Order], name: str, value: str) -> QuerySet[Order]:
        """Orders that a text may mean. Raises `sagas.Unavailable` for a name while accounts is away."""
        numbered = _with_number(value)
        if value.isascii() and value.isdigit():
            ids = [*numbered, int(value)] if int(value) <= BIGGEST else numbered
            return orders.filter(pk__in=ids)
        if numbered:
            return orders.filter(pk__in=numbered)
        user: Any = getattr(self.request, "user", None)
        return (
            orders.filter(user_id__in=connect(AccountsService).find_users(value)) if may(user, WHO) else orders.none()
        )

    class Meta:
        model = Order
        fields: list[str] = []


def _with_number(number: str) -> list[int]:
    """The orders whose parcels have, or had, a tracking number. Carriers' letters are capitals, as a rule."""
    numbers = ParcelNumber.objects.filter(number__in={number, number.upper()})
    return list(numbers.values_list("order_id", flat=True))
