import json
import time
from typing import Any, cast

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    extend_schema_view,
)
from msgspec import structs
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from orders import cancellation, exports, idempotency, placing, services
from orders.filters import OrderFilter
from orders.models import DELIVERY_ARRANGED, Order, OrderLine, TimelineEntry
from orders.serializers import (
    ListedOrderSerializer,
    OrderDetailSerializer,
    OrderInput,
    OrderOfOneProduct,
    OrderOfSeveralProducts,
    OrderSerializer,
    answer_of,
)
from orders.waiters import room_for
from sagas import Unavailable
from shop.api.permissions import Own, is_program, may, visible_to
from shop.api.preferences import preference
from shop.api.prepared import Prepared
from shop.api.problems import InvalidInput
from shop.api.renderers import CsvRenderer, JSONRenderer
from shop.api.schema import created_at
from shop.api.throttles import ExportThrottle, OrderThrottle
from shop.calls import connect
from shop.contracts.accounts import AccountsService, UnknownUser, UserView

LONGEST_WAIT = 10  # seconds, of `Prefer: wait`
POLL_SECONDS = 0.02
PAID = {  # or the money is held: there is no more to wait for
    Order.Status.PAYMENT_AUTHORIZED, Order.Status.PAYMENT_COMPLETED, *DELIVERY_ARRANGED, Order.Status.UNPAID,
    Order.Status.COMPLETED,
}  # fmt: skip
TO_PAY = {"address": "서울특별시 중구 세종대로 110", "paymentToken": "tok_ok", "expectedTotal": 66000}
REFUSED = {Order.Status.CANCELLING, Order.Status.CANCELLED}


EVERYBODYS, FOR_OTHERS = "orders.view_order", "orders.add_order"


