"""Changing an order over HTTP, and the list of its changes."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from orders import idempotency
from orders.changes.models import OrderChange
from orders.changes.requests import ChangeUnderWay, NotChangeable, request_change
from orders.changes.serializers import ChangeInput, ChangeOfAddress, ChangeOfPieces, ChangeSerializer
from orders.placing import TotalChanged
from orders.services import UnknownOrder
from orders.views import EVERYBODYS, own_order
from shop.api.permissions import Hiding, Own, hide, insist

CHANGE = "orders.change_order"
FEWER = {"items": [{"productId": 7, "quantity": 1}], "reason": "one is enough", "expectedTotal": 33000}


class ChangesView(Hiding, ListAPIView[OrderChange]):
    """Changing an order before its parcel is handed over: one's own, for staff with the right anybody's."""

    rights = {"GET": Own(EVERYBODYS), "POST": Own(CHANGE)}
    hidden = {"address": "delivery.view_address"}
    serializer_class = ChangeSerializer
    queryset = OrderChange.objects.none()
    problems = {
        "GET": [UnknownOrder],
        "POST": [
            UnknownOrder,
            NotChangeable,
            ChangeUnderWay,
            TotalChanged,
            idempotency.KeyReused,
        ],
    }

    def get_serializer_class(self) -> Any:
        return ChangeInput if self.request.method == "POST" else ChangeSerializer

    def get_queryset(self) -> QuerySet[OrderChange]:
        order = own_order(self.request, self.kwargs["order_id"])
        return OrderChange.objects.filter(order=order.pk).select_related("order").prefetch_related("lines")

    @extend_schema(operation_id="order_changes", summary="Changes of an order")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What was to be changed, newest first, and what has become of it."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="order_change",
        summary="Change an order",
        request=PolymorphicProxySerializer(
            component_name="NewChange",
            serializers=[ChangeOfPieces, ChangeOfAddress],
            resource_type_field_name=None,
        ),
        examples=[
            OpenApiExample("Fewer pieces", FEWER, request_only=True),
            OpenApiExample("Another address", {"address": "서울특별시 종로구 사직로 161"}, request_only=True),
        ],
        responses={202: ChangeSerializer},
        parameters=[idempotency.named("change", required=True)],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Have fewer pieces, lines cancelled, or the parcel sent elsewhere, before the carrier has it. What pieces cost
        is given back; for more of them, place another order.

        Delivery decides whether it is early enough. An order that is not paid yet is changed when it is (WAITING). When
        nothing would be left the order is cancelled instead (CANCELLED_ORDER).
        """
        order = own_order(request, order_id)
        if order.user_id != request.user.pk:
            insist(request.user, CHANGE)
        form = ChangeInput(data=request.data)
        form.is_valid(raise_exception=True)
        made = request_change(order_id, key=idempotency.key_of(request.headers), **form.validated_data)
        (change,) = hide(request.user, [made], self.hidden)
        return Response(ChangeSerializer(change).data, status=status.HTTP_202_ACCEPTED)
