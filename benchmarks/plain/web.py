"""`POST /orders` as in Django REST framework's and Celery's documentation.

It has no authentication, look-ups or throttling. The shop has, so the comparison favours this view.
"""

from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.urls import path

from benchmarks.plain.tasks import notify, reserve  # sets Django up

from rest_framework import generics, serializers  # isort: skip

from benchmarks.plain.models import Order  # isort: skip


class OrderSerializer(serializers.ModelSerializer[Order]):
    class Meta:
        model = Order
        fields = ("id", "created_at", "product_id", "quantity", "address", "email")
        read_only_fields = ("created_at",)


class OrderView(generics.CreateAPIView[Order]):
    queryset = Order.objects.all()
    serializer_class = OrderSerializer

    @transaction.atomic
    def perform_create(self, serializer: Any) -> None:
        order = serializer.save()
        transaction.on_commit(lambda: reserve.delay(order.pk))
        transaction.on_commit(lambda: notify.delay(order.pk, "received"))


urlpatterns = [path("orders", OrderView.as_view())]
application = get_wsgi_application()
