from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView

from payments.models import Payment
from payments.serializers import PaymentSerializer
from shop.api.filters import IntegerFilter
from shop.api.permissions import Own, visible_to

EVERYBODYS = "payments.view_payment"


class PaymentFilter(filters.FilterSet):
    """`?orderId=`: the payment of one order."""

    orderId = IntegerFilter(field_name="order_id")


@extend_schema_view(get=extend_schema(summary="Payments"))
class PaymentList(ListAPIView[Payment]):
    """A customer's payments, newest first; staff with the right see everybody's. Nobody sees a token."""

    serializer_class = PaymentSerializer
    rights = {"GET": Own(EVERYBODYS)}
    filterset_class = PaymentFilter
    queryset = Payment.objects.all()

    def get_queryset(self) -> QuerySet[Payment]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODYS)
