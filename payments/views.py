from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from payments import settling
from payments.models import Payment
from payments.serializers import PaymentSerializer
from payments.signatures import NoSuchGateway, ProviderSignature
from shop.api.filters import IntegerFilter
from shop.api.permissions import PAYMENT_PROVIDER, Own, visible_to

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


class GatewayNotificationView(APIView):
    """Where a payment provider's own notifications lead to."""

    authentication_classes = [ProviderSignature]
    rights = {"POST": PAYMENT_PROVIDER}
    problems = {"POST": [NoSuchGateway]}

    @extend_schema(
        operation_id="payment_notification",
        summary="Notify as a payment provider does",
        request=None,  # the provider's own
        responses={202: OpenApiResponse(description="Taken in: the provider is asked what has happened.")},
    )
    def post(self, request: Request, gateway: str) -> Response:
        """Take in what a provider tells, verified as it says. It is a hint: what has happened is read at the provider.

        `gateway` is its name in PAYMENT_GATEWAYS.
        """
        settling.take_notification(gateway, request.auth)  # type: ignore[arg-type]  # by ProviderSignature
        return Response(status=status.HTTP_202_ACCEPTED)
