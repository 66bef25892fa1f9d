"""The one entry point: health, the API of the services that run here, and what goes with them.

A service that runs alone answers the other services, too; all together, or as the back office, the shop has pages.
"""

from django.conf import settings
from django.urls import include, path

urlpatterns = [
    path("", include("shop.operations.urls")),
    *(path("api/v1/", include(f"{service}.urls")) for service in settings.LOCAL_SERVICES),
    path("", include("shop.calls.urls" if settings.ALONE else "console.page_urls")),
]
