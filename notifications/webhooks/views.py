"""`/api/v1/notifications/webhooks`: a program's subscriptions, for themselves and for staff."""

from typing import Any, cast

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from notifications.webhooks import owners, subscriptions
from notifications.webhooks.events import TYPES
from notifications.webhooks.models import Webhook, WebhookMessage
from notifications.webhooks.serializers import (
    NewWebhookSerializer,
    ReplayedSerializer,
    ReplayInput,
    SecretSerializer,
    WebhookChange,
    WebhookInput,
    WebhookMessageSerializer,
    WebhookSerializer,
)
from shop.api.filters import IntegerFilter
from shop.api.permissions import insist, visible_to
from shop.api.schema import created_at

OWN, EVERYBODYS = "notifications.add_webhook", "notifications.change_webhook"


def _insist_on(user: Any, events: list[str]) -> None:
    """Raise `PermissionDenied` unless the user may see what these events tell."""
    for right in {TYPES[one] for one in events}:
        insist(user, right)


class _OfWebhooks(GenericAPIView[Any]):
    def webhook(self) -> Webhook:
        """The one that the path names, if it is the caller's to see. Raises `UnknownWebhook`."""
        pk = self.kwargs["webhook_id"]
        found = visible_to(self.request.user, Webhook.objects.filter(pk=pk), EVERYBODYS, owner="owner_id").first()
        if found is None:
            raise subscriptions.UnknownWebhook(f"There is no webhook {pk}.")
        return found


@extend_schema_view(
    get=extend_schema(summary="Webhooks", description="One's own, newest first; with the right everybody's.")
)
class WebhooksView(ListAPIView[Webhook]):
    """Subscribing, and listing one's subscriptions."""

    rights = {"GET": OWN, "POST": OWN}
    serializer_class = WebhookSerializer
    problems = {"POST": [subscriptions.TooManyWebhooks]}
    queryset = Webhook.objects.all()

    def get_queryset(self) -> QuerySet[Webhook]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODYS, owner="owner_id")

    @extend_schema(
        operation_id="webhook_subscribe",
        summary="Subscribe",
        request=WebhookInput,
        responses={201: NewWebhookSerializer},
        parameters=[created_at(201)],
    )
    def post(self, request: Request) -> Response:
        """Have a program told of events, each of which asks for the right to see what it tells.

        The answer has the secret that messages are signed with, by the Standard Webhooks specification. It is not shown
        again.
        """
        form = WebhookInput(data=request.data)
        form.is_valid(raise_exception=True)
        _insist_on(request.user, form.validated_data["events"])
        webhook, secret = subscriptions.subscribe(owner_id=cast(int, request.user.pk), **form.validated_data)
        webhook.shown_secret = secret  # type: ignore[attr-defined]
        shown = NewWebhookSerializer(webhook).data
        headers = {"Location": f"{request.path}/{webhook.pk}", "Cache-Control": "no-store"}
        return Response(shown, status=status.HTTP_201_CREATED, headers=headers)


