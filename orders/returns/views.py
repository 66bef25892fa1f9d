from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orders import idempotency
from orders.models import Order
from orders.placing import InactiveProduct, UnknownProduct
from orders.returns import decisions, exchanges, requests
from orders.returns.models import Return
from orders.returns.serializers import (
    AmountInput,
    InspectionInput,
    RefusalInput,
    ReturnInput,
    ReturnSerializer,
)
from orders.services import UnknownOrder
from shop.api.filters import IntegerFilter, MomentFilter, TextFilter
from shop.api.permissions import Own, visible_to
from shop.api.problems import InvalidInput
from shop.api.schema import created_at
from shop.api.throttles import OrderThrottle

EVERYBODYS, FOR_OTHERS, DECIDE = "orders.view_return", "orders.add_return", "orders.change_return"
REFUND = "payments.change_payment"


class ReturnFilter(filters.FilterSet):
    """What a list of returns can be narrowed to."""

    orderId = IntegerFilter(field_name="order_id")
    userId = IntegerFilter(field_name="user_id")
    status = filters.ChoiceFilter(choices=Return.Status.choices)
    productId = IntegerFilter(field_name="items__product_id")
    trackingNumber = TextFilter(field_name="tracking_number")
    createdSince = MomentFilter(field_name="created_at", lookup_expr="gte")
    createdBefore = MomentFilter(field_name="created_at", lookup_expr="lt")


@extend_schema_view(get=extend_schema(summary="Returns"))
class ReturnList(ListAPIView[Return]):
    """Returns, newest first: one's own; staff with the right see everybody's. Filters combine."""

    rights = {"GET": Own(EVERYBODYS)}
    serializer_class = ReturnSerializer
    filterset_class = ReturnFilter
    queryset = Return.objects.prefetch_related("items", "exchanges")

    def get_queryset(self) -> QuerySet[Return]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODYS)


@extend_schema_view(get=extend_schema(summary="An order's returns", operation_id="order_returns"))
class OrderReturnsView(ListAPIView[Return]):
    """The returns of an order, newest first, and requesting one: of one's own order, for staff with the right of
    anybody's."""

    rights = {"GET": Own(EVERYBODYS), "POST": Own(FOR_OTHERS)}
    serializer_class = ReturnSerializer
    throttle_classes = [OrderThrottle]
    problems = {
        "GET": [UnknownOrder],
        "POST": [
            UnknownOrder,
            requests.NotDelivered,
            requests.GivenInExchange,
            requests.TooLate,
            requests.NotSoMany,
            UnknownProduct,
            InactiveProduct,
            exchanges.OtherPrice,
            idempotency.KeyReused,
        ],
    }
    queryset = Return.objects.prefetch_related("items", "exchanges")

    def get_queryset(self) -> QuerySet[Return]:
        return super().get_queryset().filter(order=self._order(EVERYBODYS))

    @extend_schema(
        operation_id="return_request",
        summary="Return something",
        request=ReturnInput,
        responses={201: ReturnSerializer},
        parameters=[
            created_at(201),
            idempotency.named("return"),
        ],
    )
    def post(self, request: Request, order_id: int) -> Response:
        """Request a return of what was delivered, within the days that the shop allows, for a refund or in exchange.
        The shop approves it, or says why it does not.
        """
        order = self._order(FOR_OTHERS)
        form = ReturnInput(data=request.data)
        form.is_valid(raise_exception=True)
        user: Any = request.user
        asked = form.validated_data
        compared = {**asked, "exchanges": sorted(asked["exchanges"].items())}
        claim = idempotency.claim(request.headers, user_id=user.id, wanted=compared)
        wanted = requests.Wanted(
            **asked,
            key=claim.key if claim else "",
            request_hash=claim.request_hash if claim else "",
        )
        made = requests.request_return(order.pk, wanted)
        location = request.build_absolute_uri(f"/api/v1/returns/{made.pk}")
        return Response(ReturnSerializer(made).data, status=status.HTTP_201_CREATED, headers={"Location": location})

    def _order(self, right: str) -> Order:
        order_id = self.kwargs["order_id"]
        order = visible_to(self.request.user, Order.objects.filter(pk=order_id), right).first()
        if order is None:
            raise UnknownOrder(f"There is no order {order_id}.")
        return order


