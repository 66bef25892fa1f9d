"""The one entry point: health, the API of the services that run here, and what goes with them.

One service alone answers the other services, too; all together, or as the back office, the shop has pages.
"""

from django.conf import settings
from django.urls import include, path

from shop import views

urlpatterns = [
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("api/v1/operations/<slug:service>/breakers", views.BreakersView.as_view(), name="breakers"),
    *(path("api/v1/", include(f"{service}.urls")) for service in settings.LOCAL_SERVICES),
    path("", include("shop.calls.urls" if settings.ALONE else "shop.page_urls")),
]
