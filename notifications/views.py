from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from notifications import mail_events
from notifications.models import Notification
from notifications.serializers import NotificationSerializer
from shop.api.filters import IntegerFilter
from shop.api.permissions import EMAIL_SERVICE, Hiding, Own, visible_to

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
