"""Cancelling an order over HTTP, and giving a part of its money back."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders import cancellation, idempotency, services
from orders.models import Refund
from orders.refunds import NothingPaid, request_refund
from orders.serializers import OrderDetailSerializer, RefundSerializer
from orders.views import EVERYBODYS, own_order
from shop.api.permissions import Own, insist, may

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


class RefundsView(ListAPIView[Refund]):
    """Giving a part of an order's money back, and the list of what was."""

    rights = {"GET": Own(EVERYBODYS), "POST": REFUND}
    serializer_class = RefundSerializer
    queryset = Refund.objects.none()
    problems = {
        "GET": [services.UnknownOrder],
        "POST": [services.UnknownOrder, NothingPaid, idempotency.KeyReused],
    }

    def get_queryset(self) -> QuerySet[Refund]:
        return Refund.objects.filter(order=own_order(self.request, self.kwargs["order_id"]).pk)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Leave out the reasons, which are for the books, unless the caller may give refunds."""
        page = super().paginate_queryset(queryset) or []
        for refund in page if not may(self.request.user, REFUND) else ():
            refund.reason = refund.refusal = ""
        return page

    @extend_schema(operation_id="order_refunds", summary="Refunds of an order")
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What was to be given back of the order's money, newest first, and whether it was: asked for by staff, for a
        return, or for a shipment that did not arrive. What changes and a cancellation give back is not among it.
        """
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="order_refund",
        summary="Refund a part of an order",
        responses={202: RefundSerializer},
        parameters=[idempotency.named("refund", required=True)],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Have an amount given back, with a reason. Whether so much is left of what was taken is for payments to say:
        the list of refunds tells, and the order's timeline.
        """
        form = RefundSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        refund = request_refund(order_id, key=idempotency.key_of(request.headers), **form.validated_data)
        return Response(RefundSerializer(refund).data, status=status.HTTP_202_ACCEPTED)
