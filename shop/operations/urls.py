"""URLs for the operators of a service."""

from django.urls import path

from shop.operations import health, watch
from shop.operations.breakers import BreakersView

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", watch.watched(health.readyz), name="readyz"),
    path("metrics", watch.watched(health.metrics), name="metrics"),
    path("api/v1/operations/<slug:service>/breakers", BreakersView.as_view(), name="breakers"),
]