class WebhookView(_OfWebhooks):
    """A subscription."""

    rights = {"GET": OWN, "PATCH": OWN, "DELETE": OWN}
    serializer_class = WebhookSerializer
    problems = {method: [subscriptions.UnknownWebhook] for method in ("GET", "PATCH", "DELETE")}

    @extend_schema(operation_id="webhook_read", summary="A webhook")
    def get(self, request: Request, webhook_id: int) -> Response:
        """How a subscription is: whether it is enabled, and since when it fails."""
        return Response(WebhookSerializer(self.webhook()).data)

    @extend_schema(
        operation_id="webhook_change", summary="Change a webhook", request=WebhookChange, responses=WebhookSerializer
    )
    def patch(self, request: Request, webhook_id: int) -> Response:
        """Change an address, the events, or whether it is enabled. What happens while it is disabled is kept, and sent
        once it is enabled."""
        form = WebhookChange(data=request.data)
        form.is_valid(raise_exception=True)
        webhook, changes = self.webhook(), form.validated_data
        if changes != {"enabled": False}:  # anything else may have somebody told what they must not see
            webhook.events = changes.get("events", webhook.events)
            _insist_on(request.user, webhook.events)
            if webhook.owner_id != request.user.pk and owners.lacking([webhook])[webhook.pk]:
                raise PermissionDenied
        return Response(WebhookSerializer(subscriptions.change(webhook.pk, **changes)).data)

    @extend_schema(
        operation_id="webhook_unsubscribe", summary="Unsubscribe", responses={204: OpenApiResponse(description="Gone.")}
    )
    def delete(self, request: Request, webhook_id: int) -> Response:
        """End a subscription. What was not sent yet never will be."""
        subscriptions.unsubscribe(self.webhook().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookSecretView(_OfWebhooks):
    """What messages are signed with."""

    rights = {"POST": OWN}
    problems = {"POST": [subscriptions.UnknownWebhook]}

    @extend_schema(
        operation_id="webhook_rotate_secret",
        summary="Replace the secret",
        request=None,
        responses={201: SecretSerializer},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        """Get another secret. For a day messages are signed with both, so that none is refused meanwhile."""
        secret = subscriptions.rotate(self.webhook().pk)
        headers = {"Cache-Control": "no-store"}
        return Response({"secret": secret}, status=status.HTTP_201_CREATED, headers=headers)


class WebhookPingView(_OfWebhooks):
    """Trying it."""

    rights = {"POST": OWN}
    problems = {"POST": [subscriptions.UnknownWebhook]}

    @extend_schema(
        operation_id="webhook_ping",
        summary="Send a test message",
        request=None,
        responses={202: WebhookMessageSerializer},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        """Have a message of the type `ping` sent, also to a subscription that is disabled."""
        message = subscriptions.ping(self.webhook().pk)
        return Response(WebhookMessageSerializer(message).data, status=status.HTTP_202_ACCEPTED)


class WebhookReplayView(_OfWebhooks):
    """Sending again what was sent."""

    rights = {"POST": OWN}
    problems = {"POST": [subscriptions.UnknownWebhook]}

    @extend_schema(
        operation_id="webhook_replay",
        summary="Send everything again since a time",
        request=ReplayInput,
        responses={202: ReplayedSerializer},
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        """Have all messages since a time of the events that it is subscribed to sent again, whether or not they had
        arrived, with the ids that they had."""
        form = ReplayInput(data=request.data)
        form.is_valid(raise_exception=True)
        count = subscriptions.replay(self.webhook().pk, since=form.validated_data["since"])
        return Response({"messages": count}, status=status.HTTP_202_ACCEPTED)


class WebhookMessageFilter(filters.FilterSet):
    """`?status=`, `?orderId=`."""

    status = filters.ChoiceFilter(choices=WebhookMessage.Status.choices)
    orderId = IntegerFilter(field_name="order_id")


@extend_schema_view(get=extend_schema(operation_id="webhook_messages", summary="A webhook's messages"))
class WebhookMessagesView(_OfWebhooks, ListAPIView[WebhookMessage]):
    """What a subscription was told and is to be told, newest first."""

    rights = {"GET": OWN}
    serializer_class = WebhookMessageSerializer
    filterset_class = WebhookMessageFilter
    problems = {"GET": [subscriptions.UnknownWebhook]}
    queryset = WebhookMessage.objects.all()

    def get_queryset(self) -> QuerySet[WebhookMessage]:
        return super().get_queryset().filter(webhook_id=self.webhook().pk)


class WebhookMessageReplayView(_OfWebhooks):
    """Sending one message again."""

    rights = {"POST": OWN}
    problems = {"POST": [subscriptions.UnknownWebhook, subscriptions.UnknownMessage]}

    @extend_schema(
        operation_id="webhook_replay_message",
        summary="Send a message again",
        request=None,
        responses={202: WebhookMessageSerializer},
    )
    def post(self, request: Request, webhook_id: int, message_id: int) -> Response:
        """Have one message sent again, with the id that it had."""
        message = subscriptions.replay_message(self.webhook().pk, message_id)
        return Response(WebhookMessageSerializer(message).data, status=status.HTTP_202_ACCEPTED)
