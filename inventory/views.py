from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inventory import services
from inventory.serializers import AdjustmentSerializer, StaffStockSerializer, StockSerializer
from shop.api import etags
from shop.api.permissions import ANYBODY, may
from shop.api.schema import tagged


class StockView(APIView):
    """A product's stock."""

    rights = {"GET": ANYBODY}
    serializer_class = StockSerializer
    problems = {"GET": [services.NoStockRecord]}

    @extend_schema(
        operation_id="stock_read",
        summary="The stock of a product",
        responses=PolymorphicProxySerializer(
            component_name="AnyStock",
            serializers=[StaffStockSerializer, StockSerializer],  # staff's first, as it contains the other one's fields
            resource_type_field_name=None,
        ),
        parameters=[tagged(200)],
    )
    def get(self, request: Request, product_id: int) -> Response:
        """Units that can be sold now; staff also see what is on hand and what is reserved for orders, and where."""
        stock = services.available(product_id)
        staff = may(request.user, "inventory.view_stockitem")
        serializer = StaffStockSerializer if staff else StockSerializer
        return Response(serializer(stock).data, headers={"ETag": f'"{stock.version}{"" if staff else "-public"}"'})


class AdjustmentsView(APIView):
    """Booking stock in and out."""

    rights = {"POST": "inventory.change_stockitem"}
    serializer_class = AdjustmentSerializer
    problems = {
        "POST": [
            services.NoStockRecord,
            services.NoSuchLocation,
            services.BelowReserved,
            services.TooManyPieces,
            services.StaleStock,
        ]
    }

    @extend_schema(
        operation_id="stock_adjust",
        summary="Book stock in or out",
        request=AdjustmentSerializer,
        responses={201: StaffStockSerializer},
        parameters=[etags.if_match(required=False), tagged(201)],
    )
    def post(self, request: Request, product_id: int) -> Response:
        """Book units in (positive) or out (negative) at a location, with the reason; responds with the product's stock.

        With `If-Match`, only if the stock is unchanged since it was read. Without it, in any case: a delta overwrites
        nobody's change.
        """
        form = AdjustmentSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        expected = etags.wanted(request, required=False)
        stock = services.adjust_stock(product_id=product_id, expected=expected, **form.validated_data)
        body = StaffStockSerializer(stock).data
        return Response(body, status=status.HTTP_201_CREATED, headers={"ETag": f'"{stock.version}"'})
