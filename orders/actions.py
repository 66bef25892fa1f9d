"""What can be done with an order that was placed: cancelling it, changing it, giving a part of its money back."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders import cancellation, changes, idempotency, placing, services
from orders.models import OrderChange
from orders.refunds import NothingPaid, request_refund
from orders.serializers import (
    ChangeInput,
    ChangeOfAddress,
    ChangeOfPieces,
    ChangeSerializer,
    OrderDetailSerializer,
    RefundSerializer,
)
from orders.views import EVERYBODYS, own_order
from shop.api.permissions import Hiding, Own, hide, insist
from shop.api.problems import InvalidInput

FEWER = {"items": [{"productId": 7, "quantity": 1}], "reason": "one is enough", "expectedTotal": 33000}
CANCEL, REFUND = "orders.change_order", "payments.change_payment"


class CancelView(APIView):
    """Cancelling an order: one's own, for staff with the right anybody's."""

    rights = {"POST": Own(CANCEL)}
    serializer_class = OrderDetailSerializer
    problems = {"POST": [services.UnknownOrder, cancellation.AlreadyCancelled, cancellation.NotCancellable]}

    @extend_schema(
        operation_id="order_cancel", summary="Cancel an order", request=None, responses={202: OrderDetailSerializer}
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Ask for the order to be cancelled. Until the carrier has the parcel, everything is then undone.

        When the carrier was faster the order goes on, and its timeline says so.
        """
        order = own_order(request, order_id)
        if order.user_id != request.user.pk:
            insist(request.user, CANCEL)
        cancellation.request_cancellation(order.pk)
        return Response(OrderDetailSerializer(own_order(request, order_id)).data, status=status.HTTP_202_ACCEPTED)


def _named(what: str) -> OpenApiParameter:
    """The header that names a request, which has to be there."""
    return OpenApiParameter(
        idempotency.HEADER,
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        OpenApiParameter.HEADER,
        required=True,
        description=f"Your name for this {what}: sent again, it is not made twice.",
    )


def _key(request: Request) -> str:
    """The name of a request that has to have one. Raises `InvalidInput`."""
    key = request.headers.get(idempotency.HEADER, "")
    if not idempotency.KEY.fullmatch(key):
        reason = "1 to 255 printable ASCII characters."
        raise InvalidInput(errors=[{"field": idempotency.HEADER, "value": None, "reason": reason}])
    return key


class RefundsView(APIView):
    """Giving a part of an order's money back."""

    rights = {"POST": REFUND}
    serializer_class = RefundSerializer
    problems = {"POST": [services.UnknownOrder, NothingPaid, idempotency.KeyReused]}

    @extend_schema(
        operation_id="order_refund",
        summary="Refund a part of an order",
        responses={202: RefundSerializer},
        parameters=[_named("refund")],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Have an amount given back, with a reason. Whether so much is left of what was taken is for payments to say:
        the order's timeline tells.
        """
        form = RefundSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        refund = request_refund(order_id, key=_key(request), **form.validated_data)
        return Response(RefundSerializer(refund).data, status=status.HTTP_202_ACCEPTED)


class ChangesView(Hiding, ListAPIView[OrderChange]):
    """Changing an order before its parcel is handed over: one's own, for staff with the right anybody's."""

    rights = {"GET": Own(EVERYBODYS), "POST": Own(CANCEL)}
    hidden = {"address": "delivery.view_address"}
    serializer_class = ChangeSerializer
    queryset = OrderChange.objects.none()
    problems = {
        "GET": [services.UnknownOrder],
        "POST": [
            services.UnknownOrder,
            changes.NotChangeable,
            changes.ChangeUnderWay,
            placing.TotalChanged,
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
        parameters=[_named("change")],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Have fewer pieces, lines cancelled, or the parcel sent elsewhere, before the carrier has it. What pieces cost
        is given back; for more of them, place another order.

        Delivery decides whether it is early enough. An order that is not paid yet is changed when it is (WAITING). When
        nothing would be left the order is cancelled instead (CANCELLED_ORDER).
        """
        order = own_order(request, order_id)
        if order.user_id != request.user.pk:
            insist(request.user, CANCEL)
        form = ChangeInput(data=request.data)
        form.is_valid(raise_exception=True)
        made = changes.request_change(order_id, key=_key(request), **form.validated_data)
        (change,) = hide(request.user, [made], self.hidden)
        return Response(ChangeSerializer(change).data, status=status.HTTP_202_ACCEPTED)
