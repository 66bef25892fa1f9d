"""The URLs of pages for people: landing page, admin, the API's documentation."""

from typing import NoReturn

from django.conf import settings
from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.http import Http404, HttpRequest
from django.urls import include, path
from django.utils.translation import gettext_lazy as _
from drf_spectacular.views import SpectacularSwaggerSplitView

from console.admin_password import password_change
from console.description import DescriptionView, IndexView
from console.today import home

admin.site.site_header = admin.site.site_title = "shop"
admin.site.index_title = _("Today")
admin.site.enable_nav_sidebar = False  # the lists need the room


def _no_page(_request: HttpRequest, **_row: str) -> NoReturn:
    raise Http404


urlpatterns = [
    path("", include("console.urls")),
    path("admin/", admin.site.admin_view(home)),  # Django's own index, with today's figures
    path("admin/password_change/", admin.site.admin_view(password_change)),  # Django's counts no wrong passwords
    # No row of ours has a page of its own. Django's view of one says to any member of staff whether a row exists.
    path("admin/r/<path:row>", _no_page),
    path("admin/", admin.site.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("api-auth/", include("rest_framework.urls")),
    path("api/v1/", IndexView.as_view(), name="index"),
    path("api/v1/schema/", DescriptionView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    # "insecure" means slow: the files are found among the apps' own.
    path(f"{settings.STATIC_URL.lstrip('/')}<path:path>", serve, {"insecure": True}),
]
