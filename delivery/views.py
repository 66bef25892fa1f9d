from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery import reports
from delivery.models import Delivery
from delivery.serializers import CarrierEventSerializer, DeliverySerializer
from delivery.signatures import AccountSignature, CarrierSignature
from shop.api.filters import IntegerFilter
from shop.api.permissions import CARRIER, Hiding, Own, hide, visible_to


class DeliveryFilter(filters.FilterSet):
    """`?orderId=`: the delivery of one order."""

    orderId = IntegerFilter(field_name="order_id")


EVERYBODYS = "delivery.view_delivery"
HIDDEN = {"address": "delivery.view_address"}


@extend_schema_view(get=extend_schema(summary="Deliveries"))
class DeliveryList(Hiding, ListAPIView[Delivery]):
    """A customer's deliveries, newest first; staff with the right see everybody's."""

    serializer_class = DeliverySerializer
    rights = {"GET": Own(EVERYBODYS)}
    hidden = HIDDEN
    filterset_class = DeliveryFilter
    queryset = Delivery.objects.all()

    def get_queryset(self) -> QuerySet[Delivery]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODYS)


@extend_schema_view(get=extend_schema(summary="A delivery", operation_id="delivery_read"))
class DeliveryView(RetrieveAPIView[Delivery]):
    """A delivery by its tracking number."""

    serializer_class = DeliverySerializer
    rights = {"GET": Own(EVERYBODYS)}
    hidden = HIDDEN
    problems = {"GET": [reports.UnknownDelivery]}
    queryset = Delivery.objects.all()
    lookup_url_kwarg = lookup_field = "tracking_number"

    def get_object(self) -> Delivery:
        number = self.kwargs["tracking_number"]
        named = Delivery.objects.filter(tracking_number=number).order_by("-pk")  # two carriers may give the same
        found = visible_to(self.request.user, named, EVERYBODYS)
        for delivery in hide(self.request.user, found, self.hidden):
            return delivery
        raise reports.UnknownDelivery(f"There is no delivery {number}.")


class CarrierReportsView(APIView):
    """Where a carrier's own webhook leads to."""

    authentication_classes = [AccountSignature]
    rights = {"POST": CARRIER}
    problems = {"POST": [reports.NoSuchCarrier]}

    @extend_schema(
        operation_id="carrier_reports",
        summary="Report as the carrier's own interface does",
        request=None,  # the carrier's own
        responses={202: OpenApiResponse(description="Taken in; what is about no parcel of ours changes nothing.")},
    )
    def post(self, request: Request, account: str) -> Response:
        """Take in what a carrier tells in its own words, verified as it says. `account` is its name in CARRIERS."""
        reports.take_reports(account, request.auth)  # type: ignore[arg-type]  # by AccountSignature
        return Response(status=status.HTTP_202_ACCEPTED)


class CarrierEventsView(APIView):
    """Where carriers tell what has become of parcels."""

    authentication_classes = [CarrierSignature]
    rights = {"POST": CARRIER}
    serializer_class = CarrierEventSerializer
    problems = {"POST": [reports.UnknownDelivery, reports.EventIdReused]}

    @extend_schema(
        operation_id="carrier_event",
        summary="Report what has become of a parcel",
        request=CarrierEventSerializer,
        parameters=[OpenApiParameter("X-Carrier-Timestamp", str, OpenApiParameter.HEADER, required=True)],
        responses={202: OpenApiResponse(description="Taken in; the order's saga follows.")},
    )
    def post(self, request: Request) -> Response:
        """Take in what a carrier says. A message that came before, or out of order, changes nothing."""
        form = CarrierEventSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        reports.take_carrier_event(carrier=request.user.code, **form.validated_data)  # type: ignore[union-attr]
        return Response(status=status.HTTP_202_ACCEPTED)
