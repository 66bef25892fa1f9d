"""Cancelling an order over HTTP, and giving a part of its money back."""

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders import cancellation, idempotency, services
from orders.refunds import NothingPaid, request_refund
from orders.serializers import OrderDetailSerializer, RefundSerializer
from orders.views import own_order
from shop.api.permissions import Own, insist

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


class RefundsView(APIView):
    """Giving a part of an order's money back."""

    rights = {"POST": REFUND}
    serializer_class = RefundSerializer
    problems = {"POST": [services.UnknownOrder, NothingPaid, idempotency.KeyReused]}

    @extend_schema(
        operation_id="order_refund",
        summary="Refund a part of an order",
        responses={202: RefundSerializer},
        parameters=[idempotency.named("refund", required=True)],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Have an amount given back, with a reason. Whether so much is left of what was taken is for payments to say:
        the order's timeline tells.
        """
        form = RefundSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        refund = request_refund(order_id, key=idempotency.key_of(request.headers), **form.validated_data)
        return Response(RefundSerializer(refund).data, status=status.HTTP_202_ACCEPTED)
