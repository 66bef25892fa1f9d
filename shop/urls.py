"""The one entry point: every service's part of the API, and what the gateway offers itself."""

from django.conf import settings
from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from shop import views

admin.site.site_header = admin.site.site_title = "shop"
admin.site.index_title = "Seven services"

urlpatterns = [
    path("", views.landing, name="landing"),
    path("livez", views.livez, name="livez"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("favicon.ico", views.favicon),
    path("admin/", admin.site.urls),
    path("api-auth/", include("rest_framework.urls")),
    path("api/v1/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    *(path("api/v1/", include(f"{service}.urls")) for service in settings.SERVICES),
    # nginx serves these where there is one. "insecure" means slow: the files are found among the apps' own.
    path(f"{settings.STATIC_URL.lstrip('/')}<path:path>", serve, {"insecure": True}),
]
