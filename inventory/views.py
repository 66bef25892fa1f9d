from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inventory import services
from inventory.serializers import AdjustmentSerializer, StaffStockSerializer, StockSerializer
from shop.api.permissions import IsStaff


class StockView(APIView):
    """What can be sold of a product."""

    permission_classes = [AllowAny]
    serializer_class = StockSerializer

    @extend_schema(operation_id="stock_read", responses=StaffStockSerializer)
    def get(self, request: Request, product_id: int) -> Response:
        """Pieces that can be sold now; staff also see what lies on the shelf and what is promised to orders."""
        stock = services.available(product_id)
        serializer = StaffStockSerializer if getattr(request.user, "is_staff", False) else StockSerializer
        return Response(serializer(stock).data)


class AdjustmentsView(APIView):
    """Booking stock in and out."""

    permission_classes = [IsStaff]
    serializer_class = AdjustmentSerializer

    @extend_schema(operation_id="stock_adjust", request=AdjustmentSerializer, responses={201: StaffStockSerializer})
    def post(self, request: Request, product_id: int) -> Response:
        """Book pieces in (positive) or out (negative), with the reason; answers the stock that results."""
        form = AdjustmentSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        stock = services.adjust_stock(product_id=product_id, **form.validated_data)
        return Response(StaffStockSerializer(stock).data, status=status.HTTP_201_CREATED)
