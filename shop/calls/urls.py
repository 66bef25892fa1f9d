"""The internal endpoint. The gateway does not route to it from outside."""

from django.urls import path

from shop.calls.server import answer

urlpatterns = [path("internal/<slug:service>/<slug:contract>/<slug:method>", answer, name="internal")]