@extend_schema_view(
    get=extend_schema(
        summary="Orders", description="One's own, newest first; staff with the right see everybody's. Filters combine."
    )
)
class OrdersView(ListAPIView[Order]):
    """Placing orders, and listing one's own; staff with the right list everybody's, and place orders for others."""

    rights = {"GET": Own(EVERYBODYS), "POST": Own(FOR_OTHERS)}
    serializer_class = ListedOrderSerializer
    filterset_class = OrderFilter
    throttle_classes = [OrderThrottle]
    problems = {
        "POST": [
            UnknownUser,
            placing.UnknownProduct,
            placing.InactiveProduct,
            placing.InvalidOrder,
            placing.UnknownGateway,
            placing.TotalChanged,
            cancellation.InsufficientStock,
            cancellation.PaymentDeclined,
            cancellation.AlreadyCancelled,
            idempotency.InFlight,
            idempotency.KeyReused,
        ]
    }

    def get_serializer_class(self) -> Any:
        return OrderOfOneProduct if self.request.method == "POST" else ListedOrderSerializer

    def get_queryset(self) -> QuerySet[Order]:
        return visible_to(self.request.user, Order.objects.prefetch_related("items"), EVERYBODYS)

    def paginate_queryset(self, queryset: Any) -> Any:
        """A page, with its users looked up all at once."""
        page = super().paginate_queryset(queryset) or []
        users = _users(page)
        emails = may(self.request.user, "accounts.view_user")
        for order in page:
            owner = users.get(order.user_id)
            own = emails or order.user_id == self.request.user.pk
            order.owner = owner if own or owner is None else structs.replace(owner, email="")
        return page

    @extend_schema(
        operation_id="order_place",
        summary="Place an order",
        request=PolymorphicProxySerializer(
            component_name="NewOrder",
            serializers=[OrderOfOneProduct, OrderOfSeveralProducts],
            resource_type_field_name=None,
        ),
        examples=[
            OpenApiExample("One product", {"productId": 7, "quantity": 2} | TO_PAY, request_only=True),
            OpenApiExample(
                "Several products", {"items": [{"productId": 7, "quantity": 2}]} | TO_PAY, request_only=True
            ),
        ],
        responses={202: OrderSerializer, 201: OrderSerializer},
        parameters=[
            created_at(201, 202),
            OpenApiParameter(
                "Prefer", str, OpenApiParameter.HEADER, description="`wait=N`: up to N ≤ 10 seconds for the payment."
            ),
            idempotency.named(
                "order",
                effect="sent again after a lost answer, it is not placed twice. The same request gets the same answer, "
                "another one with this key 422, and 409 while the first is still being worked on",
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Place an order at today's prices. It is taken at once (202); `Location` shows how it goes on.

        With `Prefer: wait=N` the answer comes when the order is paid (201) or refused (409), or waits for its customer
        (202, with `nextAction`), or after N seconds (202); at once (202) when too many wait already, or the user does
        with another request.
        A request repeated with its `Idempotency-Key` is answered as before; when that was a 202 it may wait again.
        """
        seconds = _preferred_wait(request)
        form = OrderInput(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = dict(form.validated_data)
        user_id = wanted.pop("user_id", request.user.id)
        if user_id != request.user.id and not may(request.user, FOR_OTHERS):
            raise InvalidInput(errors=[{"field": "userId", "value": user_id, "reason": "Order for yourself."}])
        if user_id == request.user.id and is_program(request.user):
            raise InvalidInput(errors=[{"field": "userId", "value": user_id, "reason": "Say for whom."}])
        sender = cast(int, request.user.pk)
        claim = idempotency.claim(request.headers, user_id=sender, wanted={**wanted, "user_id": user_id})
        order = placing.place_order(user_id=user_id, claim=claim, by_staff=user_id != request.user.id, **wanted)
        kept = order.idempotency_key if claim else None
        answer = kept.status if kept else status.HTTP_202_ACCEPTED
        if seconds and answer == status.HTTP_202_ACCEPTED:
            with room_for(cast(int, request.user.pk)) as room:
                order = _wait_for_payment(order, seconds) if room else order
            if order.status in REFUSED:
                raise cancellation.refusal(order)
            if order.status in PAID:
                answer = status.HTTP_201_CREATED
            if kept and (order.status in PAID or order.next_action):
                idempotency.replace_answer(order, status=answer)
        location = request.build_absolute_uri(f"{request.path}/{order.pk}")
        body = json.loads(kept.answer) if kept else answer_of(order)
        return Response(body, status=answer, headers={"Location": location})


class OrderExportView(GenericAPIView[Order]):
    """Everybody's orders as a file."""

    rights = {"GET": EVERYBODYS}
    filterset_class = OrderFilter
    pagination_class = None
    throttle_classes = [ExportThrottle]
    renderer_classes = [JSONRenderer, CsvRenderer]  # JSON, for problems
    queryset = Order.objects.all()

    @extend_schema(
        operation_id="order_export",
        summary="Orders as CSV",
        responses={(200, exports.CSV): OpenApiTypes.STR},
        examples=[
            OpenApiExample(
                "Answer",
                "id,userId,status,…\r\n42,7,COMPLETED,…\r\n",
                response_only=True,
                media_type=exports.CSV,
            )
        ],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Orders of any number, newest first, by the same filters as the list. There are no names in it."""
        return exports.answer(self.filter_queryset(self.get_queryset()))


class OrderView(GenericAPIView[Order]):
    """One order: one's own, for staff with the right anybody's."""

    rights = {"GET": Own(EVERYBODYS)}
    serializer_class = OrderDetailSerializer
    problems = {"GET": [services.UnknownOrder]}
    queryset = Order.objects.all()

    @extend_schema(operation_id="order_read", summary="An order")
    def get(self, request: Request, order_id: int) -> Response:
        """The order, with what has happened to it so far."""
        return Response(OrderDetailSerializer(own_order(request, order_id)).data)


_order_of = Prepared(lambda order_id, user_id: Order.objects.filter(pk=order_id, user_id=user_id))
_any_order = Prepared(lambda order_id: Order.objects.filter(pk=order_id))
_lines_of = Prepared(lambda order_id: OrderLine.objects.filter(order_id=order_id).order_by("pk"))
_timeline_of = Prepared(lambda order_id: TimelineEntry.objects.filter(order_id=order_id))


def own_order(request: Request, order_id: int) -> Order:
    """An order that the user may see, with its lines and timeline. Raises `UnknownOrder`."""
    user: Any = request.user
    found = _any_order(order_id=order_id) if may(user, EVERYBODYS) else _order_of(order_id=order_id, user_id=user.id)
    if not found:
        raise services.UnknownOrder(f"There is no order {order_id}.")
    (order,) = found
    order.lines, order.entries = _lines_of(order_id=order_id), _timeline_of(order_id=order_id)
    return order


def _users(orders: list[Order]) -> dict[int, UserView]:
    """Who the orders belong to; nobody is known while accounts is away."""
    try:
        return connect(AccountsService).get_users({order.user_id for order in orders}) if orders else {}
    except Unavailable:
        return {}


def _preferred_wait(request: Request) -> int:
    """The N of `Prefer: wait=N` (RFC 7240), cut to what we offer; 0 without one."""
    given = preference(request, "wait") or ""
    return min(int(given), LONGEST_WAIT) if given.isascii() and given.isdigit() and len(given) < 10 else 0


def _wait_for_payment(order: Order, seconds: int) -> Order:
    give_up_at = time.monotonic() + seconds
    while order.status not in PAID | REFUSED and not order.next_action and time.monotonic() < give_up_at:
        time.sleep(POLL_SECONDS)
        order.refresh_from_db(fields=["status", "cancellation_reason", "updated_at", "action_url", "action_until"])
    return order
