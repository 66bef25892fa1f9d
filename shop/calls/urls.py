"""The address for the other services. The gateway lets nobody else come here."""

from django.urls import path

from shop.calls.server import answer

urlpatterns = [path("internal/<slug:service>/<slug:contract>/<slug:method>", answer, name="internal")]
