from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.generics import ListAPIView

from payments.models import Payment
from payments.serializers import PaymentSerializer
from shop.api.filters import IntegerFilter
from shop.api.permissions import visible_to


class PaymentFilter(filters.FilterSet):
    """`?orderId=`: the payment of one order."""

    orderId = IntegerFilter(field_name="order_id")


class PaymentList(ListAPIView):
    """A customer's payments, newest first; staff see everybody's."""

    serializer_class = PaymentSerializer
    filterset_class = PaymentFilter
    queryset = Payment.objects.all()

    def get_queryset(self) -> QuerySet[Payment]:
        return visible_to(self.request.user, super().get_queryset())