class ReturnView(GenericAPIView[Return]):
    """One return: one's own, for staff with the right anybody's."""

    rights = {"GET": Own(EVERYBODYS)}
    serializer_class = ReturnSerializer
    problems = {"GET": [requests.UnknownReturn]}
    queryset = Return.objects.all()

    @extend_schema(operation_id="return_read", summary="A return")
    def get(self, request: Request, return_id: int) -> Response:
        """The return as it is now."""
        return _answer(_visible(request, return_id, EVERYBODYS))


class WithdrawView(APIView):
    """Withdrawing a return: one's own, for staff with the right anybody's."""

    rights = {"POST": Own(DECIDE)}
    serializer_class = ReturnSerializer
    problems = {"POST": [requests.UnknownReturn, requests.NotNow]}

    @extend_schema(
        operation_id="return_withdraw", summary="Withdraw a return", request=None, responses={202: ReturnSerializer}
    )
    def post(self, request: Request, return_id: int) -> Response:
        """Send nothing back after all, as long as the parcel is not here. When the carrier was faster, the return goes
        on."""
        withdrawn = requests.withdraw(_visible(request, return_id, DECIDE).pk)
        return _answer(withdrawn, status.HTTP_202_ACCEPTED)


class _Decision(APIView):
    """Something that staff decide about a return."""

    rights = {"POST": DECIDE}
    serializer_class = ReturnSerializer

    def decide(self, request: Request, return_id: int, form: Any, decide: Callable[..., Return]) -> Response:
        """What the form says, done."""
        if form is not None:
            form.is_valid(raise_exception=True)
        return _answer(decide(return_id, **(form.validated_data if form is not None else {})), 202)


class ApproveView(_Decision):
    """Approving a return."""

    problems = {"POST": [requests.UnknownReturn, requests.NotNow]}

    @extend_schema(
        operation_id="return_approve", summary="Approve a return", request=None, responses={202: ReturnSerializer}
    )
    def post(self, request: Request, return_id: int) -> Response:
        """Have a carrier bring the parcel; its number is told to the customer."""
        return self.decide(request, return_id, None, decisions.approve)


class RefuseView(_Decision):
    """Refusing a return."""

    problems = {"POST": [requests.UnknownReturn, requests.NotNow]}

    @extend_schema(
        operation_id="return_refuse",
        summary="Refuse a return",
        request=RefusalInput,
        responses={202: ReturnSerializer},
    )
    def post(self, request: Request, return_id: int) -> Response:
        """Take nothing back, with a reason, before the return is approved."""
        return self.decide(request, return_id, RefusalInput(data=request.data), decisions.refuse)


class ReceiveView(_Decision):
    """Receiving what was returned."""

    problems = {"POST": [requests.UnknownReturn, requests.NotNow, requests.NotSoMany]}

    @extend_schema(
        operation_id="return_receive",
        summary="Receive what was returned",
        request=None,
        responses={202: ReturnSerializer},
    )
    def post(self, request: Request, return_id: int) -> Response:
        """Say that the parcel is here, where no carrier says so. Also one that comes after its time, or after it was
        withdrawn."""
        return self.decide(request, return_id, None, decisions.receive)


class InspectView(_Decision):
    """Inspecting what was returned."""

    problems = {"POST": [requests.UnknownReturn, requests.NotNow]}

    @extend_schema(
        operation_id="return_inspect",
        summary="Inspect what was returned",
        request=InspectionInput,
        responses={202: ReturnSerializer},
    )
    def post(self, request: Request, return_id: int) -> Response:
        """Say of every piece what was found. What is accepted is on the shelf again; it and what is written off are
        refunded, or exchanged; what is rejected is not. This cannot be taken back."""
        return self.decide(request, return_id, InspectionInput(data=request.data), decisions.inspect)


class RefundAgainView(_Decision):
    """Refunding a return once more."""

    rights = {"POST": REFUND}
    problems = {"POST": [requests.UnknownReturn, requests.NotNow, InvalidInput]}

    @extend_schema(
        operation_id="return_refund",
        summary="Refund a return again",
        request=AmountInput,
        responses={202: ReturnSerializer},
    )
    def post(self, request: Request, return_id: int) -> Response:
        """After a refusal, have an amount refunded: what is due, or less."""
        return self.decide(request, return_id, AmountInput(data=request.data), decisions.refund_again)


def _visible(request: Request, return_id: int, right: str) -> Return:
    return_ = visible_to(request.user, Return.objects.filter(pk=return_id), right).first()
    if return_ is None:
        raise requests.UnknownReturn(f"There is no return {return_id}.")
    return return_


def _answer(shown: Return, code: int = status.HTTP_200_OK) -> Response:
    return Response(ReturnSerializer(shown).data, status=code)
