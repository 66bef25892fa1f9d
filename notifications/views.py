from typing import cast

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import mail_events, preferences
from notifications.models import Notification
from notifications.serializers import MessagePreferencesSerializer, NotificationSerializer, WishesSerializer
from shop.api.filters import IntegerFilter
from shop.api.permissions import EMAIL_SERVICE, Hiding, Own, visible_to
from shop.api.problems import InvalidInput

EVERYBODYS = "notifications.view_notification"


class NotificationFilter(filters.FilterSet):
    """`?orderId=`: what was told about one order."""

    orderId = IntegerFilter(field_name="order_id")


@extend_schema_view(get=extend_schema(summary="Notifications"))
class NotificationList(Hiding, ListAPIView[Notification]):
    """What a customer was told, newest first; staff with the right see everybody's."""

    serializer_class = NotificationSerializer
    rights = {"GET": Own(EVERYBODYS)}
    hidden = {"recipient": "notifications.view_recipient"}
    filterset_class = NotificationFilter
    queryset = Notification.objects.all()

    def get_queryset(self) -> QuerySet[Notification]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODYS)


class PreferencesView(APIView):
    """By which channel one wants to be told what."""

    rights = {"GET": Own(), "PATCH": Own()}
    serializer_class = MessagePreferencesSerializer
    problems = {"PATCH": [InvalidInput]}

    @extend_schema(operation_id="preferences_read", summary="What one wants to be told")
    def get(self, request: Request) -> Response:
        """What one is told by which channel, whether that can be switched off, and where nothing reaches one."""
        return self._shown(request)

    @extend_schema(
        operation_id="preferences_change",
        summary="Choose what one is told",
        request=WishesSerializer,
        responses=MessagePreferencesSerializer,
    )
    def patch(self, request: Request) -> Response:
        """Switch messages off and on, by kind and channel. What has to be sent cannot be switched off."""
        form = WishesSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wishes = [(one["type"], one["channel"], one["wanted"]) for one in form.validated_data.get("preferences", ())]
        preferences.change(cast(int, request.user.pk), wishes)
        return self._shown(request)

    def _shown(self, request: Request) -> Response:
        user_id = cast(int, request.user.pk)
        found = {
            "preferences": [one._asdict() for one in preferences.of(user_id)],
            "stopped": [one._asdict() for one in preferences.stopped(user_id)],
        }
        return Response(MessagePreferencesSerializer(found).data)


class EmailEventsView(APIView):
    """Where the e-mail service's webhook leads to."""

    authentication_classes = [mail_events.EmailServiceSignature]
    rights = {"POST": EMAIL_SERVICE}

    @extend_schema(
        operation_id="email_events",
        summary="Report what has become of e-mails",
        request=None,  # the service's own
        responses={202: OpenApiResponse(description="Taken in; what stops nothing changes nothing.")},
    )
    def post(self, request: Request) -> Response:
        """Take in what the e-mail service tells in its own words. To an address from which e-mails come back for good,
        or whose owner has complained, nothing more is sent."""
        mail_events.take(request.auth)  # type: ignore[arg-type]  # by EmailServiceSignature
        return Response(status=status.HTTP_202_ACCEPTED)
