from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView

from notifications.models import Notification
from notifications.serializers import NotificationSerializer
from shop.api.filters import IntegerFilter
from shop.api.permissions import Hiding, Own, visible_to

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
